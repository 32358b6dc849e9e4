"""T1 and T2 of weighted images that were computed from the measured T1, T2 and PD of a real brain.

The slice of `brain_ir_se_fsantini` has an inversion recovery and a spin echo of one person. T1 and T2 are
fitted voxel by voxel, the images of each protocol of the gallery (`maps_gallery`) are computed from them
with Rician noise (SNR 60 at the 95th percentile), and mapped. Tissue, anatomy and receive sensitivity are
therefore real. A cell is the mean absolute error and, in parentheses, the coverage of the 90 % interval.

python benchmarks/maps_real_anatomy.py FOLDER [--weights DIR] > benchmarks/results/maps-real-anatomy.tsv
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from maps_gallery import GALLERY, weightings
from torch import Tensor

from unweight.core.errors import ProtocolError
from unweight.core.examination import WeightedImage, WeightedImageSet
from unweight.core.seeding import seeded_generator
from unweight.core.weighting import Weighting, completed
from unweight.learn.brain_mask.finder import NetworkBrain
from unweight.learn.training.trainable import load_estimator
from unweight.registry import build, method
from unweight.signals.weighted import weighted_signal
from unweight.synth.protocols.standard import routine_contrasts
from unweight.synth.simulate_weighted import weighting_of

INVERSION_TIMES = torch.tensor([0.05, 0.1, 0.2, 0.5, 2.0, 4.0], dtype=torch.float64)
ECHO_TIMES = torch.tensor([0.010, 0.025, 0.050, 0.090, 0.150, 0.250], dtype=torch.float64)
REPETITION = 5.0  # of the spin echo [s]
N_VALUES, SNR, BRIGHT = 200, 60.0, 0.95
Map = Float[Tensor, "x y"]


def fitted(
    signal: Float[Tensor, "x y volumes"],
    values: Float[Tensor, " values"],
    basis: Callable[[Tensor], Tensor],
) -> tuple[Map, Map]:
    """Return the value with the least residual of a linear fit of its basis, and the first coefficient."""
    rows = signal.reshape(-1, signal.shape[-1]).T
    least = torch.full((rows.shape[1],), torch.inf, dtype=rows.dtype)
    best, first = torch.zeros_like(least), torch.zeros_like(least)
    for value in values:
        columns = basis(value)
        solved = torch.linalg.pinv(columns) @ rows
        residual = (columns @ solved - rows).square().sum(0)
        better = residual < least
        least[better], best[better], first[better] = residual[better], value, solved[0][better]
    return best.reshape(signal.shape[:-1]), first.reshape(signal.shape[:-1])


def measured(folder: Path) -> tuple[Map, Map, Map, Bool[Tensor, "x y"]]:
    """Return T1 [s], T2 [s], the signal of full magnetisation, and the brain."""
    recovery, decay = (
        torch.from_numpy(np.load(folder / name)).double() for name in ("t1dataset.npy", "t2dataset.npy")
    )
    t1, _ = fitted(
        recovery,
        torch.logspace(np.log10(0.2), np.log10(6.0), N_VALUES, dtype=torch.float64),
        lambda value: torch.stack([torch.ones(6).double(), (-INVERSION_TIMES / value).exp()], dim=1),
    )
    t2, at_zero = fitted(
        decay,
        torch.logspace(np.log10(0.02), np.log10(2.5), N_VALUES, dtype=torch.float64),
        lambda value: (-ECHO_TIMES / value).exp()[:, None],
    )
    full = at_zero / -torch.expm1(-REPETITION / t1)
    finder = build(method("network", "mask"), None)
    assert isinstance(finder, NetworkBrain)
    affine = torch.diag(torch.tensor([1.0, 1.0, 4.0, 1.0]))
    brain = finder.in_images([decay[..., 2, None].float()], affine).mask[..., 0]
    brain &= full > 0
    return t1.float(), t2.float(), full.float(), brain


def image_of(
    maps: tuple[Map, Map, Map], brain: Bool[Tensor, "x y"], weighting: Weighting, seed: str
) -> Float[Tensor, "x y 1"]:
    signal = weighted_signal(*maps, completed(weighting)[0].row().float()).nan_to_num()
    sigma = torch.quantile(signal[brain], BRIGHT) / SNR
    noise = torch.randn(2, *signal.shape, generator=seeded_generator(0, "real anatomy", seed))
    return (torch.hypot(signal + sigma * noise[0], sigma * noise[1]) * brain)[..., None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", type=Path)
    options = parser.parse_args()
    estimator, _ = load_estimator("maps", options.weights)
    t1, t2, full, brain = measured(options.folder)
    regions = {
        "white matter": brain & (t1 > 0.7) & (t1 < 1.1) & (t2 < 0.09),
        "grey matter": brain & (t1 > 1.25) & (t1 < 1.9) & (t2 < 0.15),
    }
    protocols = {study.name: weightings(study) for study in GALLERY if "1.5 T" not in study.name}
    protocols["T1w spin echo, T2w and FLAIR"] = {
        scan.name: weighting_of(scan) for scan in routine_contrasts()
    }
    print("\t".join(["protocol", *(f"{name}, {region}" for name in ("T1", "T2") for region in regions)]))
    for title, chosen in protocols.items():
        images = tuple(
            WeightedImage(
                name=name,
                weighting=weighting,
                signal=image_of((t1, t2, full), brain, weighting, f"{title} {name}"),
            )
            for name, weighting in chosen.items()
        )
        examination = WeightedImageSet(images=images, mask=brain[..., None], field_strength=3.0)
        try:
            maps = estimator(examination)
        except ProtocolError:
            continue
        assert maps.lower is not None and maps.upper is not None
        cells = []
        for place, truth in enumerate((t1, t2)):
            value, low, high = (part[:, :, 0, place] for part in (maps.values, maps.lower, maps.upper))
            for region in regions.values():
                error = (value / truth - 1).abs()[region]
                inside = ((low <= truth) & (truth <= high))[region].double()
                cells.append(f"{100 * float(error.mean()):.1f} % ({100 * float(inside.mean()):.0f} %)")
        print("\t".join([title, *cells]), flush=True)


if __name__ == "__main__":
    main()
