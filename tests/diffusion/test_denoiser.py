import pytest
import torch
from torch import Tensor

from unweight.core.errors import UsageError
from unweight.diffusion.denoiser import Clipped, NetworkDenoiser, Prediction
from unweight.diffusion.gaussian import GaussianDenoiser
from unweight.diffusion.level import item_noise
from unweight.diffusion.samplers import Ddim
from unweight.diffusion.schedule import cosine_schedule, linear_schedule

SD = 0.3
DATA = GaussianDenoiser(mean=0.0, sd=SD)


def velocity_network(x: Tensor, time: Tensor, condition: Tensor | None) -> Tensor:
    """E[v | x] for N(0, s²) data: α E[ε | x] − σ E[x₀ | x], both by linear regression on x."""
    alpha, sigma = (
        part[:, None, None] for part in (torch.cos(torch.pi / 2 * time), torch.sin(torch.pi / 2 * time))
    )
    return alpha * sigma * (1 - SD**2) / (alpha**2 * SD**2 + sigma**2) * x


def epsilon_network(x: Tensor, time: Tensor, condition: Tensor | None) -> Tensor:
    square = torch.cumprod(1 - torch.linspace(1e-4, 2e-2, 1000, dtype=torch.float64), 0)[
        time.long(), None, None
    ]
    return (1 - square).sqrt() / (square * SD**2 + 1 - square) * x


@pytest.mark.parametrize(
    ("network", "prediction", "schedule"),
    [
        (velocity_network, Prediction.VELOCITY, cosine_schedule(20)),
        (epsilon_network, Prediction.EPSILON, linear_schedule().subsample(20)),
    ],
)
def test_a_network_is_told_its_time_and_its_answer_is_understood(network, prediction, schedule) -> None:
    denoiser = NetworkDenoiser(network=network, prediction=prediction)
    samples = [
        Ddim(schedule=schedule)(one, item_noise(1, range(2), (1, 9), torch.float64), None)
        for one in (denoiser, DATA)
    ]
    torch.testing.assert_close(samples[0], samples[1])


def test_a_module_sees_the_condition() -> None:
    class Adds(torch.nn.Module):
        def forward(self, noisy: Tensor, time: Tensor, condition: Tensor) -> Tensor:
            return noisy * 0 + condition

    denoiser = NetworkDenoiser(network=Adds(), prediction=Prediction.CLEAN)
    sample = Ddim(schedule=cosine_schedule(3))(
        denoiser, item_noise(1, range(2), (1, 9)), torch.ones(2, 1, 9)
    )
    torch.testing.assert_close(sample, torch.ones(2, 1, 9))


def test_a_network_of_the_wrong_shape_is_named() -> None:
    denoiser = NetworkDenoiser(network=lambda x, t, c: x[:, :1], prediction=Prediction.VELOCITY)
    with pytest.raises(UsageError, match=r"returns shape \(2, 1, 9\) for a sample of \(2, 3, 9\)"):
        Ddim(schedule=cosine_schedule(3))(denoiser, item_noise(1, range(2), (3, 9)), None)


def test_clipping_keeps_samples_in_range() -> None:
    wide = GaussianDenoiser(mean=0.0, sd=3.0)
    clipped = Clipped(denoiser=wide, lower=-1.0, upper=1.0)
    samples = [
        Ddim(schedule=cosine_schedule(9))(one, item_noise(1, range(2), (1, 99)), None)
        for one in (wide, clipped)
    ]
    assert float(samples[0].abs().max()) > 3
    assert float(samples[1].abs().max()) <= 1
    with pytest.raises(UsageError, match="nothing lies between 1 and -1"):
        Clipped(denoiser=wide, lower=1.0, upper=-1.0)
