"""Pieces of a mask: the largest ones, and their holes."""

import numpy as np
import torch
from jaxtyping import Bool
from scipy import ndimage
from torch import Tensor

from unweight.core.errors import InputError

SPECK = 0.01  # of the voxels of the largest piece, what is too small to be one


def largest_piece(mask: Bool[Tensor, "x y z"]) -> Bool[Tensor, "x y z"]:
    """Return the largest set of voxels that touch by their faces.

    Raises:
        InputError: The mask is empty.
    """
    numbered, count = ndimage.label(mask.cpu().numpy())
    if count == 0:
        raise InputError("the mask is empty", remedy="Check the mask.")
    if count == 1:
        return mask
    sizes = np.bincount(numbered.reshape(-1))[1:]
    return torch.from_numpy(numbered == 1 + int(sizes.argmax())).to(mask.device)


def large_pieces(mask: Bool[Tensor, "x y z"], share: float = SPECK) -> Bool[Tensor, "x y z"]:
    """Return the mask without specks.

    Args:
        mask: One piece or many; voxels of one piece touch by their faces.
        share: Of the voxels of the largest piece, that a piece has at least.

    Raises:
        InputError: The mask is empty.
    """
    numbered, count = ndimage.label(mask.cpu().numpy())
    if count == 0:
        raise InputError("the mask is empty", remedy="Check the mask.")
    if count == 1:
        return mask
    sizes = np.bincount(numbered.reshape(-1))
    sizes[0] = 0
    kept = sizes >= share * sizes.max()
    return torch.from_numpy(kept[numbered]).to(mask.device)


def without_holes(mask: Bool[Tensor, "x y z"]) -> Bool[Tensor, "x y z"]:
    """Return the mask with what it encloses."""
    return torch.from_numpy(ndimage.binary_fill_holes(mask.cpu().numpy())).to(mask.device)
