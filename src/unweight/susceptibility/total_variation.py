"""Total variation: of all susceptibilities that explain the field, one with few edges.

    min ½‖W(d∗χ − B)‖² + λ‖∇χ‖₁

by the alternating direction method of multipliers. Without weights the field is explained everywhere alike
and each step is one division in k-space (`total_variation`). With weights, W the trust in each voxel and 0
outside the mask, the field d∗χ is split off as well (`weighted_total_variation`): voxels whose phase says
little, in a calcification or a vein, then do not spoil the rest.

References: Bilgic et al., Magn Reson Med 72:1444, 2014; Milovic et al., Magn Reson Med 80:814, 2018.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unweight.susceptibility.dipole import half_kernel
from unweight.susceptibility.fourier_grid import laplacian_kernel, padded_grid
from unweight.susceptibility.geometry import FieldGeometry
from unweight.susceptibility.inversion import check_regularisation
from unweight.susceptibility.solvers import Edges

STIFFNESS = 100.0  # ρ over λ: edges below 1/ρ·λ = 0.01 ppm/mm are noise in the first step


def total_variation(
    field: Float[Tensor, "x y z"],
    mask: Bool[Tensor, "x y z"],
    geometry: FieldGeometry,
    weight: Float[Tensor, "x y z"] | None = None,
    *,
    regularisation: float = 1e-4,
    n_steps: int = 50,
    pad: float = 1.3,
) -> Float[Tensor, "x y z"]:
    """Return the susceptibility.

    Args:
        field: Local field [ppm].
        mask: Where it is known.
        geometry: Voxel sizes and the direction of the static field.
        weight: Not used.
        regularisation: λ [ppm·mm].
        n_steps: Of the method.
        pad: Size of the periodic grid over that of the field.

    Raises:
        UsageError: λ is not positive.
    """
    check_regularisation(regularisation)
    grid = padded_grid(mask.shape, pad)
    size = geometry.voxel_mm
    dipole = half_kernel(grid.whole, geometry).to(field)
    rho = STIFFNESS * regularisation
    below = dipole.square() + rho * laplacian_kernel(grid.whole, size).to(field)
    below[0, 0, 0] = 1.0
    data = grid.spectrum(field * mask.to(field)) * dipole
    edges = Edges(field.new_zeros(3, *grid.whole), size, regularisation / rho)
    for _ in range(n_steps):
        whole = grid.everywhere((data + rho * edges.pull()) / below)
        edges.follow(whole)
    chi = grid.cut(whole)
    return torch.where(mask, chi, torch.zeros_like(chi))


def weighted_total_variation(
    field: Float[Tensor, "x y z"],
    mask: Bool[Tensor, "x y z"],
    geometry: FieldGeometry,
    weight: Float[Tensor, "x y z"] | None = None,
    *,
    regularisation: float = 1e-4,
    n_steps: int = 60,
    pad: float = 1.3,
) -> Float[Tensor, "x y z"]:
    """Return the susceptibility.

    Args:
        field: Local field [ppm].
        mask: Where it is known.
        geometry: Voxel sizes and the direction of the static field.
        weight: W, 0 to 1; None for 1 in the mask.
        regularisation: λ [ppm·mm].
        n_steps: Of the method.
        pad: Size of the periodic grid over that of the field.

    Raises:
        UsageError: λ is not positive.
    """
    check_regularisation(regularisation)
    grid = padded_grid(mask.shape, pad)
    size = geometry.voxel_mm
    dipole = half_kernel(grid.whole, geometry).to(field)
    rho = STIFFNESS * regularisation
    below = dipole.square() + rho * laplacian_kernel(grid.whole, size).to(field)
    below[0, 0, 0] = 1.0
    inside = mask.to(field)
    trust = grid.embed((inside if weight is None else inside * weight).square())
    known = grid.embed(field * inside)
    edges = Edges(field.new_zeros(3, *grid.whole), size, regularisation / rho)
    result, owed = torch.zeros_like(known), torch.zeros_like(known)
    for _ in range(n_steps):
        spectrum = (dipole * torch.fft.rfftn(result - owed) + rho * edges.pull()) / below
        whole = grid.everywhere(spectrum)
        edges.follow(whole)
        predicted = grid.everywhere(dipole * spectrum) + owed
        result = (trust * known + predicted) / (trust + 1)
        owed = predicted - result
    chi = grid.cut(whole)
    return torch.where(mask, chi, torch.zeros_like(chi))
