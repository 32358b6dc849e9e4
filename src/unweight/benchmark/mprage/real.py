"""A real T1w image under the same segmenter and the same measures as simulated ones."""

from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from unweight.benchmark.mprage.records import CONTRASTS, Segment
from unweight.bids.nifti.volume import open_volume
from unweight.core.errors import InputError
from unweight.learn.pairs.pair import on_own_scale
from unweight.metrics.sharpness import sharpness
from unweight.metrics.structures import LABELS
from unweight.metrics.tissue_contrast import contrast_to_noise
from unweight.prepare.brain_mask import find_brain
from unweight.susceptibility.geometry import geometry_of


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class RealT1w:
    """What a real image shows.

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


def look_at(path: Path, segment: Segment) -> RealT1w:
    """Read a real T1w image of a head, find its brain and its structures.

    Raises:
        InputError: It is no volume, or no brain is found in it.
    """
    volume = open_volume(path)
    if volume.data.ndim != 3:
        raise InputError("is not one volume", remedy="Give a T1w image.", path=path)
    image = volume.data.float()
    affine = volume.grid.affine
    voxel_mm = geometry_of(affine).voxel_mm
    mask = find_brain([image], voxel_mm)
    scaled = on_own_scale(image, mask, affine.double())
    return seen_by(segment, scaled, mask, voxel_mm)


def seen_by(
    segment: Segment,
    image: Float[Tensor, "x y z"],
    mask: Bool[Tensor, "x y z"],
    voxel_mm: tuple[float, float, float],
) -> RealT1w:
    """Return what the segmenter and the measures say of an image.

    Args:
        segment: Finds structures.
        image: White matter at 1.
        mask: The brain.
        voxel_mm: Size of a voxel [mm].
    """
    labels = segment(image, mask)
    size = float(torch.tensor(voxel_mm).prod()) / 1000
    there = {name: labels == label for name, label in LABELS.items() if label > 0}
    there = {name: one for name, one in there.items() if bool(one.any())}
    white = float(image[there["white_matter"]].median()) if "white_matter" in there else 1.0
    measures = {
        name: contrast_to_noise(image, there[first], there[second])
        for name, (first, second) in CONTRASTS.items()
        if first in there and second in there
    }
    measures["sharpness"] = sharpness(image, mask)
    return RealT1w(
        image=image,
        labels=labels,
        volume_ml={name: float(one.sum()) * size for name, one in there.items()},
        level={name: float(image[one].median()) / white for name, one in there.items()},
        measures=measures,
    )
