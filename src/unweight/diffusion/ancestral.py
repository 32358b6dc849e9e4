"""The ancestral sampler of DDPM: every step draws from the posterior of the forward process.

    x' ~ N( (α σ'²)/(α' σ²) x + (α' τ²)/σ² x₀,  τ² σ'²/σ² ),    τ² = σ² − (α/α')² σ'²

α, σ belong to the level of x, primes to the next. The variance is "fixed small", exact if the data
were one point; written for any two levels, so that a ladder may be sub-sampled.

Reference: Ho, Jain, Abbeel, NeurIPS 2020 (arXiv 2006.11239), equations 6 and 7, algorithm 2.
"""

import math
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from unweight.diffusion.denoiser import Denoiser
from unweight.diffusion.descent import Rung, begin, rungs
from unweight.diffusion.ladder import Ladder
from unweight.diffusion.noise import ItemNoise
from unweight.diffusion.sampler import Sampler


def posterior_weights(rung: Rung) -> tuple[float, float, float]:
    """Return the weights of x and of x₀ in the mean, and the standard deviation of the draw."""
    ratio = rung.alpha / rung.next_alpha
    added = rung.sigma**2 - ratio**2 * rung.next_sigma**2
    of_noisy = ratio * rung.next_sigma**2 / rung.sigma**2
    of_clean = rung.next_alpha * added / rung.sigma**2
    return of_noisy, of_clean, math.sqrt(max(added, 0.0)) * rung.next_sigma / rung.sigma


@final
@dataclass(frozen=True, kw_only=True)
class Ancestral(Sampler):
    """DDPM sampling. Needs hundreds of steps; to clip x₀, give it a `Clipped` denoiser.

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
        """Draw at every step but one that ends clean."""
        with torch.no_grad():
            sample = begin(noise, condition)
            for rung in rungs(self.ladder):
                clean = rung.denoise(self.ladder, denoiser, sample, condition)
                of_noisy, of_clean, spread = posterior_weights(rung)
                sample = of_noisy * sample + of_clean * clean
                if spread > 0:
                    sample = sample + spread * noise.normal()
        return sample
