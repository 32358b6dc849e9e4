import pytest
import torch
from torch import Tensor

from unweight.core.errors import UsageError
from unweight.diffusion.gaussian import GaussianDenoiser, LinearGaussianDenoiser, probability_flow
from unweight.diffusion.level import item_noise
from unweight.diffusion.samplers import Ancestral, Ddim, DpmSolver, Sampler
from unweight.diffusion.schedule import cosine_schedule

PROBLEM = LinearGaussianDenoiser(
    matrix=torch.tensor([[1.0, 0.5], [0.0, 1.0], [-1.0, 2.0]], dtype=torch.float64),
    mean=torch.tensor([1.0, -0.5], dtype=torch.float64),
    sd=torch.tensor([0.8, 1.2], dtype=torch.float64),
    noise_sd=0.9,
)


def test_the_denoiser_agrees_with_an_integral() -> None:
    """E[x₀ | x] = ∫ x₀ p(x₀) p(x | x₀) dx₀ / ∫ p(x₀) p(x | x₀) dx₀, on a grid."""
    noisy = torch.tensor([[[0.3, -1.0]], [[2.0, 0.1]]], dtype=torch.float64)
    level = cosine_schedule(10).at(torch.tensor([2, 9]), noisy)
    alpha, sigma = level.along(noisy)
    grid = torch.linspace(-6, 8, 20001, dtype=torch.float64).reshape(-1, 1, 1, 1)
    exponent = ((grid - 1) / 0.7) ** 2 + ((noisy - alpha * grid) / sigma) ** 2
    weight = torch.exp(-exponent / 2)
    expected = (weight * grid).sum(0) / weight.sum(0)
    torch.testing.assert_close(GaussianDenoiser(mean=1.0, sd=0.7)(noisy, level, None), expected)


def test_the_inverse_problem_agrees_with_the_joint_covariance() -> None:
    """E[x₀ | z] = m + C₀z Czz⁻¹ (z − E z) for z = (x, y), without any precision matrix."""
    noisy = torch.tensor([[[0.3], [-1.0]], [[2.0], [0.1]]], dtype=torch.float64)
    measured = torch.linspace(-2, 3, 6, dtype=torch.float64).reshape(2, 3, 1)
    level = cosine_schedule(10).at(torch.tensor([3, 10]), noisy)
    found = PROBLEM(noisy, level, measured)
    prior = torch.diag(PROBLEM.sd**2)
    for item in range(2):
        observe = torch.cat([level.alpha[item] * torch.eye(2).double(), PROBLEM.matrix])
        added = torch.cat([level.sigma[item].expand(2) ** 2, torch.full((3,), 0.81).double()])
        covariance = observe @ prior @ observe.T + torch.diag(added)
        seen = torch.cat([noisy[item, :, 0], measured[item, :, 0]])
        innovation = torch.linalg.solve(covariance, seen - observe @ PROBLEM.mean)
        torch.testing.assert_close(found[item, :, 0], PROBLEM.mean + prior @ observe.T @ innovation)
    torch.testing.assert_close(found[1], PROBLEM.posterior_mean(measured)[1])


def inside(sampler: Sampler, places: int, draws: int) -> Tensor:
    """Return how often the truth lies within the range of so many posterior samples, by channel."""
    prior, error = (item_noise(7, [k], (c, places), torch.float64).normal() for k, c in ((0, 2), (1, 3)))
    truth = PROBLEM.mean[:, None] + PROBLEM.sd[:, None] * prior
    measured = torch.einsum("mc,bcp->bmp", PROBLEM.matrix, truth) + PROBLEM.noise_sd * error
    noise = item_noise(8, range(draws), (2, places), torch.float64)
    sample = sampler(PROBLEM, noise, measured.expand(draws, -1, -1))
    within = (truth[0] > sample.amin(0)) & (truth[0] < sample.amax(0))
    return within.double().mean(dim=1)


@pytest.mark.parametrize(
    "sampler", [DpmSolver(schedule=cosine_schedule(100)), Ancestral(schedule=cosine_schedule(400))]
)
def test_posterior_samples_cover_at_their_nominal_rate(sampler: Sampler) -> None:
    """The truth is one more draw from the posterior: of 19 and it, it is an extreme 2 times in 20."""
    # Four standard errors of 4000 places, and half a per cent for the steps.
    assert inside(sampler, 4000, 19).tolist() == pytest.approx(
        [0.9, 0.9], abs=4 * (0.09 / 4000) ** 0.5 + 0.005
    )


def test_few_steps_do_not_cover() -> None:
    assert float(inside(Ddim(schedule=cosine_schedule(4)), 4000, 19).max()) < 0.8


def test_the_probability_flow_starts_from_the_noise_and_ends_on_the_data() -> None:
    start = item_noise(1, range(2), (1, 9), torch.float64).normal()
    data = GaussianDenoiser(mean=3.0, sd=0.1)
    torch.testing.assert_close(probability_flow(data, cosine_schedule(5), start), 3 + 0.1 * start)


def test_what_is_no_distribution_is_refused() -> None:
    with pytest.raises(UsageError, match="must be positive, not 0"):
        GaussianDenoiser(mean=0.0, sd=0.0)
    with pytest.raises(UsageError, match="of the data and of the noise must be positive"):
        LinearGaussianDenoiser(matrix=PROBLEM.matrix, mean=PROBLEM.mean, sd=PROBLEM.sd, noise_sd=0.0)
    noise = item_noise(1, range(1), (2, 3), torch.float64)
    with pytest.raises(UsageError, match="needs the measurement as condition"):
        Ddim(schedule=cosine_schedule(2))(PROBLEM, noise, None)
