"""Error of the maximum-likelihood fit against the Cramér–Rao bound, on simulated magnitude data."""

import math

import torch

from unweight.core.acquisition import Acquisition, SignalKind
from unweight.core.protocol import protocol_from_values
from unweight.core.seeding import seeded_generator
from unweight.fit.inversion_recovery import InversionRecoveryFit
from unweight.signals.inversion_recovery import InversionRecovery
from unweight.signals.noise import Gaussian, Rician
from unweight.signals.precision import cramer_rao_bound

TIMES = (0.05, 0.10, 0.25, 0.50, 0.85, 1.50, 2.50)
BANDS = ((0.1, 0.2), (0.2, 0.5), (0.5, 1.0), (1.0, 1.5), (1.5, 2.0), (0.1, 2.0))
COUNT = 400_000


def main() -> None:
    protocol = protocol_from_values(inversion_time=TIMES, repetition_time=[10.0] * 7)
    generator = seeded_generator(0, "precision")
    uniform = torch.rand(COUNT, 2, generator=generator, dtype=torch.float64)
    t1 = torch.exp(math.log(0.1) + math.log(20.0) * uniform[:, 0])
    theta = torch.stack((t1, torch.ones_like(t1), 1.8 + 0.2 * uniform[:, 1]), dim=-1)
    signed = InversionRecovery(kind=SignalKind.SIGNED)
    print("SNR | T1 [s] | RMSE/CRB | 68 % covers | >20 % off | expected from CRB | wrong polarity | failed")
    print("--- | --- | ---: | ---: | ---: | ---: | ---: | ---:")
    for snr in (25, 50, 100):
        bound = cramer_rao_bound(signed, theta, protocol, Gaussian(sigma=1 / snr))[:, 0]
        data = Rician(sigma=1 / snr).draw(signed(theta, protocol), generator).float()
        # A frame of background, so that the thermal noise can be measured as in an image.
        empty = Rician(sigma=1 / snr).draw(torch.zeros(COUNT // 4, 7), generator)
        acquisition = Acquisition(signal=torch.cat((data, empty)), protocol=protocol)
        maps = InversionRecoveryFit(complete=None)(acquisition)
        value, std = maps.value("T1")[:COUNT].double(), maps.deviation("T1")[:COUNT].double()
        for low, high in BANDS:
            band = (t1 >= low) & (t1 < high)
            valued = band & torch.isfinite(value)
            error, limit = (value - t1)[valued], bound[valued]
            off = error.abs() > 0.2 * t1[valued]
            tail = torch.special.erfc(0.2 * t1[valued] / limit / math.sqrt(2.0)).mean()
            wrong = off & (error.abs() > 6 * limit)
            rms = float((error.square().mean() / limit.square().mean()).sqrt())
            covered = float((error.abs() < std[valued]).double().mean())
            failed = 1 - float(valued.sum()) / float(band.sum())
            print(
                f"{snr} | {low}-{high} | {rms:.3f} | {100 * covered:.1f} % | "
                f"{100 * float(off.double().mean()):.3f} % | {100 * float(tail):.3f} % | "
                f"{100 * float(wrong.double().mean()):.4f} % | {100 * failed:.3f} %"
            )


if __name__ == "__main__":
    main()
