"""Smooth random fields in space: cubic B-splines over a lattice of numbers.

    f(x, y, z) = Σ_ijk a_ijk β(x/h − i) β(y/h − j) β(z/h − k),    β the cubic B-spline

They are evaluated along the axes of a grid, one axis after the other. The field is a function of
position, so a slab of a head is the same slab whichever field of view it is computed in.
"""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from unweight.core.errors import UsageError

# Mean over positions of Σ β² along one axis (151/315): white numbers of unit variance give its cube.
VARIANCE = 151 / 315
FLAT = 0.4


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class SmoothField:
    """A field given by its spline coefficients.

    Attributes:
        coefficients: On the lattice.
        start_mm: Where the first node of the lattice lies along each axis [mm].
        spacing_mm: Distance between nodes [mm].
    """

    coefficients: Float[Tensor, "x y z"]
    start_mm: tuple[float, float, float]
    spacing_mm: float

    def on(
        self, x: Float[Tensor, " nx"], y: Float[Tensor, " ny"], z: Float[Tensor, " nz"]
    ) -> Float[Tensor, "nx ny nz"]:
        """Return the field on the grid these positions span [mm]."""
        return self._spread((x, y, z), None)

    def from_zero(
        self, x: Float[Tensor, " nx"], y: Float[Tensor, " ny"], z: Float[Tensor, " nz"]
    ) -> Float[Tensor, "nx ny nz"]:
        """Return about how far the surface is on which the field is 0: |f| / |∇f|, softened [mm]."""
        steepness = torch.full((len(x), len(y), len(z)), (FLAT / self.spacing_mm) ** 2)
        for axis in range(3):
            steepness += self._spread((x, y, z), axis) ** 2
        return self._spread((x, y, z), None).abs() / steepness.sqrt()

    def _spread(self, grid: tuple[Tensor, ...], along: int | None) -> Float[Tensor, "nx ny nz"]:
        """Return the field, or its slope along one axis."""
        values = self.coefficients
        for axis, positions in enumerate(grid):
            weights = self._weights(positions, axis, axis == along)
            values = torch.tensordot(values, weights, dims=([0], [1]))
        return values

    def _weights(
        self, positions: Float[Tensor, " positions"], axis: int, slope: bool
    ) -> Float[Tensor, "positions nodes"]:
        """Return the weight of each node; beyond the lattice its last numbers go on."""
        n_nodes = self.coefficients.shape[axis]
        scaled = (positions.double() - self.start_mm[axis]) / self.spacing_mm
        first = scaled.floor()
        t = scaled - first
        pieces: tuple[Tensor, ...] = (
            (1 - t) ** 3 / 6,
            (3 * t**3 - 6 * t**2 + 4) / 6,
            (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6,
            t**3 / 6,
        )
        if slope:
            pieces = (-((1 - t) ** 2) / 2, (3 * t**2 - 4 * t) / 2, (-3 * t**2 + 2 * t + 1) / 2, t**2 / 2)
            pieces = tuple(piece / self.spacing_mm for piece in pieces)
        weights = torch.zeros(len(positions), n_nodes, dtype=torch.float64)
        for step, piece in enumerate(pieces):
            node = (first.long() + step - 1).clamp(0, n_nodes - 1)
            weights.scatter_add_(1, node[:, None], piece[:, None])
        return weights.to(self.coefficients)


def draw_field(
    half_extent_mm: tuple[float, float, float], spacing_mm: float, generator: torch.Generator
) -> SmoothField:
    """Draw a field of mean 0 and variance 1 within a box around the origin.

    Args:
        half_extent_mm: From the middle of the box to its faces [mm].
        spacing_mm: Distance between the nodes, about half the shortest wavelength [mm].
        generator: For the coefficients.

    Raises:
        UsageError: The spacing is not positive.
    """
    if not spacing_mm > 0:
        raise UsageError(f"a lattice with a spacing of {spacing_mm} mm")
    n_half = [int(extent // spacing_mm) + 2 for extent in half_extent_mm]
    shape = [2 * n + 1 for n in n_half]
    coefficients = torch.randn(shape, generator=generator, device=generator.device) / VARIANCE**1.5
    x, y, z = (-n * spacing_mm for n in n_half)
    return SmoothField(coefficients=coefficients, start_mm=(x, y, z), spacing_mm=spacing_mm)


def axis_positions(n_voxels: int, voxel_mm: float, centre_mm: float = 0.0) -> Float[Tensor, " voxels"]:
    """Return where the voxels of an axis lie, its middle at `centre_mm` [mm]."""
    steps = torch.arange(n_voxels, dtype=torch.float64) - (n_voxels - 1) / 2
    return (steps * voxel_mm + centre_mm).float()
