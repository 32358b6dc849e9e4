"""TKD: division by the dipole kernel, which is cut off near its zeros, and the loss made good.

    χ = F⁻¹[ B̂ / t(d̂) ] / c,    t(d̂) = d̂ where |d̂| > δ, ±δ elsewhere,    c = mean of d̂/t(d̂) over k

c is the centre of the point-spread function: without it every contrast comes out too small.

References: Shmueli et al., Magn Reson Med 62:1510, 2009; Schweser et al., Magn Reson Med 69:1582, 2013
(correction).
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unweight.core.errors import UsageError
from unweight.susceptibility.dipole import half_kernel
from unweight.susceptibility.fourier_grid import padded_grid
from unweight.susceptibility.geometry import FieldGeometry
from unweight.susceptibility.half_mean import half_mean


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
    centre = half_mean(dipole * inverse, grid.whole[2])
    chi = grid.convolve(field * mask.to(field), inverse) / centre
    return torch.where(mask, chi, torch.zeros_like(chi))
