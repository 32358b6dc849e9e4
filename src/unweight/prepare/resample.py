"""Values carried from one lattice onto another in a single resampling.

Images go through cubic B-splines, masks to the nearest voxel. Half a voxel beyond the outermost centres
still belongs to an image; what lies farther out has no value. Where the new voxels are larger, what they
would have averaged is averaged first, by a Gaussian of the width that is missing, √(new² − old²).
"""

import math
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from unweight.prepare.lattice import Lattice

CUBIC, LINEAR, NEAREST = 3, 1, 0
HALF_VOXEL = 0.5
FWHM = math.sqrt(8 * math.log(2))  # of a Gaussian, over its standard deviation
REACH = 3.0  # standard deviations at which a Gaussian is cut
ROUNDING = 1e-6  # [voxel]


def resampled(
    values: Float[Tensor, "x y z"],
    source: Lattice,
    target: Lattice,
    transform: Float64[Tensor, "4 4"] | None = None,
) -> Float[Tensor, "x2 y2 z2"]:
    """Return magnitudes on another lattice; never negative, NaN where there is no value.

    Args:
        values: On the source; NaN where there is no value.
        source: Where they are.
        target: Where they are wanted.
        transform: From points of the target to the same points of the head in the source [mm, RAS+];
            None if they are the same.
    """
    steps = index_steps(source, target, transform)
    data = values.detach().cpu().float().numpy()
    lost = ~np.isfinite(data)
    full = np.where(lost, np.float32(0), data)
    smooth = ndimage.gaussian_filter(full, _missing_width(steps), truncate=REACH)
    carried = _carried(smooth, steps, target.shape, CUBIC)
    outside = ~_within(steps, source.shape, target.shape)
    if lost.any():
        outside |= _carried(lost.astype(np.float32), steps, target.shape, NEAREST) > HALF_VOXEL
    carried = np.maximum(carried, 0)
    carried[outside] = np.nan
    return torch.from_numpy(carried)


def resampled_mask(
    mask: Bool[Tensor, "x y z"],
    source: Lattice,
    target: Lattice,
    transform: Float64[Tensor, "4 4"] | None = None,
) -> Bool[Tensor, "x2 y2 z2"]:
    """Return a mask on another lattice: each voxel is what the nearest one is; False outside."""
    steps = index_steps(source, target, transform)
    carried = _carried(mask.cpu().numpy().astype(np.float32), steps, target.shape, NEAREST)
    return torch.from_numpy((carried > HALF_VOXEL) & _within(steps, source.shape, target.shape))


def index_steps(
    source: Lattice, target: Lattice, transform: Float64[Tensor, "4 4"] | None
) -> NDArray[np.float64]:
    """Return the matrix from indices of the target to indices of the source."""
    world = target.affine if transform is None else transform @ target.affine
    steps: NDArray[np.float64] = torch.linalg.solve(source.affine, world).numpy()
    return steps


def _carried(
    data: NDArray[np.float32], steps: NDArray[np.float64], shape: tuple[int, int, int], order: int
) -> NDArray[np.float32]:
    carried: NDArray[np.float32] = ndimage.affine_transform(
        data, steps[:3, :3], steps[:3, 3], output_shape=shape, order=order, mode="nearest"
    )
    return carried


def _missing_width(steps: NDArray[np.float64]) -> list[float]:
    """Return the standard deviation along each axis of the source [voxel]."""
    widths = np.sqrt((steps[:3, :3] ** 2).sum(1))
    return [math.sqrt(max(0.0, float(width) ** 2 - 1)) / FWHM for width in widths]


def _within(
    steps: NDArray[np.float64], source: tuple[int, ...], target: tuple[int, int, int]
) -> NDArray[np.bool_]:
    """Return which voxels of the target have their centre in a voxel of the source."""
    index: list[Any] = np.ogrid[tuple(slice(n) for n in target)]
    inside = np.ones(target, dtype=bool)
    for axis, size in enumerate(source):
        place = sum((steps[axis, j] * index[j] for j in range(3)), steps[axis, 3])
        inside &= (place >= -HALF_VOXEL - ROUNDING) & (place <= size - HALF_VOXEL + ROUNDING)
    return inside
