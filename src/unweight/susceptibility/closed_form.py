"""Inversions in closed form: TKD and Tikhonov, and the noise that linear inversions propagate.

TKD: division by the dipole kernel, which is cut off near its zeros, and the loss made good.

    χ = F⁻¹[ B̂ / t(d̂) ] / c,    t(d̂) = d̂ where |d̂| > δ, ±δ elsewhere,    c = mean of d̂/t(d̂) over k

c is the centre of the point-spread function: without it every contrast comes out too small.

References: Shmueli et al., Magn Reson Med 62:1510, 2009; Schweser et al., Magn Reson Med 69:1582, 2013
(correction).

Tikhonov in closed form: of all susceptibilities that explain the field, a smooth one.

    min ‖d∗χ − B‖² + λ‖∇χ‖²    ⇒    χ = F⁻¹[ d̂·B̂ / (d̂² + λ|ê|²) ],    ê the gradient per mm

Linear, so its noise is known in closed form too.

Reference: Bilgic et al., Magn Reson Med 72:1444, 2014.

How noise of the field becomes noise of the susceptibility, for an inversion linear in k-space.

χ = h ∗ B    ⇒    var χ = (h²) ∗ var B,    noise independent from voxel to voxel
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unweight.core.errors import UsageError
from unweight.susceptibility.dipole import half_kernel
from unweight.susceptibility.fourier_grid import FourierGrid, laplacian_kernel, padded_grid, rfft_mean
from unweight.susceptibility.geometry import FieldGeometry
from unweight.susceptibility.inversion import check_regularisation


def tkd(
    field: Float[Tensor, "x y z"],
    mask: Bool[Tensor, "x y z"],
    geometry: FieldGeometry,
    weight: Float[Tensor, "x y z"] | None = None,
    *,
    threshold: float = 0.15,
    pad: float = 2.0,
) -> Float[Tensor, "x y z"]:
    """Return the susceptibility.

    Args:
        field: Local field [ppm].
        mask: Where it is known.
        geometry: Voxel sizes and the direction of the static field.
        weight: Not used.
        threshold: δ, up to 2/3.
        pad: Size of the periodic grid over that of the field.

    Raises:
        UsageError: The threshold cannot be.
    """
    if not 0 < threshold < 2 / 3:
        raise UsageError(f"a threshold of {threshold:g}", remedy="Give one between 0 and 2/3.")
    grid = padded_grid(mask.shape, pad)
    dipole = half_kernel(grid.whole, geometry).to(field)
    sign = torch.where(dipole < 0, -torch.ones_like(dipole), torch.ones_like(dipole))
    inverse = 1 / torch.where(dipole.abs() > threshold, dipole, sign * threshold)
    centre = rfft_mean(dipole * inverse, grid.whole[2])
    chi = grid.convolve(field * mask.to(field), inverse) / centre
    return torch.where(mask, chi, torch.zeros_like(chi))


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


def noise_of_susceptibility(
    variance: Float[Tensor, "x y z"],
    mask: Bool[Tensor, "x y z"],
    geometry: FieldGeometry,
    *,
    regularisation: float = 2e-3,
    pad: float = 1.5,
) -> Float[Tensor, "x y z"]:
    """Return the standard deviation that noise alone gives the closed-form inversion [ppm].

    Args:
        variance: Of the local field in each voxel [ppm²].
        mask: Where it is known.
        geometry: Voxel sizes and the direction of the static field.
        regularisation: Of the closed-form inversion [mm²]: the stronger, the less noise.
        pad: Size of the periodic grid over that of the field.
    """
    grid = padded_grid(mask.shape, pad)
    kernel = tikhonov_kernel(grid, geometry, regularisation).to(variance)
    spread: Tensor = torch.fft.rfftn(grid.everywhere(kernel.to(torch.complex64)).square())
    inside = torch.where(mask, variance, torch.zeros_like(variance))
    squared = grid.values(grid.spectrum(inside) * spread).clamp(min=0)
    return torch.where(mask, squared.sqrt(), torch.zeros_like(squared))
