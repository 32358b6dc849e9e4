"""How alike two images are in their Haar wavelets: HaarPSI.

    S(a, b) = (2ab + C²)/(a² + b² + C²),    l(v) = 1/(1 + exp(−α·v))

    HaarPSI = [ l⁻¹( Σ l(½·S(a_1, b_1) + ½·S(a_2, b_2))·W / Σ W ) ]²,    W = max(a_3, b_3)

a_j and b_j are the magnitudes of the responses at scale j to the Haar wavelet of 2ʲ × 2ʲ voxels, in the
plane of each slice and along either of its axes; the sums are over both axes and the mask. The two fine
scales are compared, and the third tells where there is something to look at. Before that each image is the
mean over 2 × 2 voxels of which every second is kept. C = 30 for a range of 0 to 255 and α = 4.2 are those
that agree with viewers of photographs. The rim of the brain against the 0 outside the mask is an edge that
both images have.

Reference: Reisenhofer, Bosse, Kutyniok, Wiegand, Signal Process Image Commun 61:33, 2018.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

from unweight.metrics.compared_slices import alike, coarsened, compared_slices

STABILISER = (30 / 255) ** 2
ALPHA = 4.2
COMPARED, WEIGHING = (1, 2), 3  # scales


def haarpsi(
    estimate: Float[Tensor, "x y slices"],
    truth: Float[Tensor, "x y slices"],
    inside: Bool[Tensor, "x y slices"],
    data_range: float,
) -> float:
    """Return the Haar wavelet similarity, 0 to 1; NaN without a voxel or if both images are 0 all over.

    Args:
        estimate: The image; a voxel without a finite value counts as 0.
        truth: The true image; what has no finite value there is outside the mask.
        inside: The mask.
        data_range: The largest value to expect, in the unit of the images.
    """
    similarity = importance = 0.0
    for pair in compared_slices(estimate, truth, inside, data_range):
        x, y, share = (coarsened(item, 2) for item in (pair.estimate, pair.truth, pair.weight))
        weight = share * torch.maximum(_response(x, WEIGHING), _response(y, WEIGHING))
        local = torch.stack([alike(_response(x, j), _response(y, j), STABILISER) for j in COMPARED])
        similarity += float((weight * torch.sigmoid(ALPHA * local.mean(dim=0))).sum())
        importance += float(weight.sum())
    if not importance:
        return math.nan
    mean = similarity / importance
    return (math.log(mean / (1 - mean)) / ALPHA) ** 2


def _response(image: Float[Tensor, "slices x y"], scale: int) -> Float[Tensor, "2 slices x y"]:
    """Return |2⁻ʲ·(sum over one half of the window − sum over the other)|, along x and along y."""
    half = 2 ** (scale - 1)
    wide = pad(image, (half, half - 1, half, half - 1))[:, None]
    # The mean over half a window holds 2·half² voxels, and 2⁻ʲ is 1/(2·half).
    across_x = avg_pool2d(wide, (half, 2 * half), stride=1)[:, 0]
    across_y = avg_pool2d(wide, (2 * half, half), stride=1)[:, 0]
    along_x = across_x[:, :-half] - across_x[:, half:]
    along_y = across_y[..., :-half] - across_y[..., half:]
    response: Tensor = half * torch.stack([along_x, along_y]).abs()
    return response
