"""The grid of an image in the static field, and the smallest box around a mask.

How the grid of an image lies in the static field: voxel sizes, and the direction of B0 in voxel axes.

The field of a scanner points along z of its own space, which is that of the affine (RAS+). With the unit
vectors of the voxel axes as columns of R, it is b = Rᵀ·(0, 0, 1) in the axes of the voxels. An image
acquired or resampled obliquely so has an oblique b, and the dipole kernel is turned, not the image.

The smallest box around a mask, so that convolutions do not work on air.
"""

import math
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from unweight.core.errors import InputError, UsageError

Triple = tuple[float, float, float]
GYROMAGNETIC_RATIO = 42.577478518  # of the proton [MHz/T], which is Hz per ppm of a tesla
ROUNDING = 1e-3
SHEARED = 0.02


@final
@dataclass(frozen=True, kw_only=True)
class FieldGeometry:
    """A grid in the static field.

    Attributes:
        voxel_mm: Voxel size along each axis [mm].
        direction: Unit vector along the static field, in the axes of the voxels.
    """

    voxel_mm: Triple
    direction: Triple = (0.0, 0.0, 1.0)

    def __post_init__(self) -> None:
        check_geometry(self.voxel_mm, self.direction)


def geometry_of(affine: Float[Tensor, "4 4"], direction: Triple | None = None) -> FieldGeometry:
    """Return how the grid of an affine lies in the field.

    Args:
        affine: Voxel index to millimetres (RAS+).
        direction: Of the field in voxel axes, of any length, where it is known otherwise; None to take
            it from the affine.

    Raises:
        UsageError: The voxel axes are not at right angles, or the direction has no length.
    """
    matrix = affine[:3, :3].detach().cpu().double()
    sizes = matrix.norm(dim=0)
    axes = matrix / sizes
    if float((axes.T @ axes - torch.eye(3, dtype=axes.dtype)).abs().max()) > SHEARED:
        raise UsageError(
            "the voxel axes are not orthogonal, and the dipole field cannot be computed on them",
            remedy="Resample the images to a grid without shear.",
        )
    x, y, z = axes[2].tolist() if direction is None else direction
    length = math.hypot(x, y, z)
    if not length > 0:
        raise UsageError("the field direction is a zero vector", remedy="Give three numbers.")
    a, b, c = sizes.tolist()
    return FieldGeometry(voxel_mm=(a, b, c), direction=(x / length, y / length, z / length))


def check_geometry(voxel_mm: Triple, direction: Triple) -> None:
    """Refuse voxel sizes that are not positive, and a direction that has not length 1."""
    length = math.hypot(*direction)
    if not abs(length - 1) <= ROUNDING:
        raise UsageError(
            f"the direction of the field has length {length:g}",
            remedy="Give a unit vector in the axes of the voxels.",
        )
    if not min(voxel_mm) > 0:
        raise UsageError(f"voxel sizes must be positive, not {voxel_mm}", remedy="Give them in mm.")


@final
@dataclass(frozen=True, kw_only=True)
class Box:
    """A box of voxels in a grid.

    Attributes:
        ranges: First and one past the last voxel along each axis.
    """

    ranges: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]

    def cut(self, values: Shaped[Tensor, "x y z *rest"]) -> Shaped[Tensor, "a b c *rest"]:
        """Return what lies in the box."""
        (a, b), (c, d), (e, f) = self.ranges
        return values[a:b, c:d, e:f].contiguous()

    def fill(
        self, whole: Shaped[Tensor, "x y z"], values: Shaped[Tensor, "a b c"]
    ) -> Shaped[Tensor, "x y z"]:
        """Return a volume with what lies in the box replaced."""
        (a, b), (c, d), (e, f) = self.ranges
        result = whole.clone()
        result[a:b, c:d, e:f] = values
        return result


def box_around(mask: Bool[Tensor, "x y z"], margin: int = 1) -> Box:
    """Return the smallest box that holds a mask and a margin, within the grid.

    Raises:
        InputError: The mask is empty.
    """
    if not bool(mask.any()):
        raise InputError("the mask is empty", remedy="Check the mask.")
    ends = []
    for axis in range(3):
        others = [index for index in range(3) if index != axis]
        along = mask.any(others[1]).any(others[0]).nonzero()[:, 0]
        ends.append((max(0, int(along[0]) - margin), min(mask.shape[axis], int(along[-1]) + 1 + margin)))
    return Box(ranges=(ends[0], ends[1], ends[2]))
