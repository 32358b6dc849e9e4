"""Values carried from one lattice onto another in a single resampling.

Images go through cubic B-splines, masks to the nearest voxel. Half a voxel beyond the outermost centres
still belongs to an image; what lies farther out has no value. Where the new voxels are larger, what they
would have averaged is averaged first, by a Gaussian of the width that is missing, √(new² − old²).
"""

import math
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from unweight.prepare.lattice import PlacedImage, VoxelGrid

Transform = Float64[Tensor, "4 4"]
CUBIC, NEAREST = 3, 0
HALF_VOXEL = 0.5
FWHM = math.sqrt(8 * math.log(2))  # of a Gaussian, over its standard deviation
REACH = 3.0  # standard deviations at which a Gaussian is cut
ROUNDING = 1e-6  # [voxel]


def resampled(
    image: PlacedImage, target: VoxelGrid, transform: Transform | None = None
) -> Float[Tensor, "x2 y2 z2"]:
    """Return magnitudes on another lattice; never negative, NaN where there is no value.

    Args:
        image: What is carried.
        target: Where it is wanted.
        transform: From points of the target to the same points of the head in the image [mm, RAS+];
            None if they are the same.
    """
    steps = _index_steps(image.lattice, target, transform)
    data, lost = _finite(image)
    smooth = ndimage.gaussian_filter(data, _widths(steps), truncate=REACH)
    carried = np.maximum(_carried(smooth, steps, target.shape, CUBIC), 0)
    outside = ~_within(steps, image.lattice.shape, target.shape)
    if lost.any():
        outside |= _carried(lost.astype(np.float32), steps, target.shape, NEAREST) > HALF_VOXEL
    carried[outside] = np.nan
    return torch.from_numpy(carried)


def resampled_mask(
    mask: Bool[Tensor, "x y z"], source: VoxelGrid, target: VoxelGrid, transform: Transform | None = None
) -> Bool[Tensor, "x2 y2 z2"]:
    """Return a mask on another lattice: each voxel is what the nearest one is; False outside."""
    return resampled_labels(mask.long(), source, target, transform) > 0


def resampled_labels(
    labels: Int64[Tensor, "x y z"], source: VoxelGrid, target: VoxelGrid, transform: Transform | None = None
) -> Int64[Tensor, "x2 y2 z2"]:
    """Return labels below 2²⁴ on another lattice: each voxel has that of the nearest one; 0 outside."""
    steps = _index_steps(source, target, transform)
    carried = _carried(labels.cpu().numpy().astype(np.float32), steps, target.shape, NEAREST)
    return torch.from_numpy(np.where(_within(steps, source.shape, target.shape), carried, 0)).long()


def thinned(image: PlacedImage, step_mm: float) -> PlacedImage:
    """Return an image smoothed to a resolution, with two voxels or more in each step; 0 for no value."""
    sizes = image.lattice.voxel_mm
    widths = [math.sqrt(max(0.0, (step_mm / size) ** 2 - 1)) / FWHM for size in sizes]
    x, y, z = (max(1, int(step_mm / (2 * size))) for size in sizes)
    smooth = ndimage.gaussian_filter(_finite(image)[0], widths, truncate=REACH)
    return PlacedImage(
        values=torch.from_numpy(np.ascontiguousarray(smooth[::x, ::y, ::z])),
        affine=image.lattice.every((x, y, z)).affine,
    )


def _finite(image: PlacedImage) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return the values with 0 for those that are none, and where that is."""
    data: NDArray[np.float32] = image.values.detach().cpu().float().numpy()
    lost = ~np.isfinite(data)
    return np.where(lost, np.float32(0), data), lost


def _index_steps(source: VoxelGrid, target: VoxelGrid, transform: Transform | None) -> NDArray[np.float64]:
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


def _widths(steps: NDArray[np.float64]) -> list[float]:
    """Return the standard deviation of what larger voxels average, by axis of the source [voxel]."""
    sizes = np.sqrt((steps[:3, :3] ** 2).sum(1)).tolist()
    return [math.sqrt(max(0.0, size**2 - 1)) / FWHM for size in sizes]


def _within(
    steps: NDArray[np.float64], source: tuple[int, ...], target: tuple[int, int, int]
) -> NDArray[np.bool_]:
    """Return which voxels of the target have their centre in a voxel of the source."""
    index: list[Any] = list(np.ogrid[tuple(slice(n) for n in target)])
    inside = np.ones(target, dtype=bool)
    for axis, size in enumerate(source):
        place = sum((steps[axis, j] * index[j] for j in range(3)), steps[axis, 3])
        inside &= (place >= -HALF_VOXEL - ROUNDING) & (place <= size - HALF_VOXEL + ROUNDING)
    return inside
