"""A digital system phantom: one plate in a slice or a stack of slices, any pose, with known truth.

Every voxel is split into small parts, each of which is one material: a sphere, the water around, or
plastic and air that give no signal. What is kept is the fraction of each material, so that a voxel on
an edge gets the mean of the signals, never the signal of mean parameters:

    S(voxel) = Σ_m fraction_m · S(T1_m, PD, B)

The spheres are cut as spheres, so a thick slice off their centre shows the rim that it would. In the
plane there are also the three posts that carry the plates (dark, with a bore), the resolution inset
in the middle (a dark frame around cells) and the round container. Not drawn: the disc of the plate
itself, which lies outside the plane of the spheres, and the other plates.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import final

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from unweight.core.errors import UsageError
from unweight.core.maps import ParameterMaps, VoxelStatus
from unweight.phantom.facts import (
    CONTAINER_RADIUS_MM,
    INSET_CELL_MM,
    INSET_SIZE_MM,
    INSET_WALL_MM,
    N_SPHERES,
    POST_BORE_MM,
    POST_RADIUS_MM,
    SHELL_RADIUS_MM,
    SPHERE_RADIUS_MM,
    WATER_T1,
    SphereArray,
)
from unweight.signals.parameters import PD, T1, B

Plane = Float[Tensor, "columns rows"]

VOID = 0
WATER = N_SPHERES + 1
N_MATERIALS = N_SPHERES + 2
INSET_HALF_HEIGHT_MM = 6.0


@final
@dataclass(frozen=True, kw_only=True)
class SliceGrid:
    """Voxels of a coronal stack, centred on the field of view.

    Attributes:
        shape: Columns, rows and slices.
        voxel_mm: Size of a voxel [mm].
        n_parts: Parts a voxel is split into along each axis.
    """

    shape: tuple[int, int, int] = (192, 192, 1)
    voxel_mm: tuple[float, float, float] = (1.3, 1.3, 5.0)
    n_parts: int = 5

    def __post_init__(self) -> None:
        if min(*self.shape, self.n_parts) < 1 or min(self.voxel_mm) <= 0:
            raise UsageError(f"an empty grid: {self}")

    @property
    def affine(self) -> Float[Tensor, "4 4"]:
        """Columns run to the left, rows to the head, slices to the back."""
        affine = torch.zeros(4, 4, dtype=torch.float64)
        for axis, (row, sign) in enumerate(((0, -1.0), (2, 1.0), (1, -1.0))):
            affine[row, axis] = sign * self.voxel_mm[axis]
            affine[row, 3] = -sign * self.voxel_mm[axis] * (self.shape[axis] - 1) / 2
        affine[3, 3] = 1.0
        return affine

    @property
    def steps(self) -> list[float]:
        """Where the parts of a voxel lie along an axis, in voxels from its middle."""
        return [(part + 0.5) / self.n_parts - 0.5 for part in range(self.n_parts)]

    def along(self, axis: int, steps: Sequence[float]) -> Float[Tensor, " positions"]:
        """Return where parts of all voxels lie along an axis, from the centre of the grid [mm]."""
        middle = torch.arange(self.shape[axis], dtype=torch.float64) - (self.shape[axis] - 1) / 2
        offset = torch.tensor(list(steps), dtype=torch.float64)
        return (middle[:, None] + offset).reshape(-1) * self.voxel_mm[axis]


@final
@dataclass(frozen=True, kw_only=True)
class Pose:
    """How the phantom lies in the grid.

    Attributes:
        rotation: From columns towards rows [rad].
        shift_mm: Of the middle of the plate along columns and rows [mm].
        height_mm: Of the middle slice above the centres of the spheres [mm].
        mirrored: Whether the image is a mirror image.
    """

    rotation: float = 0.0
    shift_mm: tuple[float, float] = (0.0, 0.0)
    height_mm: float = 0.0
    mirrored: bool = False

    def apply(self, points_mm: Float[Tensor, "points 2"]) -> Float[Tensor, "points 2"]:
        """Carry points from the plate into the plane of the grid."""
        flip = -1.0 if self.mirrored else 1.0
        cosine, sine = math.cos(self.rotation), math.sin(self.rotation)
        matrix = torch.tensor([[cosine * flip, -sine], [sine * flip, cosine]], dtype=points_mm.dtype)
        return points_mm @ matrix.T + torch.tensor(self.shift_mm, dtype=points_mm.dtype)

    def undo(
        self, column_mm: Float[Tensor, " columns"], row_mm: Float[Tensor, " rows"]
    ) -> tuple[Plane, Plane]:
        """Carry a grid of positions back to the plate: x and y of every point."""
        across = row_mm - self.shift_mm[1]
        along = column_mm[:, None] - self.shift_mm[0]
        cosine, sine = math.cos(self.rotation), math.sin(self.rotation)
        x = cosine * along + sine * across
        return (-x if self.mirrored else x), cosine * across - sine * along


@final
@dataclass(frozen=True, kw_only=True)
class Shading:
    """Smooth fields over the phantom; both are parabolas around the middle of the plate.

    Attributes:
        proton_density: PD in the middle [arbitrary].
        receive_rise: Relative gain of the receive sensitivity at 100 mm from the middle.
        efficiency: Inversion efficiency B in the middle.
        efficiency_fall: Loss of B at 100 mm.
    """

    proton_density: float = 1.0
    receive_rise: float = 0.3
    efficiency: float = 1.96
    efficiency_fall: float = 0.04


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class DigitalPhantom:
    """What a voxel holds, and the truth about it.

    Materials are numbered 0 (no signal), 1 to 14 (spheres) and 15 (water around them).

    Attributes:
        array: The plate.
        t1: T1 of each material, NaN for no signal [s].
        fractions: Part of the voxel that each material fills.
        proton_density: PD that a voxel full of water or solution has [arbitrary].
        efficiency: Inversion efficiency B.
        centres_mm: Of the spheres in the plane: column and row index times voxel size [mm].
        affine: Voxel index to millimetres.
    """

    array: SphereArray
    t1: Float[Tensor, " materials"]
    fractions: Float[Tensor, "*voxels materials"]
    proton_density: Float[Tensor, "*voxels"]
    efficiency: Float[Tensor, "*voxels"]
    centres_mm: Float[Tensor, "spheres 2"]
    affine: Float[Tensor, "4 4"]

    @property
    def labels(self) -> UInt8[Tensor, "*voxels"]:
        """The material that fills most of each voxel."""
        return self.fractions.argmax(-1).to(torch.uint8)

    @property
    def pure(self) -> Bool[Tensor, "*voxels"]:
        """Voxels of one single material."""
        return self.fractions.amax(-1) > 1 - 1e-9

    def theta(self, material: int) -> Float[Tensor, "*voxels parameters"]:
        """Return (T1, PD, B) as if every voxel were full of one material."""
        t1 = self.t1[material].expand_as(self.efficiency)
        return torch.stack((t1, self.proton_density, self.efficiency), -1)

    @property
    def truth(self) -> ParameterMaps:
        """T1, PD and B of the material that fills most of a voxel; NaN where that gives no signal."""
        labels = self.labels.long()
        silent = labels == VOID
        values = torch.stack((self.t1[labels], self.proton_density, self.efficiency), -1)
        status = torch.where(silent, int(VoxelStatus.MASKED), int(VoxelStatus.OK)).to(torch.uint8)
        values = values.masked_fill(silent[..., None], torch.nan)
        return ParameterMaps(
            specs=(T1, PD, B),
            values=values,
            std=torch.zeros_like(values).masked_fill(silent[..., None], torch.nan),
            status=status,
            affine=self.affine,
        )


_GRID, _POSE, _SHADING = SliceGrid(), Pose(), Shading()


def digital_phantom(
    array: SphereArray,
    *,
    grid: SliceGrid = _GRID,
    pose: Pose = _POSE,
    shading: Shading = _SHADING,
) -> DigitalPhantom:
    """Draw one plate.

    Args:
        array: The plate, with its nominal T1 (`sphere_array`).
        grid: Voxels.
        pose: How the phantom lies in it.
        shading: Receive sensitivity and inversion efficiency.
    """
    fractions = torch.zeros(*grid.shape, N_MATERIALS, dtype=torch.float64)
    z = grid.along(2, grid.steps) + pose.height_mm
    for column, row in product(grid.steps, repeat=2):
        x, y = pose.undo(grid.along(0, [column]), grid.along(1, [row]))
        materials = _materials(array, x, y, z).reshape(*grid.shape, grid.n_parts)
        fractions.scatter_add_(-1, materials, torch.ones_like(materials, dtype=torch.float64))
    fractions /= grid.n_parts**3
    x, y = pose.undo(grid.along(0, [0.0]), grid.along(1, [0.0]))
    square = ((x**2 + y**2) / CONTAINER_RADIUS_MM**2)[..., None].expand(grid.shape)
    return DigitalPhantom(
        array=array,
        t1=torch.tensor([math.nan, *array.nominal.t1, WATER_T1], dtype=torch.float64),
        fractions=fractions,
        proton_density=shading.proton_density * (1 + shading.receive_rise * square),
        efficiency=shading.efficiency - shading.efficiency_fall * square,
        centres_mm=_centres_mm(array, grid, pose),
        affine=grid.affine,
    )


def _centres_mm(array: SphereArray, grid: SliceGrid, pose: Pose) -> Float[Tensor, "spheres 2"]:
    centres = pose.apply(torch.tensor(array.centres_mm, dtype=torch.float64))
    middle = [(count - 1) / 2 * size for count, size in zip(grid.shape[:2], grid.voxel_mm[:2], strict=True)]
    return centres + torch.tensor(middle, dtype=torch.float64)


def _materials(
    array: SphereArray, x: Plane, y: Plane, z: Float[Tensor, " depth"]
) -> Int[Tensor, "columns rows depth"]:
    """Return what is at positions in the frame of the plate."""
    depth = z**2
    inside = (x**2 + y**2)[..., None] + (z + array.height_mm) ** 2 < CONTAINER_RADIUS_MM**2
    plastic = _inset(x, y)[..., None] & (z.abs() < INSET_HALF_HEIGHT_MM) | _posts(array, x, y)[..., None]
    centres = torch.tensor(array.centres_mm, dtype=x.dtype)
    away, nearest = ((x[..., None] - centres[:, 0]) ** 2 + (y[..., None] - centres[:, 1]) ** 2).min(-1)
    radius = away[..., None] + depth
    material = torch.where(inside & ~plastic & (radius > SHELL_RADIUS_MM**2), WATER, VOID)
    return torch.where(radius < SPHERE_RADIUS_MM**2, nearest[..., None] + 1, material)


def _inset(x: Plane, y: Plane) -> Bool[Tensor, "columns rows"]:
    """Return where the inset displaces the water: its frame and every other cell."""
    half_x, half_y = INSET_SIZE_MM[0] / 2, INSET_SIZE_MM[1] / 2
    frame = (x.abs() < half_x) & (y.abs() < half_y)
    hollow = (x.abs() < half_x - INSET_WALL_MM) & (y.abs() < half_y - INSET_WALL_MM)
    cells = ((x / INSET_CELL_MM).floor() + (y / INSET_CELL_MM).floor()) % 2 == 0
    return frame & ~(hollow & cells)


def _posts(array: SphereArray, x: Plane, y: Plane) -> Bool[Tensor, "columns rows"]:
    """Return where the posts displace the water."""
    plastic = torch.zeros_like(x, dtype=torch.bool)
    for middle_x, middle_y in array.posts_mm:
        square = (x - middle_x) ** 2 + (y - middle_y) ** 2
        plastic |= (square < POST_RADIUS_MM**2) & (square > POST_BORE_MM**2)
    return plastic
