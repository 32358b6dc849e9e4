"""RTS: what the field determines is solved for, what it does not is filled in with few edges.

First, a few conjugate gradients on min ‖M(d∗χ − B)‖² give all that |d̂| > δ can tell. Then

    min ‖∇χ‖₁ + μ/2·‖w(χ̂ − χ̂₁)‖²,    w = 1 where |d̂| > δ, 0 on the cone

by the alternating direction method of multipliers.

Reference: Kames et al., NeuroImage 167:276, 2018.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unweight.susceptibility.dipole import half_kernel
from unweight.susceptibility.fourier_grid import differences, laplacian_kernel, padded_grid
from unweight.susceptibility.geometry import FieldGeometry
from unweight.susceptibility.solvers import Edges, conjugate_gradient


def rts(
    field: Float[Tensor, "x y z"],
    mask: Bool[Tensor, "x y z"],
    geometry: FieldGeometry,
    weight: Float[Tensor, "x y z"] | None = None,
    *,
    threshold: float = 0.15,
    n_solve: int = 6,
    n_steps: int = 20,
    stiffness: float = 10.0,
    pad: float = 1.3,
) -> Float[Tensor, "x y z"]:
    """Return the susceptibility.

    Args:
        field: Local field [ppm].
        mask: Where it is known.
        geometry: Voxel sizes and the direction of the static field.
        weight: How far each voxel is trusted; None for all alike.
        threshold: δ.
        n_solve: Conjugate gradients of the first step.
        n_steps: Of the second.
        stiffness: ρ of the second; edges below 1/ρ [ppm/mm] are smoothed at once.
        pad: Size of the periodic grid over that of the field.
    """
    grid = padded_grid(mask.shape, pad)
    size = geometry.voxel_mm
    dipole = half_kernel(grid.whole, geometry).to(field)
    trust = grid.embed((mask.to(field) if weight is None else mask.to(field) * weight).square())
    known = grid.embed(torch.where(mask, field, torch.zeros_like(field)))

    def by_dipole(values: Tensor) -> Tensor:
        return grid.everywhere(torch.fft.rfftn(values) * dipole)

    first = conjugate_gradient(lambda v: by_dipole(trust * by_dipole(v)), by_dipole(trust * known), n_solve)
    fidelity = (dipole.abs() > threshold).to(field) * 1e5
    below = fidelity + stiffness * laplacian_kernel(grid.whole, size).to(field)
    below[0, 0, 0] = 1.0
    data = fidelity * torch.fft.rfftn(first)
    edges = Edges(differences(first, size), size, 1 / stiffness)
    for _ in range(n_steps):
        whole = grid.everywhere((data + stiffness * edges.pull()) / below)
        edges.follow(whole)
    chi = grid.cut(whole)
    return torch.where(mask, chi, torch.zeros_like(chi))
