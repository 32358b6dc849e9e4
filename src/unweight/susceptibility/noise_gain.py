"""How noise of the field becomes noise of the susceptibility, for an inversion linear in k-space.

χ = h ∗ B    ⇒    var χ = (h²) ∗ var B,    noise independent from voxel to voxel
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unweight.susceptibility.fourier_grid import padded_grid
from unweight.susceptibility.geometry import FieldGeometry
from unweight.susceptibility.tikhonov import tikhonov_kernel


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
