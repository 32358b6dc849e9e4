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
from jaxtyping import Bool, Float
from torch import Tensor

from unweight.fit.decay_solver import Decay, DecaySolver, require_echoes
from unweight.fit.log_linear import LogLinear
from unweight.fit.noise_floor import NoiseFloor

N_STEPS, N_PLAIN = 30, 8  # of which as long as the scoring says; the others are shortened
LONGEST_STEP = 1.0  # of ln P, and of one over the shortest spacing of echoes
BACK = 0.25  # how much the steps are shortened
UNSETTLED = 1e-3  # of R, and of one over the span of TE: a step that says the fit did not settle

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
        rows = signal.T.contiguous()
        strongest = rows.amax(0).clamp(min=torch.finfo(rows.dtype).tiny)
        rows = rows / strongest
        power = self.floor.power / strongest.square()
        above = (rows.square() - power).clamp(min=0).sqrt()
        start = LogLinear()(above.T, echo_time)
        # From the first echo on, so that a fast decay does not underflow.
        elapsed = (echo_time - echo_time[0])[:, None]
        decayed_first = torch.exp(-start.rate * echo_time[0])
        at_first = (start.amplitude * decayed_first).nan_to_num(nan=1.0).clamp(0.1, 10)
        place = _Place(start.rate.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0), 2 * at_first.log())
        place, settled = _scored(rows, elapsed, power / 2, place)
        amplitude = strongest * torch.exp(place.level / 2 + place.rate * echo_time[0])
        return Decay(place.rate, amplitude, settled & torch.isfinite(amplitude))


class _Place(NamedTuple):
    """R, and ln P."""

    rate: Row
    level: Row


def _scored(
    rows: Float[Tensor, "echoes voxels"],
    elapsed: Float[Tensor, "echoes 1"],
    half_floor: Row,
    place: _Place,
) -> tuple[_Place, Bool[Tensor, " voxels"]]:
    """Return where Fisher scoring ends, and where it settled; voxels that did are left alone."""
    spacing = elapsed[:, 0].diff()
    longest = LONGEST_STEP / spacing[spacing > 0].min()
    least = UNSETTLED / elapsed[-1, 0]
    settled = torch.zeros_like(place.rate, dtype=torch.bool)
    active: Tensor | slice = slice(None)
    excess = rows.square() - 2 * half_floor
    measured = rows > 0
    rate, level = place.rate.clone(), place.level.clone()
    here = (excess, measured, half_floor, rate, level)
    for step in range(N_STEPS):
        shrink = 1.0 if step < N_PLAIN else BACK
        by_rate, by_level = _step(elapsed, *here)
        moved = here[3] + shrink * by_rate.clamp(-longest, longest)
        lifted = here[4] + shrink * by_level.clamp(-LONGEST_STEP, LONGEST_STEP)
        done = by_rate.abs() <= UNSETTLED * moved.abs() + least
        rate[active], level[active], settled[active] = moved, lifted, done
        if bool(done.all()):
            break
        left = (~done).nonzero()[:, 0]
        active = left if isinstance(active, slice) else active[left]
        here = (here[0][:, left], here[1][:, left], here[2][left], moved[left], lifted[left])
    return _Place(rate, level), settled


def _step(
    elapsed: Float[Tensor, "echoes 1"],
    power: Float[Tensor, "echoes voxels"],
    measured: Bool[Tensor, "echoes voxels"],
    half_floor: Row,
    rate: Row,
    level: Row,
) -> tuple[Row, Row]:
    """Return the steps of Fisher scoring in R and ln P."""
    pure = torch.exp(level - 2 * rate * elapsed)
    share = pure / (pure + half_floor) * measured
    excess = (power - pure).mul_(share)
    weight = share.mul_(pure)
    total = weight.sum(0)
    mean = (elapsed * weight).sum(0) / total
    time = elapsed - mean
    slope = (time * excess).sum(0)
    by_rate = -0.5 * slope / weight.mul_(time.square_()).sum(0)
    return by_rate, excess.sum(0) / total + 2 * mean * by_rate
