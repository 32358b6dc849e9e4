"""Texture within a tissue: a smooth Gaussian random field.

White noise is smoothed with a Gaussian of standard deviation s along each axis, so that the
correlation of two voxels a distance d apart is

    r(d) = exp(−d² / 4s²)

and is 1/e at d = 2s. The kernel wraps around the edges of the grid, which makes the field stationary:
each voxel has the same variance, and it is scaled to the one wanted in closed form, not by the sample.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from unweight.core.errors import UsageError


def texture(
    shape: Sequence[int],
    voxel_mm: Sequence[float],
    sd: float,
    length_mm: float,
    generator: torch.Generator,
) -> Float[Tensor, "*shape"]:
    """Draw a field of mean 0.

    An axis of one voxel is a slice: it is not smoothed along. A length well below the voxel gives
    white noise.

    Args:
        shape: Voxels along each axis.
        voxel_mm: Size of a voxel along each axis [mm].
        sd: Standard deviation of a voxel over many fields [unit of the field].
        length_mm: Standard deviation of the smoothing Gaussian [mm].
        generator: Where the noise comes from; the field is on its device.

    Raises:
        UsageError: Sizes do not match or are not positive.
    """
    _check(shape, voxel_mm, sd, length_mm)
    field = torch.randn(tuple(shape), generator=generator, device=generator.device)
    for axis, (n_voxels, size) in enumerate(zip(shape, voxel_mm, strict=True)):
        if n_voxels > 1:
            field = torch.tensordot(_smoothing(n_voxels, length_mm / size).to(field), field, ([1], [axis]))
            field = field.movedim(0, axis)
    return sd * field


def _smoothing(n_voxels: int, width: float) -> Float[Tensor, "voxels voxels"]:
    """Return the circulant matrix that smooths one axis and keeps the variance of white noise."""
    place = torch.arange(n_voxels, dtype=torch.float64)
    distance = torch.minimum(place, n_voxels - place)
    kernel = torch.exp(-0.5 * (distance / max(width, 1e-6)) ** 2)
    kernel = kernel / kernel.square().sum().sqrt()
    turns = (place[:, None] - place[None, :]).remainder(n_voxels).long()
    return kernel[turns]


def _check(shape: Sequence[int], voxel_mm: Sequence[float], sd: float, length_mm: float) -> None:
    if len(shape) != len(voxel_mm) or not shape:
        raise UsageError(
            f"a grid of {len(shape)} axes, but voxel sizes for {len(voxel_mm)}",
            remedy="Give one voxel size per axis.",
        )
    if min(shape) < 1 or not all(math.isfinite(size) and size > 0 for size in voxel_mm):
        raise UsageError(f"an empty grid: shape {tuple(shape)}, voxels {tuple(voxel_mm)} mm")
    if not (math.isfinite(sd) and math.isfinite(length_mm) and sd >= 0 and length_mm >= 0):
        raise UsageError(f"a texture needs sd and length of 0 or more, not {sd:g} and {length_mm:g} mm")
