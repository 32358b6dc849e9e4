"""The decay by least squares of the signal itself: for Gaussian noise, maximum likelihood.

Without a noise floor the amplitude is linear, and the search is in R alone (variable projection). With
e = exp(−TE·R), a = Σ S·e / Σ e² and t = TE − Σ TE·e² / Σ e², Gauss–Newton steps by

    δR = −Σ t·e·S / (a·Σ t²·e²)

Reference: Golub, Pereyra, SIAM J Numer Anal 10:413, 1973 (variable projection).
"""

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

Row = Float[Tensor, " voxels"]


@final
@dataclass(frozen=True, kw_only=True)
class NonlinearDecay(DecaySolver):
    """Least squares of the signal, from the log-linear fit on, in double precision.

    Attributes:
        n_steps: Steps allowed.
    """

    n_steps: int = 12

    def __post_init__(self) -> None:
        if self.n_steps < 1:
            raise UsageError(f"n_steps is {self.n_steps}", remedy="Allow at least one step.")

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
        rate, at_first, step = self._project(rows, elapsed, _start(rows, times))
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


def _start(rows: Float[Tensor, "echoes voxels"], times: Float[Tensor, " echoes"]) -> Row:
    """Return the log-linear rate, or 0 where there is none."""
    return LogLinear()(rows.T, times).rate.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
