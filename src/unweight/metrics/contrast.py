"""Detail kept: how much of the contrast of a small structure a map still shows.

    recovered = (mean x̂ inside − mean x̂ around) / (mean x inside − mean x around)

1 is all of it, 0 none, negative inverted; smoothing and partial volume pull it down, ringing and
sharpening above 1. It is the contrast recovery coefficient of nuclear imaging (NEMA NU 2) for two
regions that both have a value; on the free scale x is ln T1.
"""

import math
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unweight.core.errors import UsageError

LEAST_CONTRAST = 1e-9


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
    found, true = (float(x[regions[0]].mean() - x[regions[1]].mean()) for x in (estimate, truth))
    # Means of equal values differ by rounding only, and would give any ratio.
    if abs(true) < LEAST_CONTRAST:
        raise UsageError("structure and surround have the same truth: there is no contrast to recover")
    return found / true
