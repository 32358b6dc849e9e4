"""Which voxels' phase is believed, how much, and how noisy the field is there.

The residual of the phase about its line in echo time says whether it was unwrapped rightly and whether one
frequency explains it. Of noise alone it is small, σ/m, so a limit on it leaves tissue and takes what lies
in veins, calcifications and beside the sinuses. What is excluded inside the brain is given the smooth of
its surroundings, so that spheres and convolutions do not see a hole, and no trust.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unweight.core.chi_square import chi_square_median
from unweight.core.errors import InputError
from unweight.susceptibility.field_map import FieldMap
from unweight.susceptibility.fourier_grid import smooth_complex
from unweight.susceptibility.geometry import Triple
from unweight.susceptibility.morphology import fill_holes, large_pieces

FULL_TRUST = 0.9  # quantile of precision above which all voxels are trusted alike
HOLE_MM = 3.0  # over which the field in holes is taken from around them
MOST_VOXELS = 1_000_000  # that a quantile is taken of


class PhaseQuality(NamedTuple):
    """The field, with what is known of each voxel.

    Attributes:
        rate: Angular frequency, smooth in holes [rad/s].
        mask: Voxels to work on, holes of bad phase included.
        good: Those whose phase is believed.
        trust: Precision of the field, 1 for the best tenth, 0 where it is not believed.
        sd: Of the rate, from noise alone [rad/s].
        noise_sd: Of one channel, in the unit of the input; NaN where it cannot be known.
    """

    rate: Float[Tensor, "x y z"]
    mask: Bool[Tensor, "x y z"]
    good: Bool[Tensor, "x y z"]
    trust: Float[Tensor, "x y z"]
    sd: Float[Tensor, "x y z"]
    noise_sd: float


def assess_phase(
    field_map: FieldMap, mask: Bool[Tensor, "x y z"], voxel_mm: Triple, noise_sd: float | None, limit: float
) -> PhaseQuality:
    """Judge each voxel of a field map.

    Args:
        field_map: The field map.
        mask: Where it was made.
        voxel_mm: Voxel size along each axis [mm].
        noise_sd: Of one channel; None to take it from the residuals, which takes three echoes.
        limit: Residual above which a voxel is excluded [rad].

    Raises:
        InputError: No voxel is left.
    """
    good = mask & (field_map.residual <= limit) & (field_map.leverage > 0)
    if not bool(good.any()):
        raise InputError(
            f"in no voxel is the phase linear in echo time to within {limit:g} rad",
            remedy="Check the scaling and the sign of the phase, and the echo times.",
        )
    whole = fill_holes(large_pieces(good)) & mask
    good = good & whole
    sigma = _noise(field_map, good) if noise_sd is None else noise_sd
    precision = field_map.leverage.sqrt()
    trust = (precision / _quantile(precision[good], FULL_TRUST)).clamp(max=1)
    trust = torch.where(good, trust, torch.zeros_like(trust))
    # Smoothing with the trust as weight says what the surroundings of a hole are.
    smooth = smooth_complex(torch.complex(field_map.rate * trust, trust), HOLE_MM, voxel_mm)
    around = smooth.real / smooth.imag.clamp(min=1e-6)
    rate = torch.where(good, field_map.rate, torch.where(whole, around, torch.zeros_like(around)))
    sd = torch.where(good, sigma / precision, torch.zeros_like(precision))
    return PhaseQuality(rate, whole, good, trust, sd, sigma)


def _noise(field_map: FieldMap, good: Bool[Tensor, "x y z"]) -> float:
    """Return the noise of one channel from the median squared residual; NaN for fewer than three echoes."""
    degrees = field_map.unwrapped.shape[-1] - 2
    if degrees < 1:
        return float("nan")
    return math.sqrt(_quantile(field_map.scatter[good], 0.5) / chi_square_median(degrees))


def _quantile(values: Float[Tensor, " n"], share: float) -> float:
    some = values[:: max(1, len(values) // MOST_VOXELS)]
    return float(some.sort().values[min(len(some) - 1, int(share * len(some)))])
