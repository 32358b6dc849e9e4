"""Connected components of a mask, their holes and their thickness.

Pieces of a mask: the largest ones, and their holes.

How thick the pieces of a mask are, and what is lost in thin ones.

The field of a dipole reaches beyond a thin slab, and removal of background fields takes all of it that is
harmonic inside. Of spheres of 16 mm in a simulated head of 96 mm, cut to slabs at any angle to the static
field, total variation finds this share of the difference to their surroundings:

    thickness [mm]   96        48        40        32        24        16        12        8         6
    share            0.85-0.9  0.7-0.85  0.6-0.75  0.5-0.7   0.15-0.7  0.3-0.5   0.2       0.1       0.05
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool
from scipy import ndimage
from torch import Tensor

from unweight.core.errors import InputError
from unweight.susceptibility.geometry import Triple

SPECK = 0.01  # of the voxels of the largest piece, what is too small to be one


def largest_component(mask: Bool[Tensor, "x y z"]) -> Bool[Tensor, "x y z"]:
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


def fill_holes(mask: Bool[Tensor, "x y z"]) -> Bool[Tensor, "x y z"]:
    """Return the mask with what it encloses."""
    return torch.from_numpy(ndimage.binary_fill_holes(mask.cpu().numpy())).to(mask.device)


AXES = ("first", "second", "third")
FEWEST_VOXELS = 3  # along each axis, that the smallest sphere of background removal needs
THIN_MM = 40.0  # below, at least a quarter of the difference is lost
FLAT_MM = 20.0  # below, about half of it and more


class Slabs(NamedTuple):
    """What the pieces of a mask are like.

    Attributes:
        n_pieces: How many there are.
        thinnest_mm: Thickness of the thinnest piece, along the axis where it is least.
        flat: Voxels of pieces so thin that their susceptibility must not be trusted.
    """

    n_pieces: int
    thinnest_mm: float
    flat: Bool[Tensor, "x y z"]


def slabs_of(mask: Bool[Tensor, "x y z"], voxel_mm: Triple) -> Slabs:
    """Return how thick the pieces of a mask are.

    Raises:
        InputError: The mask is empty, or all of it so thin that no background field can be taken out.
    """
    numbered, count = ndimage.label(mask.cpu().numpy())
    extents = np.array(
        [[part.stop - part.start for part in where] for where in ndimage.find_objects(numbered)]
    ).reshape(-1, 3)
    if count == 0:
        raise InputError("the mask is empty", remedy="Check the mask.")
    thickest = extents[extents.min(1).argmax()]
    if thickest.min() < FEWEST_VOXELS:
        axis, n = int(thickest.argmin()), int(thickest.min())
        raise InputError(
            f"the mask is {n} voxel{'s' * (n > 1)} thick along its {AXES[axis]} axis: "
            f"susceptibility needs at least {FEWEST_VOXELS} voxels, and {THIN_MM:g} mm to be right",
            remedy="Give all slices of the acquisition, and a mask that covers them.",
        )
    thickness = (extents * np.array(voxel_mm)).min(1)
    flat = np.concatenate([[False], thickness < FLAT_MM])[numbered]
    return Slabs(count, float(thickness.min()), torch.from_numpy(flat).to(mask.device))
