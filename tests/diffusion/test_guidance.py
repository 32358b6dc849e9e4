from dataclasses import dataclass
from typing import final

import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from unweight.core.errors import UsageError
from unweight.diffusion.denoiser import Denoiser, Prediction
from unweight.diffusion.gaussian import GaussianDenoiser
from unweight.diffusion.guidance import Guided
from unweight.diffusion.level import NoiseLevel, item_noise
from unweight.diffusion.samplers import Ddim
from unweight.diffusion.schedule import cosine_schedule

SD = 0.4


@final
@dataclass(frozen=True, kw_only=True)
class Shifted(Denoiser):
    """N(condition, s²) data; without a condition, N(0, s²)."""

    def __call__(
        self,
        noisy: Float[Tensor, "batch channels *space"],
        level: NoiseLevel,
        condition: Float[Tensor, "batch *condition"] | None,
    ) -> Float[Tensor, "batch channels *space"]:
        mean = torch.zeros_like(noisy) if condition is None else condition
        alpha, sigma = level.along(noisy)
        return (alpha * SD**2 * noisy + sigma**2 * mean) / (alpha**2 * SD**2 + sigma**2)


def sample(denoiser: Denoiser) -> Tensor:
    noise = item_noise(1, range(2), (1, 500), torch.float64)
    return Ddim(schedule=cosine_schedule(300))(denoiser, noise, torch.ones(2, 1, 500, dtype=torch.float64))


@pytest.mark.parametrize("scale", [0.0, 1.0, 3.0])
def test_the_mean_moves_in_proportion(scale: float) -> None:
    """The scores of N(c, s²) and N(0, s²) noised differ by a constant, so w moves the mean to w c."""
    moved = sample(Guided(denoiser=Shifted(), scale=scale))
    free = sample(GaussianDenoiser(mean=0.0, sd=SD))
    torch.testing.assert_close(moved - free, torch.full_like(free, scale))


def test_guidance_of_the_clean_sample_is_guidance_of_epsilon() -> None:
    """Ho and Salimans, equation 6: ε = (1 + w) ε(c) − w ε(none)."""
    noisy, schedule = torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(2, 1, 3), cosine_schedule(4)
    level, given = schedule.at(torch.tensor([1, 3]), noisy), torch.ones(2, 1, 3, dtype=torch.float64)
    alpha, sigma = level.along(noisy)
    informed, free = ((noisy - alpha * Shifted()(noisy, level, c)) / sigma for c in (given, None))
    epsilon = 2.5 * informed - 1.5 * free
    guided = Guided(denoiser=Shifted(), scale=2.5)(noisy, level, given)
    torch.testing.assert_close(guided, Prediction.EPSILON.clean(epsilon, noisy, level))


def test_a_null_condition_takes_the_place_of_none() -> None:
    null = torch.zeros(1, 500, dtype=torch.float64)
    torch.testing.assert_close(
        sample(Guided(denoiser=Shifted(), scale=2.0, nothing=null)),
        sample(Guided(denoiser=Shifted(), scale=2.0)),
    )


def test_guidance_without_a_condition_is_refused() -> None:
    guided = Guided(denoiser=Shifted(), scale=2.0)
    with pytest.raises(UsageError, match="guidance needs a condition"):
        Ddim(schedule=cosine_schedule(3))(guided, item_noise(1, range(2), (1, 9)), None)
    with pytest.raises(UsageError, match="scale of guidance is -1"):
        Guided(denoiser=Shifted(), scale=-1.0)
