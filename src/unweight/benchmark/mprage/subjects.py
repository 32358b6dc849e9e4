"""Subjects to score T1w images on: simulated ones of the test part, kept on disk, and real images."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import final

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from unweight.benchmark.mprage.records import CONTRASTS, SegmentFn
from unweight.bids.nifti.volume import open_volume
from unweight.core.errors import InputError, UsageError
from unweight.core.estimator import Progress
from unweight.heads.source import TEST, head_source, whole_heads
from unweight.learn.pairs.cohort import CohortRecipe, person_pair
from unweight.learn.pairs.pair import on_own_scale
from unweight.learn.pairs.pair_data import make_pairs
from unweight.learn.training.recipe import without_newer
from unweight.metrics.contrast import contrast_to_noise
from unweight.metrics.sharpness import sharpness
from unweight.metrics.structures import LABELS
from unweight.prepare.brain_mask import find_brain
from unweight.susceptibility.geometry import geometry_of
from unweight.synth.anatomy.labels import Anatomy
from unweight.synth.cohort import Group

HEALTHY = "healthy"
T1W_SETS = tuple(group.value for group in Group)
N_HEALTHY, N_OTHERS, N_QUICK = 60, 4, 2
N_DRAWN = 2
QUICK_COARSER, QUICK_MM = 4, 4.0


def cohort_heads(folder: Path | None, *, quick: bool = False) -> tuple[Anatomy, ...]:
    """Return the heads of the test part, or procedural ones that no training draws.

    Args:
        folder: BrainWeb crisp heads; None for procedural heads.
        quick: A single coarse head.
    """
    drawn = whole_heads(0, {TEST: N_DRAWN}, coarser=QUICK_COARSER if quick else 1)
    return tuple(head_source(folder, drawn).heads(TEST, 1 if quick else None))


def cohort_subjects(
    dataset: str,
    heads: Sequence[Anatomy],
    folder: Path,
    *,
    n: int,
    quick: bool = False,
    n_workers: int = 0,
    progress: Progress | None = None,
) -> tuple[Path, ...]:
    """Return the files of the first subjects of a set; missing ones are simulated.

    Args:
        dataset: Of `T1W_SETS`.
        heads: Of the test part.
        folder: Where subjects are kept; each set has a folder of its own.
        n: How many.
        quick: Coarse voxels.
        n_workers: Processes that simulate them.
        progress: Called with those done and all of them.

    Raises:
        UsageError: There are not so many, or the folder holds others.
    """
    recipe = CohortRecipe(group=dataset)
    if quick:
        recipe = replace(recipe, voxel_mm=QUICK_MM)
    indices = recipe.indices("test")
    if not 1 <= n <= len(indices):
        raise UsageError(
            f"the data set {dataset} has no {n} subjects", remedy=f"Give --n-subjects 1 to {len(indices)}."
        )
    about = {
        "method": "mprage",
        "cohort": without_newer(recipe),
        "heads": [head.subject for head in heads],
        "part": "test",
    }
    place = folder / ("test" if dataset == HEALTHY else f"test-{dataset}")
    return make_pairs(
        partial(person_pair, recipe, heads, "test"),
        indices[:n],
        place,
        about,
        n_workers=n_workers,
        progress=progress,
    )


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class ImageLevels:
    """Levels, contrast and structures of one image, real or simulated.

    Attributes:
        image: White matter at 1, 0 outside the brain.
        labels: What the segmenter finds.
        volume_ml: Of each structure.
        level: Median of each structure over that of white matter.
        measures: Contrast to noise, and sharpness.
    """

    image: Float[Tensor, "x y z"]
    labels: UInt8[Tensor, "x y z"]
    volume_ml: dict[str, float]
    level: dict[str, float]
    measures: dict[str, float]


def measure_image(path: Path, segment: SegmentFn) -> ImageLevels:
    """Read a real T1w image of a head, find its brain and its structures.

    Raises:
        InputError: It is no volume, or no brain is found in it.
    """
    volume = open_volume(path)
    if volume.data.ndim != 3:
        raise InputError(
            f"has {volume.data.ndim} dimensions instead of 3",
            remedy="Give a T1w image of one volume.",
            path=path,
        )
    image = volume.data.float()
    affine = volume.grid.affine
    voxel_mm = geometry_of(affine).voxel_mm
    mask = find_brain([image], voxel_mm)
    scaled = on_own_scale(image, mask, affine.double())
    return measure_on_grid(segment, scaled, mask, voxel_mm)


def measure_on_grid(
    segment: SegmentFn,
    image: Float[Tensor, "x y z"],
    mask: Bool[Tensor, "x y z"],
    voxel_mm: tuple[float, float, float],
) -> ImageLevels:
    """Return what the segmenter and the measures give for an image.

    Args:
        segment: Finds structures.
        image: White matter at 1.
        mask: The brain.
        voxel_mm: Size of a voxel [mm].
    """
    labels = segment(image, mask)
    size = float(torch.tensor(voxel_mm).prod()) / 1000
    regions = {name: labels == label for name, label in LABELS.items() if label > 0}
    regions = {name: region for name, region in regions.items() if bool(region.any())}
    white = float(image[regions["white_matter"]].median()) if "white_matter" in regions else 1.0
    measures = {
        name: contrast_to_noise(image, regions[first], regions[second])
        for name, (first, second) in CONTRASTS.items()
        if first in regions and second in regions
    }
    measures["sharpness"] = sharpness(image, mask)
    return ImageLevels(
        image=image,
        labels=labels,
        volume_ml={name: float(region.sum()) * size for name, region in regions.items()},
        level={name: float(image[region].median()) / white for name, region in regions.items()},
        measures=measures,
    )
