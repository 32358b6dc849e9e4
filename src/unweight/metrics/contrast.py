"""Detail kept: how much of the contrast of a small structure a map still shows.

    recovered = (mean x̂ inside − mean x̂ around) / (mean x inside − mean x around)

1 is all of it, 0 none, negative inverted; smoothing and partial volume pull it down, ringing and
sharpening above 1. It is the contrast recovery coefficient of nuclear imaging (NEMA NU 2) for two
regions that both have a value; on the free scale x is ln T1.

How well two tissues can be told apart in one image: their contrast-to-noise ratio.

    CNR = |mean1 − mean2| / √((var1 + var2)/2)

White against grey matter tells whether a synthetic T1-weighted image has the contrast of a true one;
putamen against pallidum the same where contrast is small and hard to predict. The variance is that of the
voxels of a tissue: noise, and what the tissue varies by itself, with partial volume and the bias field. So
an image that is too smooth has a CNR above that of the true image: the nearer to that one, the better.
For two distributions with one variance it is Cohen's d. How much of a true contrast is left, whatever the
noise, is `recovered_contrast`.

Reference: Magnotta, Friedman et al., J Digit Imaging 19:140, 2006 (CNR of grey and white matter,
with the noise of the background).
"""

import math
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unweight.core.errors import UsageError

LEAST_CONTRAST = 1e-9
FEWEST = 2  # voxels of a tissue


@final
@dataclass(frozen=True, kw_only=True)
class RecoveredContrast:
    """Share of the true contrast that is left.

    Attributes:
        free: On the free scale, ln T1; NaN if a region has no voxel with a value.
        linear: On the linear scale.
        n_inside: Voxels of the structure with estimate and truth.
        n_around: Voxels of the surround with both.
    """

    free: float
    linear: float
    n_inside: int
    n_around: int


def recovered_contrast(
    estimate: Float[Tensor, "*voxels"],
    truth: Float[Tensor, "*voxels"],
    inside: Bool[Tensor, "*voxels"],
    around: Bool[Tensor, "*voxels"],
    *,
    positive: bool = True,
) -> RecoveredContrast:
    """Return how much of the contrast of a structure against its surround is left.

    Args:
        estimate: The map; voxels without a finite value are left out, and those not positive if it has
            to be.
        truth: The true map.
        inside: The structure.
        around: What it is compared with; the two must not overlap.
        positive: Whether the free scale is ln; else it is the linear one.

    Raises:
        UsageError: The regions overlap, or the truth has no contrast between them.
    """
    if bool((inside & around).any()):
        raise UsageError(f"{int((inside & around).sum())} voxels are both in the structure and around it")
    valued = torch.isfinite(estimate) & torch.isfinite(truth)
    if positive:
        valued &= (estimate > 0) & (truth > 0)
    n_inside, n_around = int((valued & inside).sum()), int((valued & around).sum())
    free = linear = math.nan
    if n_inside and n_around:
        regions = (valued & inside, valued & around)
        linear = _share(estimate.double(), truth.double(), regions)
        free = _share(estimate.double().log(), truth.double().log(), regions) if positive else linear
    return RecoveredContrast(free=free, linear=linear, n_inside=n_inside, n_around=n_around)


def _share(
    estimate: Float[Tensor, "*voxels"],
    truth: Float[Tensor, "*voxels"],
    regions: tuple[Bool[Tensor, "*voxels"], Bool[Tensor, "*voxels"]],
) -> float:
    result, true = (float(x[regions[0]].mean() - x[regions[1]].mean()) for x in (estimate, truth))
    # Means of equal values differ by rounding only, and would give any ratio.
    if abs(true) < LEAST_CONTRAST:
        raise UsageError("structure and surround have the same truth: there is no contrast to recover")
    return result / true


def contrast_to_noise(
    image: Float[Tensor, "*voxels"], first: Bool[Tensor, "*voxels"], second: Bool[Tensor, "*voxels"]
) -> float:
    """Return the contrast-to-noise ratio; NaN if a tissue has fewer than two voxels.

    Infinite if the tissues differ and neither varies, NaN if they are one constant.

    Args:
        image: The image; voxels without a finite value are left out.
        first: One tissue.
        second: The other; the two must not overlap.

    Raises:
        UsageError: The tissues overlap.
    """
    if bool((first & second).any()):
        raise UsageError(f"{int((first & second).sum())} voxels are in both tissues")
    valued = torch.isfinite(image)
    item, other = (image[valued & tissue].double() for tissue in (first, second))
    if min(len(item), len(other)) < FEWEST:
        return math.nan
    contrast = float((item.mean() - other.mean()).abs())
    noise = float(((item.var() + other.var()) / 2).sqrt())
    if noise == 0:
        return math.inf if contrast > 0 else math.nan
    return contrast / noise
