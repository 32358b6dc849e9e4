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
from torch.nn.functional import conv2d

from unweight.core.errors import UsageError

DATA_RANGE: Mapping[str, float] = MappingProxyType({"T1": 4.5, "T2": 2.0, "PD": 1.0})  # [s, s, 1]
TISSUE_T2 = 0.3  # [s]
WINDOW, WINDOW_SD = 11, 1.5  # [voxel]
K1, K2 = 0.01, 0.03


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
    mean_x, mean_y, square_x, square_y, product = (
        _windowed(one) for one in (x, y, x.square(), y.square(), x * y)
    )
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    alike = (2 * mean_x * mean_y + c1) * (2 * (product - mean_x * mean_y) + c2)
    energy = mean_x.square() + mean_y.square()
    similarity = alike / ((energy + c1) * (square_x + square_y - energy + c2))
    return float(similarity[known.movedim(-1, 0)].mean())


def _windowed(image: Float[Tensor, "slices x y"]) -> Float[Tensor, "slices x y"]:
    """Return the mean under the window about each voxel, zeros beyond the image."""
    place = torch.arange(WINDOW, dtype=image.dtype, device=image.device) - (WINDOW - 1) / 2
    weight = torch.exp(-0.5 * (place / WINDOW_SD) ** 2)
    weight = weight / weight.sum()
    half = WINDOW // 2
    along = conv2d(image[:, None], weight[None, None, :, None], padding=(half, 0))
    return conv2d(along, weight[None, None, None, :], padding=(0, half))[:, 0]


def check_range(data_range: float) -> None:
    """Refuse a data range that is not a positive number.

    Raises:
        UsageError: It is not.
    """
    if not 0 < data_range < math.inf:
        raise UsageError(f"a data range of {data_range:g}", remedy="Give the largest value to expect.")
