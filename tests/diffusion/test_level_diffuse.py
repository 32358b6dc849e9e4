import torch

from unweight.diffusion.level import diffuse, item_noise
from unweight.diffusion.schedule import cosine_schedule, linear_schedule


def test_the_ends_are_the_sample_and_the_noise() -> None:
    clean, noise = torch.full((2, 1, 3), 2.0), torch.full((2, 1, 3), -1.0)
    schedule = cosine_schedule(10)
    ends = diffuse(clean, noise, schedule.at(torch.tensor([0, 10]), clean))
    assert torch.equal(ends[0], clean[0])
    assert torch.equal(ends[1], noise[1])


def test_many_small_steps_are_one_large() -> None:
    """Equation 2 of Ho 2020, x_t = √(1−β) x_{t−1} + √β ε step by step, has the moments of equation 4."""
    noise = item_noise(1, range(1), (1, 20000), torch.float64)
    walked = torch.full((1, 1, 20000), 1.7, dtype=torch.float64)
    for beta in torch.linspace(1e-4, 2e-2, 1000, dtype=torch.float64)[:200].tolist():
        walked = (1 - beta) ** 0.5 * walked + beta**0.5 * noise.normal()
    level = linear_schedule().at(torch.tensor([200]), walked)
    # Four standard errors of 20000 values of standard deviation below 1.
    assert abs(float(walked.mean() - level.alpha * 1.7)) < 4 / 20000**0.5
    assert abs(float(walked.std() / level.sigma) - 1) < 4 / 40000**0.5


def test_the_dtype_is_that_of_the_sample() -> None:
    clean = torch.ones(2, 1, 3, dtype=torch.bfloat16)
    assert diffuse(clean, clean, cosine_schedule(4).at(torch.tensor([1, 2]), clean)).dtype == torch.bfloat16
