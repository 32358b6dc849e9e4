"""DDIM without noise: the first-order step along the probability flow.

    x' = α' x₀ + (σ'/σ) (x − α x₀)

The same start gives the same sample, with an error that falls as 1/steps. With few steps the samples
are too close together (see `contraction`): their spread is no uncertainty.

Reference: Song, Meng, Ermon, ICLR 2021 (arXiv 2010.02502), equation 12 with η = 0.
"""

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


def ddim_step(
    noisy: Float[Tensor, "batch channels *space"],
    clean: Float[Tensor, "batch channels *space"],
    rung: Rung,
) -> Float[Tensor, "batch channels *space"]:
    """Return the sample at the next level, if x₀ does not change on the way."""
    kept = rung.next_sigma / rung.sigma
    return kept * noisy + (rung.next_alpha - rung.alpha * kept) * clean


@final
@dataclass(frozen=True, kw_only=True)
class Ddim(Sampler):
    """Deterministic DDIM.

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
        """Draw the start only."""
        with torch.no_grad():
            sample = begin(noise, condition)
            for rung in rungs(self.ladder):
                clean = rung.denoise(self.ladder, denoiser, sample, condition)
                sample = ddim_step(sample, clean, rung)
        return sample
