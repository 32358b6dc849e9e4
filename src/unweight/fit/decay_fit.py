"""One exponential through the echoes of each voxel, with what is known of its error before the noise is.

A solver fits all voxels. Those whose latest echo is near the noise floor, by the signal that was fitted
there, are fitted again above it: magnitudes by `fit.floored_decay`, real parts, which have no floor, by
least squares. Well above the floor the solver's result stays as it is.

With e = exp(−TE·R), S = S0·e, weights w = e²·S²/(S² + F/2) and weighted means ⟨·⟩, W = Σ w and
V = Σ w·(TE − ⟨TE⟩)², the Cramér–Rao bound is

    var R = σ²/(S0²·V),    var S0 = σ²·(1/W + ⟨TE⟩²/V)

F/2 counts near the floor only (`fit.noise_floor`). Residuals there are of M about its mean, which is
sqrt(S² + F − v), and are divided by the share v/σ² = (S² + F/2)/(S² + F) of the noise that is left.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from unweight.fit.decay_solver import Decay, DecaySolver
from unweight.fit.floored_decay import FlooredDecay
from unweight.fit.noise_floor import FloorSource, NoiseFloor
from unweight.fit.noise_level import MIN_GROUP, noise_from_residuals
from unweight.fit.nonlinear_decay import NonlinearDecay

NEAR = 10.0  # σ·√n: a latest echo above it biases the log-linear fit by less than its deviation
LEVEL = 0.5  # mean energy of later echoes over that of the first, above which the decay is slow
DIMMEST = 0.05  # share of the voxels that may be at the floor
NOISELESS = 1e-6  # σ over the signal, below which there is rounding and no noise
MOST_ROUNDS, SAME = 8, 0.01  # of the noise from residuals; share by which it still changes
UNLIT = 0.8  # of what noise alone does not exceed: voxels below it hold no signal
MEDIAN_POWER = 2 * math.log(2)  # of magnitudes of noise alone, over σ²

Row = Float[Tensor, " voxels"]


class FittedDecay(NamedTuple):
    """What is known of each voxel before the noise is; deviations are for unit noise.

    Attributes:
        rate: R [1/s].
        amplitude: S0.
        settled: Whether the fit did.
        rate_std: Standard deviation of R over σ.
        amplitude_std: The same of S0.
        rss: Residual sum of squares.
        strength: The largest sample.
        latest: Fitted signal at the latest echo.
        followed: Energy of the fitted signal after the first echo, by which a fast R is known; infinite
            where the signal hardly decays, or is well above the noise.
    """

    rate: Row
    amplitude: Row
    settled: Bool[Tensor, " voxels"]
    rate_std: Row
    amplitude_std: Row
    rss: Row
    strength: Row
    latest: Row
    followed: Row

    def take(self, which: slice | Tensor) -> "FittedDecay":
        """Return some of the voxels."""
        return FittedDecay(*(row[which] for row in self))

    def near(self, floor: NoiseFloor) -> Int[Tensor, " near"]:
        """Return the voxels with signal whose latest echo is not well above the floor."""
        lit = self.strength > UNLIT * floor.top
        return (lit & ~(self.latest > NEAR * floor.spread)).nonzero()[:, 0]

    def replaced(self, which: Int[Tensor, " some"], others: "FittedDecay") -> "FittedDecay":
        """Return all voxels, some of them others."""
        if len(which) == len(self.rate):
            return others
        return FittedDecay(
            *(mine.index_copy(0, which, theirs) for mine, theirs in zip(self, others, strict=True))
        )


def fit_plain(
    rows: Float[Tensor, "echoes voxels"], times: Float[Tensor, " echoes"], solver: DecaySolver
) -> FittedDecay:
    """Fit every voxel as if there were no floor.

    Args:
        rows: By rising echo time.
        times: Echo times [s].
        solver: How the decay is found.
    """
    return _fitted(rows, times, solver(rows.T, times), None)


def fit_above(
    rows: Float[Tensor, "echoes voxels"], times: Float[Tensor, " echoes"], floor: NoiseFloor
) -> FittedDecay:
    """Fit every voxel above the floor: magnitudes by their squares, real parts by least squares."""
    if floor.n_channels > 0:
        return _fitted(rows, times, FlooredDecay(floor=floor)(rows.T, times), floor)
    return _fitted(rows, times, NonlinearDecay()(rows.T, times), floor)


def noise_of(fitted: FittedDecay, degrees: int, floor: NoiseFloor | None) -> float:
    """Return sigma from the residuals of voxels that rise above the floor; NaN if nothing tells it."""
    if floor is not None:
        lit = fitted.strength > floor.top
        fitted = fitted.take(lit) if int(lit.sum()) >= MIN_GROUP else fitted
    return noise_from_residuals(fitted.rss, degrees, fitted.strength)


def floor_of_residuals(
    rows: Float[Tensor, "echoes voxels"],
    times: Float[Tensor, " echoes"],
    plain: FittedDecay,
    n_channels: float,
) -> NoiseFloor | None:
    """Return the noise floor from what fits leave over and from what faded signal ends on, or None.

    Both can only be too high: the first holds misfit, the second the rest of the signal. A floor of several
    channels cannot be told from an even signal, so that there is one.

    Args:
        rows: By rising echo time.
        times: Echo times [s].
        plain: Their fit as if there were no floor.
        n_channels: 1 for magnitudes, 0 for real parts.
    """
    floor: NoiseFloor | None = None
    fitted, typical = plain, float(plain.strength[plain.strength > 0].median())
    for _ in range(MOST_ROUNDS):
        sigma = noise_of(fitted, len(times) - 2, floor)
        if not NOISELESS * typical < sigma < math.inf:
            return None
        if n_channels > 0:
            sigma = min(sigma, _faded(rows, sigma))
        before = floor
        floor = NoiseFloor(sigma=sigma, n_channels=n_channels, source=FloorSource.RESIDUALS)
        if before is not None and abs(sigma / before.sigma - 1) < SAME:
            break
        near = plain.near(floor)
        fitted = plain.replaced(near, fit_above(rows[:, near], times, floor))
    return floor


def _faded(rows: Float[Tensor, "echoes voxels"], sigma: float) -> float:
    """Return the noise by the last echo of the dimmest voxels; infinite if they are few.

    They are the dimmest by the last echo but one, which noise of the last has no part in.
    """
    usable = (rows[-2:] > 0).all(0) & (rows.amax(0) > NEAR * sigma)
    by, last = rows[-2, usable], rows[-1, usable]
    count = int(DIMMEST * len(by))
    if count < MIN_GROUP:
        return math.inf
    faded = last[by <= by.kthvalue(count).values]
    return math.sqrt(float(faded.double().square().median()) / MEDIAN_POWER)


def _fitted(
    rows: Float[Tensor, "echoes block"],
    times: Float[Tensor, " echoes"],
    decay: Decay,
    floor: NoiseFloor | None,
) -> FittedDecay:
    """Add residuals and, for unit noise, the Cramér–Rao bound."""
    # From the first echo on, so that a fast decay does not underflow.
    elapsed = (times - times[0])[:, None]
    since_zero = torch.exp(decay.rate * times[0])
    at_first = decay.amplitude / since_zero
    decayed = torch.exp(-decay.rate * elapsed)
    model = at_first * decayed
    latest = model[-1].clone()
    followed = torch.full_like(at_first, math.inf)
    if floor is None:
        rss = (rows - model).square_().sum(0)
        weight = decayed.square()
    else:
        mean_of, left, known = _moments(model, floor)
        off = mean_of.sub_(rows).square_().div_(left)
        # A magnitude of exactly zero was not measured.
        rss = (off.mul_(rows > 0) if floor.n_channels > 0 else off).sum(0)
        energy = model.square_().mul_(known)
        weight = decayed.square_().mul_(known)
        after = energy[elapsed[:, 0] > 0]
        later = after.sum(0)
        followed = torch.where(later < LEVEL * len(after) * energy[0], later, followed)
    total = weight.sum(0)
    mean = (elapsed[:, 0] @ weight) / total
    spread = weight.mul_((elapsed - mean).square_()).sum(0)
    rate_std = 1 / (at_first.abs() * spread.sqrt())
    amplitude_std = since_zero * (1 / total + (mean + times[0]).square() / spread).sqrt()
    return FittedDecay(
        rate=decay.rate,
        amplitude=decay.amplitude,
        settled=decay.settled,
        rate_std=rate_std,
        amplitude_std=amplitude_std,
        rss=rss,
        strength=rows.amax(0),
        latest=latest,
        followed=followed,
    )


def _moments(
    signal: Float[Tensor, "echoes block"], floor: NoiseFloor
) -> tuple[Float[Tensor, "echoes block"], Float[Tensor, "echoes block"], Float[Tensor, "echoes block"]]:
    """Return the mean of samples over a signal, their variance over σ², and what they tell of the signal.

    The last is the Fisher information over that of a sample without a floor.
    """
    if floor.n_channels == 0:
        return signal.clone(), torch.ones_like(signal), torch.ones_like(signal)
    square = signal.square()
    varies = square + floor.power / 2
    ended = square + floor.power
    left = varies / ended
    mean = ended.sub_(left, alpha=floor.sigma**2).clamp_(min=0).sqrt_()
    return mean, left, square.div_(varies)
