"""How sharp an image is, beside the true one, and how wrong its fine detail.

    sharpness = mean |∇x|,    ratio = mean |∇x̂| / mean |∇x|,    HFEN = ‖LoG(x̂) − LoG(x)‖ / ‖LoG(x)‖

∇ is of central differences along all three axes, per voxel whatever its size in millimetres, where a voxel
and its six neighbours are in the mask: the rim of the brain would hold most of it. A ratio below 1 is blur,
above 1 noise or sharpening; noise and blur together can make 1, so look at HFEN beside it. LoG is the
Laplacian of a Gaussian (σ 1.5 voxels, 15 × 15 voxels) in the plane of each slice, of images that are 0
outside the mask, and ‖·‖ is over the mask. HFEN is 0 at best and 1 of an image without detail.
`metrics.susceptibility.susceptibility_scores` has an HFEN of its own: in three dimensions, in percent.

Reference: Ravishankar, Bresler, IEEE Trans Med Imaging 30:1028, 2011 (HFEN; here over that of the truth).
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unweight.core.errors import UsageError
from unweight.metrics.compared_slices import compared_slices, filtered

LOG_SD, LOG_REACH = 1.5, 7  # [voxel]


def sharpness(image: Float[Tensor, "x y z"], inside: Bool[Tensor, "x y z"]) -> float:
    """Return the mean gradient magnitude [unit of the image per voxel]; NaN without a voxel.

    Args:
        image: The image; a voxel without a finite value is outside the mask.
        inside: The mask.
    """
    surrounded = _surrounded(inside & torch.isfinite(image))
    return float(_gradient_magnitude(image.double())[surrounded].mean()) if surrounded.any() else math.nan


def sharpness_ratio(
    estimate: Float[Tensor, "x y z"], truth: Float[Tensor, "x y z"], inside: Bool[Tensor, "x y z"]
) -> float:
    """Return the sharpness of an image over that of the true one; NaN without a voxel.

    Args:
        estimate: The image; a voxel without a finite value in either image is outside the mask.
        truth: The true image.
        inside: The mask.

    Raises:
        UsageError: The truth is the same everywhere.
    """
    known = inside & torch.isfinite(estimate) & torch.isfinite(truth)
    result, true = sharpness(estimate, known), sharpness(truth, known)
    if true == 0:
        raise UsageError("the truth is the same everywhere: it has no edge that could be kept")
    return result / true


def hfen(
    estimate: Float[Tensor, "x y slices"],
    truth: Float[Tensor, "x y slices"],
    inside: Bool[Tensor, "x y slices"],
) -> float:
    """Return the high-frequency error norm; NaN without a voxel.

    Args:
        estimate: The image; a voxel without a finite value counts as 0.
        truth: The true image; what has no finite value there is outside the mask.
        inside: The mask.

    Raises:
        UsageError: The truth is 0 everywhere.
    """
    error = detail = voxels = 0.0
    for pair in compared_slices(estimate, truth, inside, 1.0):
        wrong, true = (_detail(item) for item in (pair.estimate - pair.truth, pair.truth))
        error += float((pair.weight * wrong.square()).sum())
        detail += float((pair.weight * true.square()).sum())
        voxels += float(pair.weight.sum())
    if not voxels:
        return math.nan
    if not detail:
        raise UsageError("the truth is 0 everywhere: it has no detail that could be missed")
    return math.sqrt(error / detail)


def _surrounded(known: Bool[Tensor, "x y z"]) -> Bool[Tensor, "inner_x inner_y inner_z"]:
    """Return which voxels, those at the faces of the grid left out, are known with all six neighbours."""
    core = known[1:-1, 1:-1, 1:-1]
    along_x = known[:-2, 1:-1, 1:-1] & known[2:, 1:-1, 1:-1]
    along_y = known[1:-1, :-2, 1:-1] & known[1:-1, 2:, 1:-1]
    along_z = known[1:-1, 1:-1, :-2] & known[1:-1, 1:-1, 2:]
    return core & along_x & along_y & along_z


def _gradient_magnitude(image: Float[Tensor, "x y z"]) -> Float[Tensor, "inner_x inner_y inner_z"]:
    along_x = image[2:, 1:-1, 1:-1] - image[:-2, 1:-1, 1:-1]
    along_y = image[1:-1, 2:, 1:-1] - image[1:-1, :-2, 1:-1]
    along_z = image[1:-1, 1:-1, 2:] - image[1:-1, 1:-1, :-2]
    return (along_x.square() + along_y.square() + along_z.square()).sqrt() / 2


def _detail(image: Float[Tensor, "slices x y"]) -> Float[Tensor, "slices x y"]:
    """Return the Laplacian of a Gaussian, which is a sum of two products of one-dimensional filters."""
    place = torch.arange(-LOG_REACH, LOG_REACH + 1, dtype=image.dtype, device=image.device)
    bell = torch.exp(-0.5 * (place / LOG_SD) ** 2)
    bell = bell / bell.sum()
    curvature = bell * (place**2 - LOG_SD**2) / LOG_SD**4
    return filtered(image, curvature, bell) + filtered(image, bell, curvature)
