"""PDF: the background is the field of dipoles outside the mask that explains most inside.

    min ‖W·(B − d ∗ x)‖² over x = 0 inside the mask;    B_local = B − d ∗ x

solved by conjugate gradients, few steps of which regularise. Keeps the whole mask.

Reference: Liu et al., NMR Biomed 24:1129, 2011.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unweight.core.errors import InputError
from unweight.susceptibility.background import LocalField
from unweight.susceptibility.dipole import half_kernel
from unweight.susceptibility.fourier_grid import padded_grid
from unweight.susceptibility.geometry import FieldGeometry
from unweight.susceptibility.solvers import conjugate_gradient


def pdf(
    field: Float[Tensor, "x y z"],
    mask: Bool[Tensor, "x y z"],
    geometry: FieldGeometry,
    weight: Float[Tensor, "x y z"] | None = None,
    *,
    n_steps: int = 60,
    pad: float = 1.5,
) -> LocalField:
    """Return the local field in the whole mask.

    Args:
        field: Total field.
        mask: Where it is known.
        geometry: Voxel sizes and the direction of the static field.
        weight: How far each voxel is trusted; None for all alike.
        n_steps: Of conjugate gradients, at most.
        pad: Size of the grid the outer dipoles lie on over that of the field.

    Raises:
        InputError: The mask is empty.
    """
    if not bool(mask.any()):
        raise InputError("the mask is empty: there is no field", remedy="Check the mask.")
    grid = padded_grid(mask.shape, pad)
    dipole = half_kernel(grid.whole, geometry).to(field)
    square = mask.to(field) if weight is None else mask.to(field) * weight
    square = square.square()
    outside = grid.embed((~mask).to(field), beyond=1.0)

    def back(values: Tensor) -> Tensor:
        return outside * grid.everywhere(grid.spectrum(values) * dipole)

    def forward(sources: Tensor) -> Tensor:
        return grid.values(torch.fft.rfftn(sources) * dipole)

    total = field - (field * square).sum() / square.sum()
    vector = conjugate_gradient(lambda v: back(square * forward(v)), back(square * total), n_steps, 1e-4)
    local = total - forward(vector)
    return LocalField(torch.where(mask, local, torch.zeros_like(local)), mask)
