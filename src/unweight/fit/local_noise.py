"""How much larger or smaller than the scan's noise the errors around a voxel are, from its residuals.

One sigma for a scan is the right scale for thermal noise that is the same everywhere. On a scanner it is
not: ringing, ghosts, filters, and receivers whose noise differs in space leave residuals that differ by
factors from one region to the next. The reduced chi-square of neighbours says by how much,

    scale² = (Σ_j min(χ²_j, cap) + n0) / (n + n0)

over the n voxels with a value in a square of the slice. A window of some tens of voxels is needed, for one
voxel has a few degrees of freedom only; n0 voxels at the noise of the scan keep a voxel without neighbours
at that.
"""

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from unweight.core.maps import ParameterMaps, failed_voxels

CAP = 25.0  # a vessel or an edge among the neighbours is not noise
N_PRIOR = 8.0  # voxels at the noise of the scan


def local_noise_scale(maps: ParameterMaps, window: int) -> Float[Tensor, "*voxels"]:
    """Return the noise of each voxel of a fit over that of the scan, from its neighbours' misfit."""
    like = maps.values[..., 0]
    if maps.misfit is None:
        return torch.ones_like(like)
    misfit = maps.misfit.nan_to_num()
    return local_variance_scale(misfit, ~maps.failed, window).sqrt().to(like)


def variance_scale_inside(
    inside: Bool[Tensor, "*grid"],
    misfit: Float[Tensor, " inside"],
    status: UInt8[Tensor, " inside"],
    window: int,
) -> Float[Tensor, " inside"]:
    """Return `local_variance_scale` of the voxels inside a mask, from their misfit and status."""
    grid = torch.zeros(inside.shape, dtype=misfit.dtype, device=misfit.device)
    valued = torch.zeros_like(inside).index_put((inside,), ~failed_voxels(status))
    return local_variance_scale(grid.index_put((inside,), misfit), valued, window)[inside]


def local_variance_scale(
    misfit: Float[Tensor, "*grid"], valued: Bool[Tensor, "*grid"], window: int
) -> Float[Tensor, "*grid"]:
    """Return the factor by which error variances differ from those at the noise of the scan.

    Args:
        misfit: Reduced chi-square at the noise of the scan.
        valued: Voxels with a value.
        window: Side of the square in the slice [voxels]; voxels in a list have no neighbours, and get 1.
    """
    if misfit.ndim < 2 or window < 1:
        return torch.ones_like(misfit)
    chi = torch.where(valued, misfit.clamp(max=CAP), torch.zeros_like(misfit)).nan_to_num()
    total, count = _summed(chi, window), _summed(valued.to(misfit), window)
    return (total + N_PRIOR) / (count + N_PRIOR)


def _summed(values: Float[Tensor, "*grid"], window: int) -> Float[Tensor, "*grid"]:
    """Return the sum over a square about each voxel of the first two axes."""
    nx, ny = values.shape[:2]
    slices = values.reshape(nx, ny, -1).permute(2, 0, 1)[:, None]
    mean = F.avg_pool2d(slices, window, stride=1, padding=window // 2, count_include_pad=True)
    return (mean * window**2)[:, 0].permute(1, 2, 0).reshape(values.shape)
