"""A mask on the grid of a series."""

import logging
from pathlib import Path

import torch
from jaxtyping import Bool
from torch import Tensor

from unweight.bids.nifti.canonical import turned_onto
from unweight.bids.nifti.grid import Grid, check_same_grid
from unweight.bids.nifti.volume import Volume, open_grid, open_volume
from unweight.bids.nifti.voxels import thinned
from unweight.core.errors import InputError

LOG = logging.getLogger(__name__)
HALF = 0.5  # of a voxel


def read_mask(path: Path, grid: Grid, every: int = 1) -> Bool[Tensor, "x y z"]:
    """Read a mask on the grid of the volumes, in any order of its axes: what is not 0 is inside.

    Where a mask holds shares of 1, as resampling and soft segmentation leave them, a half is inside.

    Args:
        path: The mask.
        grid: Of the volumes.
        every: Which voxels of a slice are kept, as `open_volume` keeps them.

    Raises:
        InputError: It is unusable, on another grid, or empty.
    """
    alike = open_grid(path).same_as(grid)
    volume = open_volume(path, every=every if alike else 1)
    if volume.data.ndim != 3:
        raise InputError("is not a single 3D volume", remedy="Give a 3D mask.", path=path)
    mask = _inside(volume, path)
    if not alike:
        turned = turned_onto(mask, volume.grid, grid)
        if turned is None:
            check_same_grid([grid, volume.grid])
        else:
            mask = turned
    # Where the mask holds some of the voxels, all of those in the file count.
    if not bool(mask.any()) and (mask.shape == grid.shape or not volume.signs[0].filled):
        raise InputError("the mask is 0 everywhere", remedy="Set the voxels inside to 1.", path=path)
    return mask if alike else torch.from_numpy(thinned(mask.numpy(), every))


def _inside(volume: Volume, path: Path) -> Bool[Tensor, "x y z"]:
    """Return what a mask marks: what is not 0, or in a mask of shares of 1, at least half."""
    values, signs = volume.data, volume.signs[0]
    known = values.nan_to_num()
    shares = signs.lowest == 0 and HALF <= signs.highest <= 1 and not bool(values.isinf().any())
    if shares and bool((known != known.round()).any()):
        LOG.warning("%s contains fractions; voxels of at least 0.5 are inside", path.name)
        return known >= HALF
    return torch.isfinite(values) & (values != 0)
