"""SSIM over five scales, from single voxels to their sixteenfold: MS-SSIM.

    MS-SSIM = l_M^w_M · Π_j (cs_j)^w_j,    cs = (2·σxy + C2)/(σx² + σy² + C2)
    l = (2·μx·μy + C1)/(μx² + μy² + C1),   w = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)

Scale j is the mean over 2 × 2 voxels of scale j − 1; luminance counts at the coarsest alone. Window and
constants are those of `image_quality.ssim`. cs_j is the mean over the mask (l·cs at the coarsest), before
the power. A mean below 0, which says that the images are opposed, counts as 0.

A scale of which the shorter side of the image has fewer voxels than the window is left out, and the weights
of the others are scaled to sum to 1: an image needs 161 voxels for five scales and 81 for four. Values of
images with different numbers of scales do not compare; `n_scales` tells. At one scale it is SSIM.

Reference: Wang, Simoncelli, Bovik, Asilomar Conf Signals Syst Comput 37:1398, 2003.
"""

import math
from collections.abc import Iterator

from jaxtyping import Bool, Float
from torch import Tensor

from unweight.metrics.compared_slices import (
    K1,
    K2,
    WINDOW,
    SlicePair,
    coarsened,
    compared_slices,
    local_moments,
    structural_similarity,
    windowed,
)

SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


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
            x, y, weight = (coarsened(one, 2) for one in (pair.estimate, pair.truth, pair.weight))
            pair = SlicePair(estimate=x, truth=y, weight=weight)
