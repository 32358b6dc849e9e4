"""Coverage and sharpness of the default T1 estimator where inversion efficiency and SNR differ.

Simulated slabs of held-out heads under random protocols, efficiencies of real scans, filtered noise and
errors between volumes. In each cell of B × SNR, pure and mixed voxels apart:

    holds 90     voxels whose 90 % interval holds the truth [%]
    sd/error     median stated SD of ln T1 over 1.4826 · median |error|
    sd/bound     median stated SD over the Cramér–Rao SD of the fit

then spheres in water (T1 2 s to 40 ms) with one B and one SNR: stated SD over the root mean square error.
Usage: t1_posterior_cells.py [WEIGHTS] [SLABS]. Needs the BrainWeb heads of the shared data.
"""

import math
import sys
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from unweight.core.acquisition import Acquisition
from unweight.core.protocol import protocol_from_values
from unweight.core.seeding import seeded_generator
from unweight.heads.source import TEST, BrainwebHeads
from unweight.learn.t1.methods import SCANNERS
from unweight.learn.t1.posterior import PosteriorT1
from unweight.learn.t1.slabs import measured_slab, with_inclusions
from unweight.learn.training.trainable import load_estimator
from unweight.metrics.calibration import GaussianPrediction, coverage, sd_over_error
from unweight.signals.inversion_recovery import InversionRecovery
from unweight.signals.noise import Rician

SHARED = Path(__file__).parents[2] / "shared" / "data" / "brainweb_crisp"

B_EDGES, SNR_EDGES = (1.75, 1.88, 1.97), (30.0, 100.0, 300.0)
FEWEST = 2000
MIXED = 0.05  # sd of ln T1 in a voxel above which it is mixed
SEVEN = (0.021, 0.1, 0.25, 0.5, 0.9, 1.6, 3.2)
SPHERES = (1.989, 1.454, 0.984, 0.706, 0.497, 0.352, 0.247, 0.175, 0.126, 0.089, 0.063, 0.045)
RADIUS, PITCH = 9, 26


def cell_rows(estimator: PosteriorT1, n_slabs: int) -> None:
    anatomies = with_inclusions(tuple(BrainwebHeads(SHARED).heads(TEST)), 1)
    recipe = replace(SCANNERS, untold=0.0)
    columns: list[list[Tensor]] = []
    for index in range(n_slabs):
        slab = measured_slab(recipe, anatomies, 77, n_slabs, index)
        maps = estimator(slab.acquisition)
        fit_sd = estimator.fit(slab.acquisition)
        keep = maps.usable & torch.isfinite(slab.truth[..., 0]) & (slab.mixing < 1.8 * 0.6)
        t1, sd = maps.value("T1")[keep], maps.deviation("T1")[keep]
        bound = (fit_sd.deviation("T1") / fit_sd.value("T1"))[keep]
        snr = slab.acquisition.signal.amax(-1)[keep].quantile(0.95) / slab.noise_sd
        columns.append(
            [
                t1.log(),
                sd / t1,
                slab.truth[..., 0][keep].log(),
                slab.truth[..., 2][keep],
                torch.full_like(t1, float(snr)),
                slab.mixing[keep],
                bound,
            ]
        )
    mean, sd, truth, b, snr, mixing, bound = (torch.cat(part) for part in zip(*columns, strict=True))
    b_cell = torch.bucketize(b, torch.tensor(B_EDGES).to(b))
    snr_cell = torch.bucketize(snr, torch.tensor(SNR_EDGES).to(snr))
    print("B | SNR | voxels | n | holds 90 % | sd/error | sd/bound")
    print("--- | --- | --- | ---: | ---: | ---: | ---:")
    for i in range(len(B_EDGES) + 1):
        for j in range(len(SNR_EDGES) + 1):
            for name, kind in (("pure", mixing <= MIXED), ("mixed", mixing > MIXED)):
                chosen = (b_cell == i) & (snr_cell == j) & kind
                row = f"{_span(B_EDGES, i)} | {_span(SNR_EDGES, j)} | {name} | {int(chosen.sum())}"
                if int(chosen.sum()) < FEWEST:
                    print(f"{row} | too few | |")
                    continue
                of = GaussianPrediction(mean=mean[chosen], sd=sd[chosen], truth=truth[chosen])
                ratio = float((sd / bound)[chosen].nanmedian())
                print(f"{row} | {100 * coverage(of, 0.9):.1f} | {sd_over_error(of):.2f} | {ratio:.2f}")


def sphere_rows(estimator: PosteriorT1) -> None:
    side = 4 * PITCH
    label = torch.zeros(side, 3 * PITCH, dtype=torch.long)
    x, y = torch.meshgrid(torch.arange(side), torch.arange(3 * PITCH), indexing="ij")
    for number in range(12):
        row, column = divmod(number, 3)
        middle = (PITCH * (row + 0.5), PITCH * (column + 0.5))
        label[(x - middle[0]) ** 2 + (y - middle[1]) ** 2 <= RADIUS**2] = number + 1
    t1 = torch.tensor((2.5, *SPHERES))[label]
    protocol = protocol_from_values(inversion_time=list(SEVEN), repetition_time=[10.0] * 7)
    print("\nB | SNR | stated % | RMSE % | stated/RMSE | bias of 85 to 45 ms %")
    print("--- | --- | ---: | ---: | ---: | ---:")
    for b in (1.55, 1.92, 2.0):
        for snr in (50.0, 200.0, 800.0):
            truth = torch.stack([t1, torch.ones_like(t1), torch.full_like(t1, b)], dim=-1)
            signal = InversionRecovery()(truth, protocol, None)
            generator = seeded_generator(5, f"{b} {snr}")
            signal = Rician(sigma=1 / snr).draw(signal, generator)
            maps = estimator(Acquisition(signal=signal[:, :, None], protocol=protocol))
            found, sd = maps.value("T1")[:, :, 0], maps.deviation("T1")[:, :, 0]
            stated, wrong = [], []
            for number in range(1, 10):
                inside = label == number
                stated.append(float((sd / t1)[inside].median()))
                wrong.append(float((found / t1 - 1)[inside].square().nanmean().sqrt()))
            short = [float((found / t1 - 1)[label == number].nanmedian()) for number in (10, 11, 12)]
            row = sorted(a / e for a, e in zip(stated, wrong, strict=True))
            middle, off = (100 * sorted(part)[4] for part in (stated, wrong))
            print(
                f"{b} | {snr:g} | {middle:.2f} | {off:.2f} | {row[4]:.2f} | "
                f"{100 * math.fsum(short) / 3:+.1f}"
            )


def _span(edges: tuple[float, ...], cell: int) -> str:
    if cell == 0:
        return f"< {edges[0]:g}"
    return f"> {edges[-1]:g}" if cell == len(edges) else f"{edges[cell - 1]:g}–{edges[cell]:g}"


def main() -> None:
    weights = Path(sys.argv[1]) if len(sys.argv) > 1 and sys.argv[1] != "-" else None
    estimator, card = load_estimator("t1-posterior", weights)
    if not isinstance(estimator, PosteriorT1):
        raise SystemExit("the weights of t1-posterior are not those of a posterior")
    print(f"{card.name}, {card.preset}, weights {card.sha256[:8]}\n")
    cell_rows(estimator, int(sys.argv[2]) if len(sys.argv) > 2 else 60)
    sphere_rows(estimator)


if __name__ == "__main__":
    main()
