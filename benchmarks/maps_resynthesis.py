"""Maps of a real examination, and the images made again from them beside those there are.

    python benchmarks/maps_resynthesis.py FOLDER [PNG]

FOLDER is `ms_lesjak`, the MS patients of Lesjak et al. (CC-BY). The files tell no timings; these are
assumed: MPRAGE-like T1w TR 2.0, TI 0.8 s, 9 degrees; T2w TR 6.0, TE 0.12 s; FLAIR TR 5.0, TE 0.12, TI 1.8
s; 3 T. Prints the correlation of each image with the one made again, in the brain and in its parts, what
T1, T2 and PD are in lesions and in white matter, and draws a slice.
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from unweight.bids.nifti.volume import open_volume
from unweight.bids.series.weighted import GivenWeighting
from unweight.core.maps import ParameterMaps
from unweight.core.weighting import Readout
from unweight.learn.training.trainable import load_estimator
from unweight.metrics.resynthesis import SynthesisedImage, resynthesise
from unweight.prepare.weighted_images import MapsFiles, ReadExamination, read_examination
from unweight.report.colours import colour_map

NAMES = {"T1w": "T1_", "T2w": "T2_", "FLAIR": "FLAIR_"}
ASSUMED = {
    "T1w": GivenWeighting(
        repetition_time=2.0, echo_time=0.003, inversion_time=0.8, flip_angle=9.0, readout=Readout.MPRAGE
    ),
    "T2w": GivenWeighting(repetition_time=6.0, echo_time=0.12),
    "FLAIR": GivenWeighting(repetition_time=5.0, echo_time=0.12, inversion_time=1.8),
}
COLOURS = {"T1": "lipari", "T2": "navia", "PD": "grayC"}
FLUID_T1, WHITE_T1 = 2.0, 1.0  # what is CSF, and what white matter, by the maps [s]


def mapped(folder: Path) -> tuple[ReadExamination, ParameterMaps, Bool[Tensor, "x y z"]]:
    files = sorted(folder.rglob("cross_sectional_MNI/**/*.nii.gz"))
    images = {
        name: next(path for path in files if path.name.startswith(start)) for name, start in NAMES.items()
    }
    read = read_examination(MapsFiles(images=images, given=ASSUMED, field_strength=3.0))
    gold = open_volume(next(path for path in files if path.name.startswith("GOLD")))
    estimator, _ = load_estimator("maps")
    return read, estimator(read.examination), read.turn.apply(gold.data) > 0.5


def correlation(one: SynthesisedImage, image: Tensor, chosen: Bool[Tensor, "x y z"]) -> float:
    return float(torch.corrcoef(torch.stack([one.signal[chosen], image[chosen]]))[0, 1])


def report(read: ReadExamination, maps: ParameterMaps, lesion: Bool[Tensor, "x y z"]) -> None:
    valued = ~maps.failed
    fluid = valued & (maps.value("T1") > FLUID_T1)
    white = valued & ~lesion & (maps.value("T1") < WHITE_T1)
    print("image   brain  without CSF  median difference")
    for one, image in zip(resynthesise(maps, read.examination), read.examination.images, strict=True):
        tissue = correlation(one, image.signal, valued & ~fluid)
        print(f"{one.name:6} {one.correlation:6.3f} {tissue:12.3f} {100 * one.error:10.1f} %")
    for name in ("T1", "T2", "PD"):
        value = maps.value(name)
        ill, normal = float(value[lesion & valued].median()), float(value[white].median())
        print(f"{name}: lesions {ill:.3f}, white matter {normal:.3f}, ratio {ill / normal:.2f}")
    print(f"implausible: {100 * float((valued & ~maps.usable).sum() / valued.sum()):.1f} % of the brain")


def draw(read: ReadExamination, maps: ParameterMaps, lesion: Bool[Tensor, "x y z"], path: Path) -> None:
    layer = int(lesion.sum((0, 1)).argmax())
    again = {one.name: one.signal for one in resynthesise(maps, read.examination)}
    figure, axes = plt.subplots(3, 4, figsize=(13, 11), layout="constrained")
    for row, image in zip(axes.T, read.examination.images, strict=False):
        top = float(image.signal[maps.usable].quantile(0.99)) if image.signal.numel() < 2**24 else None
        for axis, (what, values) in zip(
            row, (("", image.signal), (" made again", again[image.name])), strict=False
        ):
            axis.imshow(np.rot90(values[:, :, layer]), cmap="gray", vmin=0, vmax=top)
            axis.set_title(f"{image.name}{what}")
    for column, (name, top) in enumerate((("T1", 3.0), ("T2", 0.25), ("PD", 1.1))):
        shown = axes[2, column].imshow(
            np.rot90(maps.value(name)[:, :, layer]), cmap=colour_map(COLOURS[name]), vmin=0, vmax=top
        )
        axes[2, column].set_title(name)
        figure.colorbar(shown, ax=axes[2, column], shrink=0.8)
    for axis, (title, values) in zip(
        axes[:, 3],
        (("lesions", lesion.float()), ("misfit", maps.misfit), ("status", maps.status)),
        strict=True,
    ):
        assert values is not None
        axis.imshow(np.rot90(values[:, :, layer]), cmap="viridis")
        axis.set_title(title)
    for axis in axes.flat:
        axis.axis("off")
    figure.savefig(path, dpi=80)


def main() -> None:
    read, maps, lesion = mapped(Path(sys.argv[1]))
    report(read, maps, lesion)
    if len(sys.argv) > 2:
        draw(read, maps, lesion, Path(sys.argv[2]))


if __name__ == "__main__":
    main()
