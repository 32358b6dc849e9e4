"""The decay by least squares of the signal itself: for Gaussian noise, maximum likelihood.

Without a noise floor the amplitude is linear, and the search is in R alone (variable projection). With
e = exp(−TE·R), a = Σ S·e / Σ e² and t = TE − Σ TE·e² / Σ e², Gauss–Newton steps by

    δR = −Σ t·e·S / (a·Σ t²·e²)

With a noise floor N the model is sqrt(S0²·exp(−2·TE·R) + N²), which late magnitude echoes do not
leave; the search is then in (R, S0) after Levenberg and Marquardt.

References: Golub, Pereyra, SIAM J Numer Anal 10:413, 1973 (variable projection); Marquardt, J SIAM
11:431, 1963; Feng et al., Magn Reson Med 70:555, 2013 (noise in the model of T2* decay).
"""

import math
from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from jaxtyping import Float
from torch import Tensor

from unweight.core.errors import UsageError
from unweight.fit.decay_solver import Decay, DecaySolver, require_echoes
from unweight.fit.log_linear import LogLinear

UNSETTLED = 1e-4  # of R, and of one over the span of TE: a step that says the fit did not settle
LONGEST_STEP = 1.0  # of one over the span of TE
BACK = 0.25  # of the step, where it led uphill
DAMPING = (1e-3, 0.1, 10.0)  # at the start; factor after a step downhill; after one uphill
LEAST_DAMPING = 1e-9

Row = Float[Tensor, " voxels"]


@final
@dataclass(frozen=True, kw_only=True)
class NonlinearDecay(DecaySolver):
    """Least squares of the signal, from the log-linear fit on, in double precision.

    Attributes:
        n_steps: Steps allowed.
        noise_floor: Where the magnitudes end [unit of the signal]: the mean of the background, which is
            sqrt(π/2) times the noise of one channel. None for signals without a floor.
    """

    n_steps: int = 12
    noise_floor: float | None = None

    def __post_init__(self) -> None:
        if self.n_steps < 1:
            raise UsageError(f"n_steps is {self.n_steps}", remedy="Allow at least one step.")
        if self.noise_floor is not None and not 0 < self.noise_floor < math.inf:
            raise UsageError(
                f"the noise floor must be positive and finite, not {self.noise_floor:g}",
                remedy="Give the mean of the background, or None.",
            )

    def accept(self, echo_time: Float[Tensor, " echoes"]) -> None:
        """Return if there are three different echo times."""
        require_echoes(echo_time, 3, "the nonlinear fit of a decay")

    def __call__(
        self, signal: Float[Tensor, "voxels echoes"], echo_time: Float[Tensor, " echoes"]
    ) -> Decay:
        """Fit every voxel."""
        rows, times = signal.T.contiguous().double(), echo_time.double()
        strongest = rows.amax(0).clamp(min=torch.finfo(signal.dtype).tiny)
        rows = rows / strongest
        # From the first echo on, so that a fast decay does not underflow.
        first, elapsed = times[0], (times - times[0])[:, None]
        if self.noise_floor is None:
            rate, at_first, step = self._project(rows, elapsed, _start(rows, times))
        else:
            floor = self.noise_floor / strongest
            above = (rows.square() - floor**2).clamp(min=0).sqrt()
            rate, at_first, step = self._descend(rows, elapsed, floor, _start(above, times))
        settled = step.abs() <= UNSETTLED * (rate.abs() + 1 / elapsed[-1])
        amplitude = strongest * at_first * torch.exp(rate * first)
        return Decay(rate.to(signal), amplitude.to(signal), settled)

    def _project(
        self, rows: Float[Tensor, "echoes voxels"], elapsed: Float[Tensor, "echoes 1"], rate: Row
    ) -> tuple[Row, Row, Row]:
        """Return rate, signal at the first echo, and the step that would follow."""
        here = _projected(rows, elapsed, rate)
        longest = LONGEST_STEP / elapsed[-1]
        share = torch.ones_like(rate)
        for _ in range(self.n_steps):
            trial = rate + share * here.step.clamp(-longest, longest)
            there = _projected(rows, elapsed, trial)
            better = there.rss <= here.rss
            rate = torch.where(better, trial, rate)
            here = _Projection(*(torch.where(better, b, a) for a, b in zip(here, there, strict=True)))
            share = torch.where(better, 1.0, BACK * share)
            if bool((here.step.abs() <= UNSETTLED**2 * (rate.abs() + longest)).all()):
                break
        return rate, here.at_first, here.step

    def _descend(
        self,
        rows: Float[Tensor, "echoes voxels"],
        elapsed: Float[Tensor, "echoes 1"],
        floor: Row,
        rate: Row,
    ) -> tuple[Row, Row, Row]:
        """Return rate, signal at the first echo, and the step that would follow."""
        at_first = _projected((rows.square() - floor**2).clamp(min=0).sqrt(), elapsed, rate).at_first
        longest = LONGEST_STEP / elapsed[-1]
        begin, down, up = DAMPING
        damping = torch.full_like(rate, begin)
        here = _floored(rows, elapsed, floor, rate, at_first)
        for _ in range(self.n_steps):
            by_rate, by_level = here.step(damping)
            trial = rate + by_rate.clamp(-longest, longest)
            trial_level = (at_first + by_level).abs()
            there = _floored(rows, elapsed, floor, trial, trial_level)
            better = there.rss <= here.rss
            rate, at_first = torch.where(better, trial, rate), torch.where(better, trial_level, at_first)
            here = _Floored(*(torch.where(better, b, a) for a, b in zip(here, there, strict=True)))
            damping = (damping * torch.where(better, down, up)).clamp(min=LEAST_DAMPING)
        return rate, at_first, here.step(torch.zeros_like(damping))[0]


class _Projection(NamedTuple):
    """What least squares knows at a rate, the amplitude being the best one."""

    rss: Row
    step: Row
    at_first: Row


def _projected(
    rows: Float[Tensor, "echoes voxels"], elapsed: Float[Tensor, "echoes 1"], rate: Row
) -> _Projection:
    decayed = torch.exp(-rate * elapsed)
    weight = decayed.square()
    total = weight.sum(0)
    at_first = (rows * decayed).sum(0) / total
    time = elapsed - (weight * elapsed).sum(0) / total
    slope = time * decayed
    step = -(slope * rows).sum(0) / (at_first * slope.square().sum(0))
    return _Projection((rows - at_first * decayed).square().sum(0), step, at_first)


class _Floored(NamedTuple):
    """What least squares knows at a rate and a level: gradient and the 2×2 matrix of Gauss–Newton."""

    rss: Row
    downhill_rate: Row
    downhill_level: Row
    rate_rate: Row
    level_level: Row
    rate_level: Row

    def step(self, damping: Row) -> tuple[Row, Row]:
        """Return the damped steps in rate and level; not finite where the matrix is singular."""
        rr, ll = self.rate_rate * (1 + damping), self.level_level * (1 + damping)
        determinant = rr * ll - self.rate_level**2
        by_rate = (ll * self.downhill_rate - self.rate_level * self.downhill_level) / determinant
        by_level = (rr * self.downhill_level - self.rate_level * self.downhill_rate) / determinant
        return by_rate, by_level


def _floored(
    rows: Float[Tensor, "echoes voxels"],
    elapsed: Float[Tensor, "echoes 1"],
    floor: Row,
    rate: Row,
    at_first: Row,
) -> _Floored:
    decayed = torch.exp(-rate * elapsed)
    pure = at_first * decayed
    model = torch.hypot(pure, floor.expand_as(pure))
    residual = rows - model
    by_level = decayed * pure / model
    by_rate = -at_first * elapsed * by_level
    return _Floored(
        rss=residual.square().sum(0),
        downhill_rate=(by_rate * residual).sum(0),
        downhill_level=(by_level * residual).sum(0),
        rate_rate=by_rate.square().sum(0),
        level_level=by_level.square().sum(0),
        rate_level=(by_rate * by_level).sum(0),
    )


def _start(rows: Float[Tensor, "echoes voxels"], times: Float[Tensor, " echoes"]) -> Row:
    """Return the log-linear rate, or 0 where there is none."""
    return LogLinear()(rows.T, times).rate.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
