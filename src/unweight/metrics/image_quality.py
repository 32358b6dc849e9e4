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

SSIM over five scales, from single voxels to their sixteenfold: MS-SSIM.

    MS-SSIM = l_M^w_M · Π_j (cs_j)^w_j,    cs = (2·σxy + C2)/(σx² + σy² + C2)
    l = (2·μx·μy + C1)/(μx² + μy² + C1),   w = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)

Scale j is the mean over 2 × 2 voxels of scale j − 1; luminance counts at the coarsest alone. Window and
constants are those of SSIM. cs_j is the mean over the mask (l·cs at the coarsest), before
the power. A mean below 0, which says that the images are opposed, counts as 0.

A scale of which the shorter side of the image has fewer voxels than the window is left out, and the weights
of the others are scaled to sum to 1: an image needs 161 voxels for five scales and 81 for four. Values of
images with different numbers of scales do not compare; `n_scales` tells. At one scale it is SSIM.

Reference: Wang, Simoncelli, Bovik, Asilomar Conf Signals Syst Comput 37:1398, 2003.
"""

import math
from collections.abc import Iterator, Mapping
from types import MappingProxyType

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unweight.metrics.compared_slices import (
    K1,
    K2,
    WINDOW,
    SlicePair,
    check_range,
    coarsened,
    compared_slices,
    local_moments,
    structural_similarity,
    windowed,
)

DATA_RANGE: Mapping[str, float] = MappingProxyType({"T1": 4.5, "T2": 2.0, "PD": 1.0})  # [s, s, 1]
TISSUE_T2 = 0.3  # [s]
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


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


def ms_ssim(
    estimate: Float[Tensor, "x y slices"],
    truth: Float[Tensor, "x y slices"],
    inside: Bool[Tensor, "x y slices"],
    data_range: float,
) -> float:
    """Return the structural similarity over the scales the image has: 1 at best, NaN without a voxel.

    Args:
        estimate: The image; a voxel without a finite value counts as 0.
        truth: The true image; what has no finite value there is outside the mask.
        inside: The mask.
        data_range: The largest value to expect, in the unit of the images.
    """
    weights = SCALE_WEIGHTS[: n_scales(estimate.shape[0], estimate.shape[1])]
    similarity, voxels = [0.0] * len(weights), [0.0] * len(weights)
    for pair in compared_slices(estimate, truth, inside, data_range):
        for scale, level in enumerate(_scales(pair, len(weights))):
            moments = local_moments(level.estimate, level.truth, windowed)
            local = structural_similarity(moments, K1**2, K2**2, luminance=scale == len(weights) - 1)
            similarity[scale] += float((level.weight * local).sum())
            voxels[scale] += float(level.weight.sum())
    if not voxels[0]:
        return math.nan
    means = (max(total / n, 0.0) for total, n in zip(similarity, voxels, strict=True))
    powers = (weight / sum(weights) for weight in weights)
    return math.prod(math.pow(mean, power) for mean, power in zip(means, powers, strict=True))


def n_scales(n_x: int, n_y: int) -> int:
    """Return how many of the five scales an image of this size has; at least one."""
    coarser = range(1, len(SCALE_WEIGHTS))
    return 1 + sum(math.ceil(min(n_x, n_y) / (1 << scale)) >= WINDOW for scale in coarser)


def _scales(pair: SlicePair, count: int) -> Iterator[SlicePair]:
    for scale in range(count):
        yield pair
        if scale < count - 1:
            x, y, weight = (coarsened(item, 2) for item in (pair.estimate, pair.truth, pair.weight))
            pair = SlicePair(estimate=x, truth=y, weight=weight)
