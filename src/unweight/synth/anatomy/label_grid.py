"""The labels of a head on another grid: each new voxel takes the label its middle lies in."""

import math

import torch

from unweight.core.errors import UsageError
from unweight.synth.anatomy.labels import Anatomy

ROUNDING = 1e-6


def on_grid(anatomy: Anatomy, voxel_mm: float) -> Anatomy:
    """Return the anatomy in cubic voxels of another size, over the same field of view.

    Raises:
        UsageError: The size is not positive, or larger than the head.
    """
    if (
        not 0
        < voxel_mm
        <= min(count * size for count, size in zip(anatomy.labels.shape, anatomy.voxel_mm, strict=True))
    ):
        raise UsageError(f"voxels of {voxel_mm:g} mm", remedy="Give a size in millimetres.")
    if all(abs(size - voxel_mm) < 1e-6 for size in anatomy.voxel_mm):
        return anatomy
    labels, affine = anatomy.labels, anatomy.affine.clone()
    for axis, (count, size) in enumerate(zip(anatomy.labels.shape, anatomy.voxel_mm, strict=True)):
        ratio = voxel_mm / size
        places = (torch.arange(math.floor(count / ratio + ROUNDING)) + 0.5) * ratio
        labels = labels.index_select(axis, places.floor().long().clamp(max=count - 1))
        affine[:3, axis] *= ratio
        affine[:3, 3] += affine[:3, axis] * (0.5 - 0.5 / ratio)
    return Anatomy(
        labels=labels.contiguous(),
        voxel_mm=(voxel_mm, voxel_mm, voxel_mm),
        subject=anatomy.subject,
        affine=affine,
    )
