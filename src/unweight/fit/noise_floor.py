"""Where magnitudes end: the noise floor, and what measures it.

A magnitude M over a signal A in n channels of noise σ (n = 1: Rician; more: noncentral χ) has the moments

    E[M²] = A² + F,    var M² = 4σ²·(A² + F/2),    F = 2nσ²,

exactly, whatever A is. In air M²/2σ² follows the gamma law of shape n, the quartiles of which tell n and
σ. Channels that are correlated or combined with weights keep the form of the law, with n in between.

Without air F is bounded from two sides that both can only be too high: the residuals of a fit hold
physiology and misfit beside the noise, and the power of samples whose signal has decayed holds what is
left of it. The lower of both is taken, with n = 1.

References: Gudbjartsson, Patz, Magn Reson Med 34:910, 1995 (Rician); Constantinides et al., Magn Reson
Med 38:852, 1997 (several channels); Aja-Fernández et al., Magn Reson Imaging 29:272, 2011 (effective n).
"""

import math
from dataclasses import dataclass
from enum import Enum
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from scipy.special import gammaincinv, gammaln
from torch import Tensor

from unweight.core.errors import UsageError
from unweight.fit.noise_level import APART, MIN_GROUP, bright

SAMPLE = 1 << 15  # voxels, evenly spread, that tell the floor to 1 %
STILL_DECAYS = 1.25  # power of early over late echoes above which dark voxels are not air
DIM = 1.5  # of the mean signal over that of air: the least contrast with which air is looked for
AGREES, ENOUGH = (
    1.25,
    400,
)  # most noise of air over that of residuals (of even signal 1.4); voxels that tell
GOLDEN = (math.sqrt(5) - 1) / 2  # its multiples are spread evenly between whole numbers
PERSISTS = 0.1  # correlation of the power of two echoes in dark voxels above which they are not air
CHANNELS = np.geomspace(1, 64, 200)
QUARTER_TO_HALF = gammaincinv(CHANNELS, 0.25) / gammaincinv(CHANNELS, 0.5)
AIR_IS_BELOW = 0.9999963  # probability; for one channel 5 σ


class FloorSource(Enum):
    """What tells the noise floor."""

    GIVEN = "the noise given"
    BACKGROUND = "the background"
    RESIDUALS = "the residuals of the fit, as of one channel"


@final
@dataclass(frozen=True, kw_only=True)
class NoiseFloor:
    """The noise of magnitudes, or of real parts.

    Attributes:
        sigma: Noise of one channel [unit of the signal].
        n_channels: Effective channels of magnitudes; 0 for real parts, which have no floor.
        source: What tells them.
    """

    sigma: float
    n_channels: float = 1.0
    source: FloorSource = FloorSource.GIVEN

    def __post_init__(self) -> None:
        if not 0 < self.sigma < math.inf or not 0 <= self.n_channels < math.inf:
            raise UsageError(
                f"a noise floor of sigma {self.sigma:g} and {self.n_channels:g} channels",
                remedy="Give a positive sigma and 0 or more channels.",
            )

    @property
    def power(self) -> float:
        """F, the mean square of magnitudes of noise alone."""
        return 2 * self.n_channels * self.sigma**2

    @property
    def spread(self) -> float:
        """Root mean square of one of the two parts, real or imaginary; σ of real parts."""
        return self.sigma * math.sqrt(max(self.n_channels, 1.0))

    @property
    def mean(self) -> float:
        """The mean of magnitudes of noise alone; for one channel σ·√(π/2)."""
        if self.n_channels == 0:
            return 0.0
        ratio = math.exp(float(gammaln(self.n_channels + 0.5) - gammaln(self.n_channels)))
        return math.sqrt(2) * self.sigma * ratio

    @property
    def top(self) -> float:
        """What a sample of noise alone does not exceed."""
        n = max(self.n_channels, 1.0)
        return self.sigma * math.sqrt(2 * float(gammaincinv(n, AIR_IS_BELOW)))


def floor_of_background(signal: Float[Tensor, "voxels echoes"], residual: float) -> NoiseFloor | None:
    """Return the noise floor of the air around an object, or None if there is none.

    Air are the voxels below Otsu's threshold, if their power does not decay and their law agrees with the
    residuals. Voxels that are zero in most echoes were not measured. The later half of the echoes tells it,
    for there ghosts are weakest. A group that is not clearly darker than the rest is air only if its voxels
    are not brighter or darker than others echo after echo, as tissue is.

    Args:
        signal: Magnitudes by rising echo time; all voxels of the image, air included.
        residual: Noise of one channel from the residuals of a fit.
    """
    measured = torch.isfinite(signal).all(-1) & ((signal > 0).double().mean(-1) > 0.5)
    sample = signal[measured]
    if len(sample) < MIN_GROUP:
        return None
    for apart in (APART, DIM):
        dark = sample[~bright(sample.amax(-1), apart)]
        if len(dark) < MIN_GROUP or _decays(dark) or (apart < APART and _persists(dark)):
            continue
        sigma, n_channels = _law(dark[:, dark.shape[1] // 2 :])
        if 0 < sigma < AGREES * residual:
            return NoiseFloor(sigma=sigma, n_channels=n_channels, source=FloorSource.BACKGROUND)
    return None


def _law(samples: Float[Tensor, "*samples"]) -> tuple[float, float]:
    """Return the noise of one channel and the effective channels of magnitudes of noise alone."""
    power = _powers(samples)
    lower, middle = (float(power.kthvalue(max(1, len(power) * part // 4)).values) for part in (1, 2))
    if middle <= 0:
        return 0.0, 1.0
    n_channels = float(np.interp(lower / middle, QUARTER_TO_HALF, CHANNELS))
    return math.sqrt(middle / 2 / float(gammaincinv(n_channels, 0.5))), n_channels


def _powers(samples: Float[Tensor, "*samples"]) -> Float[Tensor, " all"]:
    """Return squares; values that come in steps, as whole numbers do, are spread over their step."""
    values = samples.double().reshape(-1)
    steps = values.sort().values.diff()
    step = float(steps[steps > 0].min()) if bool((steps > 0).any()) else 0.0
    place = torch.arange(len(values)).to(values) * GOLDEN
    return (values + step * (place.frac() - 0.5)).square()


def _decays(dark: Float[Tensor, "voxels echoes"]) -> bool:
    """Whether early echoes are stronger than late ones."""
    half = dark.shape[1] // 2
    early, late = _powers(dark[:, :half]).median(), _powers(dark[:, half:]).median()
    return bool(early > STILL_DECAYS * late)


def _persists(dark: Float[Tensor, "voxels echoes"]) -> bool:
    """Whether voxels that are stronger in one late echo are so in the next."""
    last, before = dark[:, -1].square(), dark[:, -2].square()
    return float(torch.corrcoef(torch.stack((last, before)))[0, 1]) > PERSISTS
