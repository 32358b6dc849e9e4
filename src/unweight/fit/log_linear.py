"""The decay from a weighted straight line through ln S, in closed form.

    ln S = ln S0 − TE·R,    weights S²

for the variance of ln S is σ²/S². With the weighted means ⟨·⟩ and t = TE − ⟨TE⟩

    R = −Σ S²·t·ln S / Σ S²·t²,    S0 = exp(⟨ln S⟩ + R·⟨TE⟩)

Where S ≫ σ in all echoes this is as precise as least squares of S itself. The weights carry the noise of
the signal, which biases R to second order in σ/S: many echoes at the noise floor make R far too small.

Reference: Bevington, Robinson, Data Reduction and Error Analysis for the Physical Sciences (2003),
chapter 6 (weights of a transformed variable).
"""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from unweight.fit.decay_solver import Decay, DecaySolver, require_echoes

# Of the strongest sample. Its square underflows in single precision, and counts for nothing in double.
NOTHING = 1e-30
# Of the square of the span of TE: with a smaller weighted spread one sample stands alone.
ALONE = 1e-10


@final
@dataclass(frozen=True, kw_only=True)
class LogLinear(DecaySolver):
    """Weighted straight line through ln S; samples that are not positive have no weight.

    It works in the precision of the signal. Two echoes suffice.
    """

    def accept(self, echo_time: Float[Tensor, " echoes"]) -> None:
        """Return if there are two different echo times."""
        require_echoes(echo_time, 2, "the log-linear fit")

    def __call__(
        self, signal: Float[Tensor, "voxels echoes"], echo_time: Float[Tensor, " echoes"]
    ) -> Decay:
        """Fit every voxel; NaN where fewer than two samples carry weight."""
        rows = signal.T.contiguous()
        strongest = rows.amax(0)
        # Relative to the strongest sample: no overflow, the same rate in any unit, a small logarithm.
        relative = (rows / strongest).clamp_(min=NOTHING)
        weight = relative.square()
        level = relative.log_()
        total = weight.sum(0)
        mean_time = (echo_time @ weight) / total
        mean_level = (weight * level).sum(0) / total
        time = echo_time[:, None] - mean_time
        weighted = weight.mul_(time)
        spread = (weighted * time).sum(0)
        rate = -weighted.mul_(level).sum(0) / spread
        amplitude = strongest * torch.exp(mean_level + rate * mean_time)
        span = echo_time[-1] - echo_time[0]
        settled = (strongest > 0) & (spread > ALONE * span**2)
        nothing = torch.full_like(rate, torch.nan)
        return Decay(torch.where(settled, rate, nothing), torch.where(settled, amplitude, nothing), settled)
