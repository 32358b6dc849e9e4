"""The walk down a ladder that the samplers share: at each level ask the denoiser, then step."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from unweight.core.errors import UsageError
from unweight.diffusion.denoiser import Denoiser
from unweight.diffusion.ladder import Ladder
from unweight.diffusion.noise import ItemNoise


@final
@dataclass(frozen=True, kw_only=True)
class Rung:
    """One step: from a level to the next cleaner one.

    Attributes:
        index: The level it starts from, counted from the cleanest.
        alpha: Share of the clean sample there.
        sigma: Noise there.
        next_alpha: Share of the clean sample after the step.
        next_sigma: Noise after the step.
    """

    index: int
    alpha: float
    sigma: float
    next_alpha: float
    next_sigma: float

    def denoise(
        self,
        ladder: Ladder,
        denoiser: Denoiser,
        noisy: Float[Tensor, "batch channels *space"],
        condition: Float[Tensor, "batch *condition"] | None,
    ) -> Float[Tensor, "batch channels *space"]:
        """Return the clean sample as seen from the start of the step."""
        level = ladder.at(torch.full((noisy.shape[0],), self.index), noisy)
        return denoiser(noisy, level, condition)


def begin(
    noise: ItemNoise, condition: Float[Tensor, "conditions *condition"] | None
) -> Float[Tensor, "batch channels *space"]:
    """Return the standard normal start of every item.

    Raises:
        UsageError: There is not one condition for each.
    """
    n_items = len(noise.generators)
    if condition is not None and condition.shape[0] != n_items:
        raise UsageError(
            f"{condition.shape[0]} conditions are given for {n_items} items",
            remedy="Repeat the condition, one for each sample.",
        )
    return noise.normal()


def rungs(ladder: Ladder) -> Iterator[Rung]:
    """Yield the steps of the ladder, from the noisiest level to the cleanest."""
    alpha: list[float] = ladder.alpha.tolist()
    sigma: list[float] = ladder.sigma.tolist()
    for index in range(ladder.n_steps, 0, -1):
        yield Rung(
            index=index,
            alpha=alpha[index],
            sigma=sigma[index],
            next_alpha=alpha[index - 1],
            next_sigma=sigma[index - 1],
        )
