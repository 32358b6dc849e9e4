"""The decay of magnitudes that end on the noise floor, from their squares.

The square of a magnitude has an expectation and a variance that are known exactly (`fit.noise_floor`):

    E[M²] = P·q + F,    q = exp(−2·R·t),    var M² = 4σ²·(P·q + F/2).

With y = M² − F/2 and λ = P·q + F/2 that is a Poisson regression, the variance being in proportion to λ:
quasi-likelihood Σ y·ln λ − λ, whose score has expectation 0 whatever the channels. Late echoes weigh as
little as the *fitted* signal there says; choosing echoes by their measured value would take those that
noise has lifted, and make R too small. Well above the floor it is least squares of M, at the floor M² is
sufficient for A, so that little is lost to the Rician likelihood in between.

Fisher scoring in (ln P, R), from the log-linear fit of sqrt(M² − F) on.

References: Wedderburn, Biometrika 61:439, 1974 (quasi-likelihood); McCullagh, Nelder, Generalized Linear
Models (1989), chapter 9; Karlsen et al., Magn Reson Med 41:614, 1999 (Rician noise in relaxometry).
"""

from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from unweight.fit.decay_solver import Decay, DecaySolver, require_echoes
from unweight.fit.log_linear import LogLinear
from unweight.fit.noise_floor import NoiseFloor

N_STEPS = 12
LONGEST_STEP = 1.0  # of ln P, and of one over the shortest spacing of echoes
SETTLED = 0.1  # of the standard deviation of R: a step after which no other is made
EXACT = 10.0  # of what the precision of the signal resolves: the same

Row = Float[Tensor, " voxels"]


@final
@dataclass(frozen=True, kw_only=True)
class FlooredDecay(DecaySolver):
    """Quasi-likelihood of squared magnitudes above a noise floor.

    A sample that is zero was not measured. It works in the precision of the signal. Two echoes suffice.

    Attributes:
        floor: The noise floor.
    """

    floor: NoiseFloor

    def accept(self, echo_time: Float[Tensor, " echoes"]) -> None:
        """Return if there are two different echo times."""
        require_echoes(echo_time, 2, "the fit above a noise floor")

    def __call__(
        self, signal: Float[Tensor, "voxels echoes"], echo_time: Float[Tensor, " echoes"]
    ) -> Decay:
        """Fit every voxel."""
        exact = (EXACT * torch.finfo(signal.dtype).eps) ** 2
        strongest = signal.amax(-1).clamp(min=torch.finfo(signal.dtype).tiny)
        rows = (signal / strongest[:, None]).T.contiguous()
        measured = rows > 0
        half_floor = self.floor.power / 2 / strongest.square()
        pure = rows.square_() - 2 * half_floor
        start = LogLinear()(pure.clamp(min=0).sqrt_().T, echo_time)
        # From the first echo on, so that a fast decay does not underflow.
        at_first = start.amplitude * torch.exp(-start.rate * echo_time[0])
        left = _Left(
            pure=pure,
            measured=None if bool(measured.all()) else measured,
            half_floor=half_floor,
            least=(half_floor * (SETTLED**2 / self.floor.n_channels)).clamp(min=exact),
            rate=start.rate.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0),
            level=2 * at_first.nan_to_num(nan=1.0).clamp(0.1, 10).log(),
        )
        rate, level, settled = _scored((echo_time - echo_time[0])[:, None], left)
        amplitude = strongest * torch.exp(level / 2 + rate * echo_time[0])
        return Decay(rate, amplitude, settled & torch.isfinite(amplitude))


class _Left(NamedTuple):
    """What is still to settle.

    Attributes:
        pure: M² − F.
        measured: Which samples are; None for all.
        half_floor: F/2.
        least: What a step may still change, of the energy of the signal.
        rate: R.
        level: ln P.
    """

    pure: Float[Tensor, "echoes left"]
    measured: Bool[Tensor, "echoes left"] | None
    half_floor: Float[Tensor, " left"]
    least: Float[Tensor, " left"]
    rate: Float[Tensor, " left"]
    level: Float[Tensor, " left"]

    def take(self, which: Int[Tensor, " some"]) -> "_Left":
        """Return some of the voxels."""
        return _Left(
            pure=self.pure[:, which],
            measured=None if self.measured is None else self.measured[:, which],
            half_floor=self.half_floor[which],
            least=self.least[which],
            rate=self.rate[which],
            level=self.level[which],
        )


def _scored(elapsed: Float[Tensor, "echoes 1"], start: _Left) -> tuple[Row, Row, Bool[Tensor, " voxels"]]:
    """Return R and ln P where Fisher scoring ends, and where it settled."""
    spacing = elapsed[:, 0].diff()
    longest = LONGEST_STEP / spacing[spacing > 0].min()
    rate, level = start.rate, start.level
    settled = torch.zeros_like(rate, dtype=torch.bool)
    left, index = start, None
    for _ in range(N_STEPS):
        by_rate, by_level, information = _step(elapsed, left)
        done = by_rate.square().mul_(information) <= left.least
        moved = left.rate + by_rate.clamp_(-longest, longest)
        lifted = left.level + by_level.clamp_(-LONGEST_STEP, LONGEST_STEP)
        if index is None:
            rate, level, settled = moved, lifted, done
        else:
            rate[index], level[index], settled[index] = moved, lifted, done
        if bool(done.all()):
            break
        left = left._replace(rate=moved, level=lifted)
        others = (~done).nonzero()[:, 0]
        if 2 * len(others) < len(done):  # before that, to go on with all is faster than to pick some
            left, index = left.take(others), others if index is None else index[others]
    return rate, level, settled


def _step(elapsed: Float[Tensor, "echoes 1"], left: _Left) -> tuple[Row, Row, Row]:
    """Return the steps of Fisher scoring in R and ln P, and the information on R times σ²."""
    pure = torch.exp(left.level - 2 * left.rate * elapsed)
    share = pure / (pure + left.half_floor)
    if left.measured is not None:
        share = share.mul_(left.measured)
    excess = (left.pure - pure).mul_(share)
    weight = share.mul_(pure)
    total = weight.sum(0)
    mean = (elapsed[:, 0] @ weight) / total
    time = elapsed - mean
    by_rate = -0.5 * (time * excess).sum(0)
    information = weight.mul_(time.square_()).sum(0)
    by_rate.div_(information)
    return by_rate, excess.sum(0) / total + 2 * mean * by_rate, information
