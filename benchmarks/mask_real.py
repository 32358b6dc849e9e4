"""Brain masks of real images by both methods: Dice and HD95 where a mask was published, volumes, a figure.

    python benchmarks/mask_real.py [WEIGHTS [PICTURE]]

Each image alone, and those of a visit together on the grid of the FLAIR. Needs `ms_lesjak`, `mprage_uih`,
`brain_ir_se_fsantini` and `mgre_romeo` of the shared data beside the repository; absent ones are left out.
"""

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import torch
from torch import Tensor

from unweight.bids.nifti.volume import Volume, open_volume
from unweight.core.errors import InputError
from unweight.learn.brain_mask.finder import load_brain_finder
from unweight.metrics.segmentation import score_structure
from unweight.prepare.brain_finder import BrainFinder, ClassicalBrain, voxel_mm
from unweight.prepare.lattice import PlacedImage, VoxelGrid
from unweight.prepare.resample import resampled, resampled_mask

matplotlib.use("Agg")
from matplotlib import pyplot as plt

SHARED = Path(__file__).parents[2] / "shared" / "data"
TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class RealImage:
    """An image, the published mask on its grid where there is one, and others that go with it."""

    name: str
    image: Tensor
    affine: Tensor
    truth: Tensor | None = None
    others: tuple[Tensor, ...] = ()


def transform_of(path: Path) -> Tensor:
    """Read a transform of ITK's text format, as a matrix between points in RAS+ [mm]."""
    lines = dict(line.split(": ") for line in path.read_text().splitlines() if ": " in line)
    numbers = np.array(lines["Parameters"].split(), dtype=float)
    centre = np.array(lines["FixedParameters"].split(), dtype=float)
    matrix = np.eye(4)
    matrix[:3, :3] = numbers[:9].reshape(3, 3)
    matrix[:3, 3] = numbers[9:] + centre - matrix[:3, :3] @ centre
    return torch.from_numpy(TO_RAS @ matrix @ TO_RAS)


def grid_of(volume: Volume) -> VoxelGrid:
    x, y, z = volume.grid.shape
    return VoxelGrid(shape=(x, y, z), affine=volume.grid.affine)


def patient() -> Iterator[RealImage]:
    """Raw images of one patient, two visits, alone and together, with the mask brought onto each."""
    folder = SHARED / "ms_lesjak" / "longitudinal" / "patient01"
    mask = open_volume(folder / "brainmask.nii.gz")
    for study in (1, 2):
        names = [f"study{study}_{contrast}" for contrast in ("T1W", "T2W", "FLAIR")]
        volumes = [open_volume(folder / f"{name}.nii.gz") for name in names]
        own = [transform_of(folder / f"{name}_intrastudy_to_FLAIR.txt") for name in names[:2]]
        own.append(torch.eye(4, dtype=torch.float64))
        common = torch.linalg.inv(transform_of(folder / f"{names[2]}_to_common_space.txt"))
        truths = [
            resampled_mask(mask.data > 0, grid_of(mask), grid_of(volume), torch.linalg.inv(way) @ common)
            for volume, way in zip(volumes, own, strict=True)
        ]
        for name, volume, truth in zip(names, volumes, truths, strict=True):
            contrast = name.partition("_")[2]
            image = volume.data.float()
            yield RealImage(f"ms_lesjak {study} {contrast}", image, volume.grid.affine, truth)
        flair = volumes[2]
        moved = [
            resampled(
                PlacedImage(values=volume.data.float(), affine=volume.grid.affine), grid_of(flair), way
            )
            for volume, way in zip(volumes[:2], own[:2], strict=True)
        ]
        yield RealImage(
            f"ms_lesjak {study} all three",
            flair.data.float(),
            flair.grid.affine,
            truths[2],
            tuple(moved),
        )


def others() -> Iterator[RealImage]:
    """Images without a mask."""
    path = SHARED / "mprage_uih" / "T1w_1mm_faceless.nii.gz"
    if path.exists():
        volume = open_volume(path)
        yield RealImage("mprage_uih", volume.data.float(), volume.grid.affine)
    path = SHARED / "mgre_romeo" / "Mag.nii"
    if path.exists():
        volume = open_volume(path)
        yield RealImage("mgre_romeo, late echo", volume.data[..., -1].float(), volume.grid.affine)
    folder = SHARED / "brain_ir_se_fsantini"
    # The voxel size was not stored: 0.9 mm across a head, slices of 5 mm.
    affine = torch.diag(torch.tensor([0.9, 0.9, 5.0, 1.0], dtype=torch.float64))
    for kind, name, volume_index in (
        ("IR", "t1dataset", 3),
        ("IR", "t1dataset", 5),
        ("SE", "t2dataset", 0),
    ):
        path = folder / f"{name}.npy"
        if path.exists():
            image = torch.from_numpy(np.load(path)[..., volume_index]).abs().float()[..., None]
            yield RealImage(f"fsantini {kind} {volume_index}", image, affine)


def measure(item: RealImage, finder: BrainFinder) -> tuple[Tensor | None, list[str]]:
    """Return the mask, and Dice, HD95, volume and time."""
    began = time.perf_counter()
    try:
        measured = finder.in_images([item.image, *item.others], item.affine)
    except InputError as error:
        return None, ["–", "–", str(error)[:40], f"{time.perf_counter() - began:.1f}"]
    seconds = time.perf_counter() - began
    sizes = voxel_mm(item.affine)
    volume = float(measured.mask.sum()) * float(np.prod(sizes)) / 1000
    dice = hd95 = "–"
    if item.truth is not None:
        score = score_structure(measured.mask, item.truth, sizes)
        dice, hd95 = f"{score['dice']:.3f}", f"{score['hd95_mm']:.1f}"
    remark = "; ".join(measured.remarks)
    return measured.mask, [dice, hd95, f"{volume:.0f} {remark}".strip(), f"{seconds:.1f}"]


def main(weights: Path | None, picture: Path | None) -> None:
    images = [*(patient() if (SHARED / "ms_lesjak").exists() else ()), *others()]
    finders: dict[str, BrainFinder] = {
        "classical": ClassicalBrain(),
        "network": load_brain_finder("brain-mask", weights)[0],
    }
    print("image | method | Dice | HD95 mm | volume ml | s")
    print("--- | --- | ---: | ---: | ---: | ---:")
    figure, axes = plt.subplots(len(images), 3, figsize=(9, 3 * len(images)), squeeze=False)
    for row, item in zip(axes, images, strict=True):
        masks = {}
        for name, finder in finders.items():
            masks[name], cells = measure(item, finder)
            print(f"{item.name} | {name} | {' | '.join(cells)}", flush=True)
        sizes = voxel_mm(item.affine)
        for axis, panel in enumerate(row):
            place = item.image.shape[axis] // 2
            others_axes = [other for other in range(3) if other != axis]
            level = item.image.select(axis, place).numpy()
            panel.imshow(level.T, origin="lower", cmap="gray", vmax=np.percentile(level, 99.5) or 1)
            panel.set_aspect(sizes[others_axes[1]] / sizes[others_axes[0]])
            for name, colour in (("classical", "orange"), ("network", "cyan")):
                mask = masks[name]
                if mask is not None and min(mask.select(axis, place).shape) > 1:
                    panel.contour(mask.select(axis, place).T, [0.5], colors=colour, linewidths=0.8)
            if item.truth is not None:
                panel.contour(item.truth.select(axis, place).T, [0.5], colors="red", linewidths=0.5)
            panel.set_axis_off()
        row[0].set_title(item.name, fontsize=8)
    if picture is not None:
        figure.tight_layout()
        figure.savefig(picture, dpi=70)


if __name__ == "__main__":
    arguments = [Path(item) for item in sys.argv[1:]]
    main(arguments[0] if arguments else None, arguments[1] if len(arguments) > 1 else None)
