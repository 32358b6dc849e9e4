"""Images turned so that x runs to the right, y to the front and z up, and maps turned back.

Whole axes are swapped and reversed; nothing is interpolated.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from jaxtyping import Float, Float64, Shaped
from nibabel import orientations
from torch import Tensor

from unweight.bids.nifti.grid import TOLERANCE, Grid, farthest_mm
from unweight.core.errors import InputError

ORIENTATIONS: Any = orientations  # nibabel's functions carry no types


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Turn:
    """From the axes of a file to right, front and up.

    Attributes:
        order: Which axis of the file becomes the first, second and third.
        reversed: Which of the new axes then run the other way.
        affine: Of the turned image.
    """

    order: tuple[int, int, int]
    reversed: tuple[int, ...]
    affine: Float64[Tensor, "4 4"]

    def apply(self, values: Shaped[Tensor, "a b c *rest"]) -> Shaped[Tensor, "x y z *rest"]:
        """Turn an image; axes beyond the third stay."""
        rest = range(3, values.ndim)
        return values.permute(*self.order, *rest).flip(self.reversed).contiguous()

    def undo(self, values: Shaped[Tensor, "x y z *rest"]) -> Shaped[Tensor, "a b c *rest"]:
        """Turn an image back."""
        rest = range(3, values.ndim)
        back = [self.order.index(axis) for axis in range(3)]
        return values.flip(self.reversed).permute(*back, *rest).contiguous()


def turned_onto(
    values: Shaped[Tensor, "a b c"], source: Grid, target: Grid
) -> Shaped[Tensor, "x y z"] | None:
    """Return an image in the voxel order of another, or None where their voxels do not coincide."""
    first, second = (turn_of(grid.affine, grid.shape, grid.path) for grid in (source, target))
    upright = first.apply(values)
    shape = tuple(second.apply(torch.empty(target.shape)).shape)
    if tuple(upright.shape) != shape:
        return None
    if farthest_mm(shape, first.affine, second.affine) > TOLERANCE * target.edge_mm:
        return None
    return second.undo(upright)


def turn_of(affine: Float[Tensor, "4 4"], shape: tuple[int, ...], path: Path | None = None) -> Turn:
    """Return how an image is turned.

    Args:
        affine: Voxel index to millimetres (RAS+).
        shape: Voxels along each axis.
        path: The file, for messages.

    Raises:
        InputError: Two of its axes run along the same direction.
    """
    matrix = affine.detach().cpu().double().numpy()
    io_orientation = ORIENTATIONS.io_orientation(matrix)
    if sorted(io_orientation[:, 0].tolist()) != [0, 1, 2]:
        raise InputError(
            "has ambiguous axes",
            remedy="Correct the affine so that each voxel axis follows x, y or z.",
            path=path,
        )
    to_axis = [int(axis) for axis in io_orientation[:, 0]]
    first, second, third = (to_axis.index(axis) for axis in range(3))
    signs = {int(axis): float(sign) for axis, sign in io_orientation}
    turned = matrix @ ORIENTATIONS.inv_ornt_aff(io_orientation, shape[:3])
    return Turn(
        order=(first, second, third),
        reversed=tuple(axis for axis in range(3) if signs[axis] < 0),
        affine=torch.from_numpy(turned),
    )
