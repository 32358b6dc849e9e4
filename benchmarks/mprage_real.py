"""The T1w image made of a real gradient echo against the MPRAGE that its R1 and PD maps give.

python benchmarks/mprage_real.py [METHOD …] [--weights DIR]

Needs the folder `mpm_wias` of the shared data beside the repository: a crop of one brain of 1 mm with
PD-weighted (6°) and T1-weighted (21°) echoes, TR 25 ms, TE 2.3 to 18.4 ms, magnitudes, and maps of R1 and
PD that were made of them with a measured transmit field. The truth is the MPRAGE (TR 2.3 s, TI 0.9 s, 9°,
176 excitations 7.1 ms apart, inversion 0.96) of these maps, white matter at 1, as the networks are trained
to make it. It is the only real set with a truth: no weights may be chosen on it.
"""

import argparse
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unweight.bids.nifti.volume import open_volume
from unweight.core.acquisition import Acquisition
from unweight.core.maps import VoxelStatus
from unweight.core.protocol import protocol_from_values
from unweight.learn.mprage.estimator import EchoT1w
from unweight.learn.mprage.methods import load_synthesiser
from unweight.learn.pairs.pair import DATA_RANGE, white_matter_peak
from unweight.learn.pairs.scan_range import range_of_card
from unweight.metrics.image_quality import psnr
from unweight.registry import method
from unweight.signals.mprage import Mprage
from unweight.synth.protocols.standard import mprage

SHARED = Path(__file__).parents[2] / "shared" / "data"
FOLDER, FAMILY = "mpm_wias", "mprage"
SERIES = {"pdw": 6.0, "t1w": 21.0}  # degrees
ECHOES = tuple(0.0023 * echo for echo in range(1, 9))
REPETITION_TIME, FIELD = 0.025, 3.0
R1_LIMITS = (0.15, 3.0)  # [1/s]
# R1 of the tissues [1/s]
TISSUES = {"WM": (1 / 1.05, 1.2), "GM": (0.58, 0.70), "CSF": (0.0, 0.30)}
NORMAL = 1.6449  # of a 90 % interval


@dataclass(frozen=True, kw_only=True, eq=False)
class Truth:
    """What the maps give.

    Attributes:
        image: The MPRAGE, white matter at 1.
        r1: [1/s]
        mask: The brain.
    """

    image: Float[Tensor, "x y z"]
    r1: Float[Tensor, "x y z"]
    mask: Bool[Tensor, "x y z"]


def volume(root: Path, name: str) -> Tensor:
    return open_volume(root / f"{name}.nii.gz").data.double()


def read_truth(root: Path) -> Truth:
    r1, mask = volume(root, "R1map"), volume(root, "mask") > 0
    theta = torch.stack([1 / r1.clamp(*R1_LIMITS), volume(root, "PDmap"), torch.zeros_like(r1)], dim=-1)
    image = Mprage()(theta, mprage().protocol)[..., 0]
    return Truth(image=image / white_matter_peak(image, mask), r1=r1, mask=mask)


def read_echoes(root: Path, series: str, mask: Bool[Tensor, "x y z"]) -> Acquisition:
    n = len(ECHOES)
    return Acquisition(
        signal=torch.stack([volume(root, f"{series}_{echo}") for echo in range(1, n + 1)], -1).float(),
        protocol=protocol_from_values(
            echo_time=ECHOES,
            repetition_time=[REPETITION_TIME] * n,
            flip_angle=[math.radians(SERIES[series])] * n,
            field_strength=FIELD,
        ),
        affine=torch.eye(4, dtype=torch.float64),
        mask=mask,
    )


def row(name: str, weights: Path | None, series: str, echoes: Acquisition, truth: Truth) -> str:
    synthesiser, card = load_synthesiser(method(name, FAMILY).weights, weights)
    estimator = EchoT1w(synthesise=synthesiser, scans=range_of_card(card.ranges), any_scan=True)
    maps = estimator(echoes)
    image, sd = maps.value("T1w").double(), maps.deviation("T1w").double()
    inside = truth.mask & torch.isfinite(image)
    pairs = torch.stack([image[inside], truth.image[inside]])
    levels = []
    for low, high in TISSUES.values():
        tissue = inside & (truth.r1 > low) & (truth.r1 < high)
        levels.append(f"{float(image[tissue].median()):.2f} ({float(truth.image[tissue].median()):.2f})")
    covered = (pairs[0] - pairs[1]).abs() <= NORMAL * sd[inside]
    coverage = f"{100 * float(covered.double().mean()):.0f}" if bool(sd[inside].isfinite().all()) else "–"
    columns = (
        f"{series} {SERIES[series]:g}°",
        name,
        f"{float(torch.corrcoef(pairs)[0, 1]):.3f}",
        f"{psnr(image, truth.image, inside, DATA_RANGE):.1f}",
        *levels,
        coverage,
        f"{float(sd[inside].median()):.3f}",
        f"{100 * float((maps.status[inside] == VoxelStatus.AT_LIMIT).double().mean()):.0f}",
        "; ".join(estimator.scans.outside(echoes)) or "within",
    )
    return " | ".join(columns)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("methods", nargs="*", default=["residual", "unet"])
    parser.add_argument("--weights", type=Path)
    arguments = parser.parse_args()
    root = SHARED / FOLDER
    if not root.is_dir():
        raise SystemExit(f"{root} is not on this machine: nothing to compare with")
    truth = read_truth(root)
    heads = (
        *(f"{name} (true)" for name in TISSUES),
        "coverage of 90 % interval [%]",
        "median sd",
        "flagged [%]",
        "training",
    )
    print(" | ".join(("series", "method", "correlation", "PSNR dB", *heads)))
    for series in SERIES:
        echoes = read_echoes(root, series, truth.mask)
        for name in arguments.methods:
            print(row(name, arguments.weights, series, echoes, truth), flush=True)


if __name__ == "__main__":
    main()
