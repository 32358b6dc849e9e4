"""R2* where echoes end on the noise floor: bias, standard deviation, and voxels marked, by rate and SNR.

python benchmarks/r2star_floor.py [CHANNELS]

The protocol of docs/qsm.md (3 T, eight echoes of 4 to 32 ms), as many voxels of air as of signal; SNR is
that at echo time zero. A cell has the bias of the median of unmarked voxels [%], beside it that of the
log-linear fit alone, the standard deviation told over the true one, and the share of voxels marked [%].
Then voxels a second of a processor: well above the floor, and where all are near it.
"""

import math
import statistics
import sys
import time

import torch
from torch import Tensor

from unweight.core.acquisition import Acquisition
from unweight.core.protocol import protocol_from_values
from unweight.fit.log_linear import LogLinear
from unweight.fit.relaxation import RelaxationFit

TIMES = torch.arange(1, 9) * 0.004
RATES, SNRS = (5, 20, 50, 100, 200, 300, 500, 1000), (15, 40, 100, 300)
VOXELS, FEW = 20_000, 0.02  # of each rate; share of unmarked voxels below which there is no median
REPEATS, MANY = 5, 1 << 20


def measured(signal: Tensor, n_channels: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    parts = torch.randn((2, *signal.shape, n_channels), generator=generator)
    parts[0] += signal[..., None] / math.sqrt(n_channels)
    return parts.square().sum((0, -1)).sqrt()


def acquired(signal: Tensor) -> Acquisition:
    return Acquisition(signal=signal, protocol=protocol_from_values(echo_time=TIMES.tolist()))


def cells(snr: int, n_channels: int) -> list[str]:
    rates = torch.tensor(RATES).repeat_interleave(VOXELS)[:, None]
    signal = snr * torch.exp(-TIMES * rates)
    echoes = measured(torch.cat((signal, torch.zeros_like(signal))), n_channels)
    maps = RelaxationFit()(acquired(echoes))
    plain = LogLinear()(echoes, TIMES).rate
    found = []
    for index, rate in enumerate(RATES):
        block = slice(index * VOXELS, (index + 1) * VOXELS)
        ok = maps.usable[block]
        marked = 1 - float(ok.double().mean())
        alone = 100 * (float(plain[block].median()) / rate - 1)
        if marked > 1 - FEW:
            found.append(f"all marked ({alone:.0f})")
            continue
        values, sd = maps.value("R2star")[block][ok], maps.deviation("R2star")[block][ok]
        bias, ratio = 100 * (float(values.median()) / rate - 1), float(sd.median() / values.std())
        found.append(f"{bias:.1f} ({alone:.1f}), {ratio:.2f}, {100 * marked:.1f}")
    return found


def rate_of(acquisition: Acquisition) -> float:
    """Return the voxels a second of a processor, in millions."""
    took = []
    for _ in range(REPEATS):
        began = time.process_time()
        RelaxationFit()(acquisition)
        took.append(time.process_time() - began)
    return acquisition.voxels.numel() / statistics.median(took) / 1e6


def speeds() -> None:
    generator = torch.Generator().manual_seed(0)
    for name, snr, low, high in (("brain", 100, 5, 50), ("brain", 15, 5, 50), ("iron", 100, 50, 300)):
        rate = low + (high - low) * torch.rand(MANY, 1, generator=generator)
        done = rate_of(acquired(measured(snr * torch.exp(-TIMES * rate), 1)))
        print(f"{name}, {low} to {high} 1/s, SNR {snr}: {done:.2f} million voxels/s of a processor")


def main() -> None:
    n_channels = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    columns = [cells(snr, n_channels) for snr in SNRS]
    print("\t".join(("R2\\*", *(f"SNR {snr}" for snr in SNRS))))
    for rate, *row in zip(RATES, *columns, strict=True):
        print("\t".join((f"{rate} 1/s", *row)))
    speeds()


if __name__ == "__main__":
    main()
