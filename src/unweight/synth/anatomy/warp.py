"""Random changes of shape of a label map: an affine map after a smooth one with a smooth inverse.

The smooth map is the flow of a stationary velocity field v after unit time, φ = exp(v), found by
scaling and squaring: φ_0 = id + v/2^n, φ_{k+1} = φ_k ∘ φ_k (J. Ashburner, NeuroImage 38 (2007) 95;
V. Arsigny et al., MICCAI 2006). Its inverse is exp(−v). The new label at p is the old one at A φ(p),
rounded to the nearest voxel; beyond the map there is background.
"""

import math
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate

from unweight.core.errors import UsageError
from unweight.synth.scanner.fields import axis_positions, draw_field

N_SQUARINGS = 6
BLOCK_VOXELS = 2**16
NODE_MM = 4.0
EDGE_MM = 24.0
STEEPEST = 0.35


@final
@dataclass(frozen=True, kw_only=True)
class WarpRange:
    """How far shapes may change.

    Attributes:
        rotation: Largest turn about each axis [rad].
        scale: Largest relative change of size along each axis.
        shear: Largest shear of each pair of axes.
        displacement_mm: Standard deviation of the velocity along each axis [mm].
        smooth_mm: Distance between the nodes of the velocity [mm].
    """

    rotation: float = math.radians(10)
    scale: float = 0.1
    shear: float = 0.05
    displacement_mm: float = 1.5
    smooth_mm: float = 24.0

    def __post_init__(self) -> None:
        if min(self.rotation, self.scale, self.shear, self.displacement_mm) < 0 or self.scale >= 1:
            raise UsageError(f"impossible changes of shape: {self}")
        if self.displacement_mm > STEEPEST * self.smooth_mm:
            raise UsageError(
                f"displacements of {self.displacement_mm} mm over {self.smooth_mm} mm would fold",
                remedy="Make them smaller or smoother.",
            )


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Warp:
    """One change of shape, about the middle of a field of view.

    Attributes:
        affine: A, in millimetres from the middle.
        displacement: φ(p) − p on nodes from edge to edge of the field of view [mm].
        extent_mm: Between the middles of the first and the last voxel along each axis [mm].
    """

    affine: Float[Tensor, "4 4"]
    displacement: Float[Tensor, "3 x y z"]
    extent_mm: tuple[float, float, float]

    def apply(
        self, labels: UInt8[Tensor, "x y z"], voxel_mm: tuple[float, float, float]
    ) -> UInt8[Tensor, "x y z"]:
        """Return the changed labels.

        Args:
            labels: Of the field of view the warp was drawn for.
            voxel_mm: Size of a voxel [mm].

        Raises:
            UsageError: The field of view is another one.
        """
        extent = _extent(tuple(labels.shape), voxel_mm)
        if any(abs(a - b) > 1e-3 for a, b in zip(extent, self.extent_mm, strict=True)):
            raise UsageError(f"a warp of {self.extent_mm} mm for labels of {extent} mm")
        n_rows, *plane = labels.shape
        columns = interpolate(
            self.displacement.permute(1, 0, 2, 3), _at_least_two(plane), mode="bilinear", align_corners=True
        )[..., : plane[0], : plane[1]]
        x, y, z = (axis_positions(n, size) for n, size in zip(labels.shape, voxel_mm, strict=True))
        across = torch.stack([torch.zeros(len(y), len(z)), *torch.meshgrid(y, z, indexing="ij")])
        flat = labels.reshape(-1)
        places = torch.linspace(0, columns.shape[0] - 1, n_rows)
        low = places.long().clamp(max=max(columns.shape[0] - 2, 0))
        high = (low + 1).clamp(max=columns.shape[0] - 1)
        share = (places - low)[:, None, None, None]
        warped = torch.empty_like(labels)
        # Many rows at once where they are short, one where a plane is large: what the cache holds.
        step = max(1, BLOCK_VOXELS // max(1, plane[0] * plane[1]))
        for first in range(0, n_rows, step):
            some = slice(first, min(first + step, n_rows))
            points = torch.lerp(columns[low[some]], columns[high[some]], share[some]) + across
            points[:, 0] += x[some, None, None]
            warped[some] = self._nearest(flat, points, (tuple(labels.shape), voxel_mm))
        return warped

    def _nearest(
        self,
        flat: UInt8[Tensor, " voxels"],
        points: Float[Tensor, "rows 3 y z"],
        grid: tuple[tuple[int, ...], tuple[float, float, float]],
    ) -> UInt8[Tensor, "rows y z"]:
        """Return the labels at points in millimetres from the middle."""
        matrix = self.affine.to(points)
        shape = (points.shape[0], *points.shape[2:])
        inside = torch.ones(shape, dtype=torch.bool)
        index = torch.zeros(shape, dtype=torch.int64)
        for axis, (n_voxels, size) in enumerate(zip(*grid, strict=True)):
            place = torch.full(shape, float(matrix[axis, 3]), dtype=points.dtype)
            for other in range(3):
                place.add_(points[:, other], alpha=float(matrix[axis, other]))
            voxel = place.div_(size).add_((n_voxels - 1) / 2).round_().long()
            inside &= (voxel >= 0) & (voxel < n_voxels)
            index.mul_(n_voxels).add_(voxel.clamp_(0, n_voxels - 1))
        return flat[index] * inside


def draw_warp(
    shape: tuple[int, int, int],
    voxel_mm: tuple[float, float, float],
    generator: torch.Generator,
    *,
    within: WarpRange | None = None,
    planar: bool = False,
) -> Warp:
    """Draw a change of shape.

    Args:
        shape: Voxels of the field of view.
        voxel_mm: Size of a voxel [mm].
        generator: For everything drawn.
        within: How far shapes may change; the default range if None.
        planar: Whether nothing moves along the last axis, as for a thin slab.
    """
    within = WarpRange() if within is None else within
    extent = _extent(shape, voxel_mm)
    velocity = draw_velocity(extent, generator, within=within, planar=planar)
    return Warp(
        affine=draw_affine(generator, within=within, planar=planar),
        displacement=integrated(velocity, extent),
        extent_mm=extent,
    )


def draw_affine(
    generator: torch.Generator, *, within: WarpRange, planar: bool = False
) -> Float[Tensor, "4 4"]:
    """Draw turns, changes of size and shears, each evenly within its range.

    The shears are those of an upper triangle, so that the determinant is the product of the sizes.
    """
    drawn = 2 * torch.rand(9, generator=generator, dtype=torch.float64, device=generator.device).cpu() - 1
    angles, sizes, shears = drawn[:3] * within.rotation, drawn[3:6] * within.scale, drawn[6:] * within.shear
    if planar:
        angles[:2], sizes[2], shears[1:] = 0.0, 0.0, 0.0
    matrix = torch.diag(torch.cat([1 + sizes, torch.ones(1, dtype=torch.float64)]))
    for (first, second), shear in zip(((0, 1), (0, 2), (1, 2)), shears.tolist(), strict=True):
        matrix[first, second] = shear
    for axis, angle in enumerate(angles.tolist()):
        first, second = [other for other in range(3) if other != axis]
        turn = torch.eye(4, dtype=torch.float64)
        turn[first, first] = turn[second, second] = math.cos(angle)
        turn[first, second], turn[second, first] = -math.sin(angle), math.sin(angle)
        matrix = turn @ matrix
    return matrix


def draw_velocity(
    extent_mm: tuple[float, float, float],
    generator: torch.Generator,
    *,
    within: WarpRange,
    planar: bool = False,
) -> Float[Tensor, "3 x y z"]:
    """Draw a smooth velocity on nodes a few millimetres apart, 0 at the edges [mm]."""
    axes = [axis_positions(_n_nodes(extent), extent / max(1, _n_nodes(extent) - 1)) for extent in extent_mm]
    half = (extent_mm[0] / 2, extent_mm[1] / 2, extent_mm[2] / 2)
    edges = [_taper(axis, extent) for axis, extent in zip(axes, extent_mm, strict=True)]
    if planar:
        edges[2] = torch.ones_like(edges[2])
    taper = edges[0][:, None, None] * edges[1][None, :, None] * edges[2][None, None, :]
    x, y, z = (torch.zeros(1) if planar and place == 2 else axis for place, axis in enumerate(axes))
    fields = []
    for axis in range(3):
        field = draw_field(half, within.smooth_mm, generator).on(x, y, z).cpu()
        amount = 0.0 if planar and axis == 2 else within.displacement_mm
        fields.append(amount * field.expand(taper.shape) * taper)
    velocity: Tensor = torch.stack(fields)
    return velocity


def integrated(
    velocity: Float[Tensor, "3 x y z"], extent_mm: tuple[float, float, float]
) -> Float[Tensor, "3 x y z"]:
    """Return the displacement exp(v) − id by scaling and squaring [mm]."""
    displacement: Tensor = velocity / 2**N_SQUARINGS
    for _ in range(N_SQUARINGS):
        displacement = displacement + moved(displacement, displacement, extent_mm)
    return displacement


def moved(
    values: Float[Tensor, "channels x y z"],
    displacement: Float[Tensor, "3 x y z"],
    extent_mm: tuple[float, float, float],
) -> Float[Tensor, "channels x y z"]:
    """Return what is found at p + u(p), trilinearly; beyond the edges the edge goes on."""
    axes = [torch.linspace(-1, 1, n) if n > 1 else torch.zeros(1) for n in values.shape[1:]]
    places = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    halves = torch.tensor([max(extent, 1e-6) / 2 for extent in extent_mm])
    places = places + displacement / halves[:, None, None, None]
    grid = places.flip(0).permute(1, 2, 3, 0)[None]
    result: Tensor = grid_sample(
        values[None], grid, mode="bilinear", padding_mode="border", align_corners=True
    )
    return result[0]


def _extent(shape: tuple[int, ...], voxel_mm: tuple[float, float, float]) -> tuple[float, float, float]:
    x, y, z = ((n - 1) * size for n, size in zip(shape, voxel_mm, strict=True))
    return x, y, z


def _n_nodes(extent_mm: float) -> int:
    return math.ceil(extent_mm / NODE_MM) + 1 if extent_mm > 0 else 1


def _taper(positions: Float[Tensor, " positions"], extent_mm: float) -> Float[Tensor, " positions"]:
    """Return a smooth window: 0 at both edges, 1 a few centimetres inside."""
    width = min(EDGE_MM, extent_mm / 2)
    if width <= 0:
        return torch.ones_like(positions)
    depth = ((extent_mm / 2 - positions.abs()) / width).clamp(0, 1)
    return depth**2 * (3 - 2 * depth)


def _at_least_two(plane: list[int]) -> tuple[int, int]:
    """Return a size that has corners to align."""
    return max(2, plane[0]), max(2, plane[1])
