"""DPM-Solver++(2M): the second-order step along the probability flow, one evaluation each.

    λ = ln(α/σ),  h = λ' − λ,  r = h₋/h
    D = (1 + 1/2r) x₀ − (1/2r) x₀₋
    x' = (σ'/σ) x − α' (e^{−h} − 1) D

The minus marks the step before. With D = x₀ this is DDIM; so are the first step, a step that ends
clean (h infinite) and one that follows a step from pure noise (r infinite).

The error falls as 1/steps² on a ladder of equal steps in λ; on the cosine ladder, whose λ has no ends,
more slowly (on Gaussian data to the power 0.6 to 1.7 between 64 and 512 steps). With few steps its
samples are hardly less contracted than those of DDIM where data are narrow: 8 cosine steps keep 24 %
of s = 0.05.

Reference: Lu et al., 2022 (arXiv 2211.01095), algorithm 2.
"""

import math
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from unweight.diffusion.ddim import ddim_step
from unweight.diffusion.denoiser import Denoiser
from unweight.diffusion.descent import Rung, begin, rungs
from unweight.diffusion.ladder import Ladder
from unweight.diffusion.noise import ItemNoise
from unweight.diffusion.sampler import Sampler


def log_snr_step(rung: Rung) -> float:
    """Return h, infinite for a step from pure noise or to a clean sample."""
    if rung.alpha == 0 or rung.next_sigma == 0:
        return math.inf
    return math.log(rung.next_alpha / rung.next_sigma) - math.log(rung.alpha / rung.sigma)


@final
@dataclass(frozen=True, kw_only=True)
class DpmSolver(Sampler):
    """DPM-Solver++(2M).

    Attributes:
        ladder: The levels to go down.
    """

    ladder: Ladder

    def __call__(
        self,
        denoiser: Denoiser,
        noise: ItemNoise,
        condition: Float[Tensor, "batch *condition"] | None,
    ) -> Float[Tensor, "batch channels *space"]:
        """Draw the start only; each step but the first looks back at the one before."""
        with torch.no_grad():
            sample = begin(noise, condition)
            before, step_before = torch.zeros_like(sample), math.inf
            for rung in rungs(self.ladder):
                clean = rung.denoise(self.ladder, denoiser, sample, condition)
                step = log_snr_step(rung)
                slope = 0.0 if math.inf in (step, step_before) else 0.5 * step / step_before
                sample = ddim_step(sample, (1 + slope) * clean - slope * before, rung)
                before, step_before = clean, step
        return sample
