"""How alike two maps are as images: PSNR and SSIM, with settings that are fixed here once and for all.

    PSNR = 10·log10(L²/MSE)

    SSIM = (2·μx·μy + C1)·(2·σxy + C2) / [(μx² + μy² + C1)·(σx² + σy² + C2)],   C1 = (K1·L)²,  C2 = (K2·L)²

L is the data range: about the value of CSF, the largest of a healthy brain. Both are of the brain with its
CSF, values as they are: neither is clipped at L. MSE is the mean over all voxels of an examination, so
that every voxel counts the same, whichever slice it lies in. The means, variances and covariance of SSIM
are those under a Gaussian window of 11 × 11 voxels (σ 1.5) in the plane of each slice, both maps being 0
outside the mask and beyond the image; SSIM is then averaged over the mask. A voxel without an estimate is
left out of MSE, so look at the share of such voxels beside it; for SSIM it is a hole, 0 in the estimate
alone: in both maps holes would be likeness.

CSF holds most of the squared error of T2. `TISSUE_T2` is the range of a PSNR over what has a T2 up to it.

Reference: Wang, Bovik, Sheikh, Simoncelli, IEEE Trans Image Process 13:600, 2004 (window, K1 and K2).
"""

import math
from collections.abc import Mapping
from types import MappingProxyType

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unweight.metrics.compared_slices import (
    K1,
    K2,
    check_range,
    local_moments,
    structural_similarity,
    windowed,
)

DATA_RANGE: Mapping[str, float] = MappingProxyType({"T1": 4.5, "T2": 2.0, "PD": 1.0})  # [s, s, 1]
TISSUE_T2 = 0.3  # [s]


def psnr(
    estimate: Float[Tensor, "*voxels"],
    truth: Float[Tensor, "*voxels"],
    inside: Bool[Tensor, "*voxels"],
    data_range: float,
) -> float:
    """Return the peak signal-to-noise ratio [dB]: infinite without error, NaN without a voxel.

    Args:
        estimate: The map; voxels without a finite value are left out.
        truth: The true map; likewise.
        inside: The voxels to compare.
        data_range: L, in the unit of the map.
    """
    check_range(data_range)
    valued = inside & torch.isfinite(estimate) & torch.isfinite(truth)
    if not bool(valued.any()):
        return math.nan
    error = float((estimate[valued].double() - truth[valued].double()).square().mean())
    return 10 * math.log10(data_range**2 / error) if error > 0 else math.inf


def ssim(
    estimate: Float[Tensor, "x y slices"],
    truth: Float[Tensor, "x y slices"],
    inside: Bool[Tensor, "x y slices"],
    data_range: float,
) -> float:
    """Return the mean structural similarity over the mask; NaN without a voxel.

    Args:
        estimate: The map; a voxel without a finite value counts as 0.
        truth: The true map; what has no finite value there is outside the mask.
        inside: The mask.
        data_range: L, in the unit of the map.
    """
    check_range(data_range)
    known = inside & torch.isfinite(truth)
    if not bool(known.any()):
        return math.nan
    x = torch.where(known & torch.isfinite(estimate), estimate.double(), 0.0).movedim(-1, 0)
    y = torch.where(known, truth.double(), 0.0).movedim(-1, 0)
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    similarity = structural_similarity(local_moments(x, y, windowed), c1, c2)
    return float(similarity[known.movedim(-1, 0)].mean())
