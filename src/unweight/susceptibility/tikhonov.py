"""Tikhonov in closed form: of all susceptibilities that explain the field, a smooth one.

    min ‖d∗χ − B‖² + λ‖∇χ‖²    ⇒    χ = F⁻¹[ d̂·B̂ / (d̂² + λ|ê|²) ],    ê the gradient per mm

Linear, so its noise is known in closed form too.

Reference: Bilgic et al., Magn Reson Med 72:1444, 2014.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unweight.susceptibility.dipole import half_kernel
from unweight.susceptibility.fourier_grid import FourierGrid, padded_grid
from unweight.susceptibility.geometry import FieldGeometry
from unweight.susceptibility.gradient import laplacian_kernel
from unweight.susceptibility.inversion import check_regularisation


def tikhonov(
    field: Float[Tensor, "x y z"],
    mask: Bool[Tensor, "x y z"],
    geometry: FieldGeometry,
    weight: Float[Tensor, "x y z"] | None = None,
    *,
    regularisation: float = 2e-3,
    pad: float = 2.0,
) -> Float[Tensor, "x y z"]:
    """Return the susceptibility.

    Args:
        field: Local field [ppm].
        mask: Where it is known.
        geometry: Voxel sizes and the direction of the static field.
        weight: Not used.
        regularisation: λ [mm²].
        pad: Size of the periodic grid over that of the field.
    """
    grid = padded_grid(mask.shape, pad)
    kernel = tikhonov_kernel(grid, geometry, regularisation).to(field)
    chi = grid.convolve(field * mask.to(field), kernel)
    return torch.where(mask, chi, torch.zeros_like(chi))


def tikhonov_kernel(
    grid: FourierGrid, geometry: FieldGeometry, regularisation: float
) -> Float[Tensor, "x y half"]:
    """Return what the spectrum of the field is multiplied with.

    Raises:
        UsageError: λ is not positive.
    """
    check_regularisation(regularisation)
    dipole = half_kernel(grid.whole, geometry)
    smooth = laplacian_kernel(grid.whole, geometry.voxel_mm)
    below = dipole.square() + regularisation * smooth
    below[0, 0, 0] = 1.0
    return dipole / below
