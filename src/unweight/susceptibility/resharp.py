"""RESHARP: the smallest local field that explains what the spheres leave.

    min ‖M·(δ − ρ)∗(B − x)‖² + λ‖x‖²,    M the mask eroded by the sphere

solved by conjugate gradients. The background falls out because it is harmonic; λ keeps what the spheres
cannot see, fields harmonic inside the mask, from growing.

Reference: Sun, Wilman, Magn Reson Med 71:1151, 2014.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unweight.core.errors import InputError
from unweight.susceptibility.background import LocalField
from unweight.susceptibility.fourier_grid import eroded_by, grid_around, sphere_kernel
from unweight.susceptibility.geometry import FieldGeometry
from unweight.susceptibility.solvers import conjugate_gradient


def resharp(
    field: Float[Tensor, "x y z"],
    mask: Bool[Tensor, "x y z"],
    geometry: FieldGeometry,
    weight: Float[Tensor, "x y z"] | None = None,
    *,
    radius_mm: float = 6.0,
    regularisation: float = 1e-4,
    n_steps: int = 40,
) -> LocalField:
    """Return the local field where the sphere fits.

    Args:
        field: Total field.
        mask: Where it is known.
        geometry: Voxel sizes and the direction of the static field.
        weight: Not used.
        radius_mm: Of the sphere, by which the mask is eroded [mm].
        regularisation: λ.
        n_steps: Of conjugate gradients, at most.

    Raises:
        InputError: The sphere does not fit into the mask.
    """
    radius = max(radius_mm, *geometry.voxel_mm)
    grid = grid_around(mask.shape, [2 * math.ceil(radius / size) + 2 for size in geometry.voxel_mm])
    kernel = sphere_kernel(grid, geometry.voxel_mm, radius).to(field)
    fits = eroded_by(mask, kernel, grid)
    if not bool(fits.any()):
        raise InputError(
            f"no sphere of {radius:g} mm fits into the mask: no background field can be determined there",
            remedy="Check the mask, or use V-SHARP.",
        )
    high, inside = 1 - kernel, fits.to(field)

    def normal(values: Tensor) -> Tensor:
        known = inside * grid.convolve(values, high)
        return grid.convolve(known, high) + regularisation * values

    target = grid.convolve(inside * grid.convolve(field * mask.to(field), high), high)
    local = conjugate_gradient(normal, target, n_steps)
    return LocalField(torch.where(fits, local, torch.zeros_like(local)), fits)
