"""How alike the edges of two images are, and how evenly: gradient magnitude similarity deviation.

    GMS = (2·Gx·Gy + c) / (Gx² + Gy² + c),    GMSD = standard deviation of GMS over the mask

0 is alike everywhere; the more, the worse. An error of the same likeness all over has no deviation: look at
PSNR beside it. G is the magnitude of the Prewitt gradient after a mean over 2 × 2 voxels of which every
second is kept, and c is 170 for a range of 0 to 255.

Reference: Xue, Zhang, Mou, Bovik, IEEE Trans Image Process 23:684, 2014.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unweight.metrics.compared_slices import alike, coarsened, compared_slices, gradient_magnitude

PREWITT = (1 / 3, 1 / 3, 1 / 3)
STABILISER = 170 / 255**2


def gmsd(
    estimate: Float[Tensor, "x y slices"],
    truth: Float[Tensor, "x y slices"],
    inside: Bool[Tensor, "x y slices"],
    data_range: float,
) -> float:
    """Return the gradient magnitude similarity deviation: 0 of the same image, NaN without a voxel.

    Args:
        estimate: The image; a voxel without a finite value counts as 0.
        truth: The true image; what has no finite value there is outside the mask.
        inside: The mask.
        data_range: The largest value to expect, in the unit of the images.
    """
    similarity, share = [], []
    for pair in compared_slices(estimate, truth, inside, data_range):
        x, y = (gradient_magnitude(coarsened(item, 2), PREWITT) for item in (pair.estimate, pair.truth))
        weight = coarsened(pair.weight, 2)
        similarity.append(alike(x, y, STABILISER)[weight > 0])
        share.append(weight[weight > 0])
    if not share:
        return math.nan
    values, weights = torch.cat(similarity), torch.cat(share)
    mean = (weights * values).sum() / weights.sum()
    return float(((weights * (values - mean).square()).sum() / weights.sum()).sqrt())
