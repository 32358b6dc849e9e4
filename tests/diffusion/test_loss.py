import pytest
import torch
from torch import Tensor

from unweight.core.errors import UsageError
from unweight.diffusion.denoiser import Prediction
from unweight.diffusion.level import item_noise
from unweight.diffusion.loss import DenoisingLoss
from unweight.diffusion.schedule import cosine_schedule, linear_schedule

SD = 0.5


def zero(noisy: Tensor, time: Tensor, condition: Tensor | None) -> Tensor:
    return noisy * 0


def best(noisy: Tensor, time: Tensor, condition: Tensor | None) -> Tensor:
    """E[v | x] of N(0, s²) data on the cosine schedule."""
    alpha, sigma = (
        torch.cos(torch.pi / 2 * time)[:, None, None],
        torch.sin(torch.pi / 2 * time)[:, None, None],
    )
    return alpha * sigma * (1 - SD**2) / (alpha**2 * SD**2 + sigma**2) * noisy


def test_a_network_that_says_nothing_pays_the_variance_of_the_target() -> None:
    clean = SD * item_noise(9, range(200), (1, 100), torch.float64).normal()
    noise = item_noise(1, range(200), (1, 100), torch.float64)
    epsilon = DenoisingLoss(schedule=linear_schedule(), prediction=Prediction.EPSILON)(
        zero, clean, None, noise
    )
    # Four standard errors: the square of 20000 normal values varies by √2.
    assert float(epsilon.mean()) == pytest.approx(1, abs=4 * (2 / 20000) ** 0.5)
    only_noise = DenoisingLoss(schedule=cosine_schedule(1), prediction=Prediction.VELOCITY)
    torch.testing.assert_close(only_noise(zero, clean, None, noise), clean.square().mean((1, 2)))


def test_the_best_network_pays_what_cannot_be_known() -> None:
    """Var(v | x) = s²/(α² s² + σ²), averaged over the levels that are drawn."""
    clean = SD * item_noise(9, range(2000), (1, 20), torch.float64).normal()
    noise = item_noise(1, range(2000), (1, 20), torch.float64)
    schedule = cosine_schedule(4)
    loss = DenoisingLoss(schedule=schedule, prediction=Prediction.VELOCITY)(best, clean, None, noise)
    variance = SD**2 / (schedule.alpha**2 * SD**2 + schedule.sigma**2)
    # Levels are drawn for 2000 items; their variances spread by 0.25, the squares by √2.
    assert float(loss.mean()) == pytest.approx(
        float(variance[1:].mean()), abs=4 * (0.25**2 / 2000 + 0.5 / 40000) ** 0.5
    )


def test_an_item_has_the_same_loss_in_any_batch() -> None:
    loss = DenoisingLoss(schedule=linear_schedule(), prediction=Prediction.EPSILON)
    clean = torch.linspace(-1, 1, 24).reshape(4, 2, 3)
    whole = loss(zero, clean, None, item_noise(1, range(4), (2, 3)))
    part = loss(zero, clean[2:], None, item_noise(1, [2, 3], (2, 3)))
    torch.testing.assert_close(whole[2:], part)


def test_gradients_reach_the_network() -> None:
    layer = torch.nn.Linear(3, 3)
    loss = DenoisingLoss(schedule=cosine_schedule(8), prediction=Prediction.VELOCITY)
    loss(
        lambda x, t, c: layer(x), torch.ones(4, 2, 3), None, item_noise(1, range(4), (2, 3))
    ).mean().backward()
    assert float(layer.weight.grad.abs().sum()) > 0


def test_what_cannot_be_learned_is_refused() -> None:
    with pytest.raises(UsageError, match=r"from epsilon on a schedule that reaches pure noise.*velocity"):
        DenoisingLoss(schedule=cosine_schedule(8), prediction=Prediction.EPSILON)
    loss = DenoisingLoss(schedule=cosine_schedule(8), prediction=Prediction.VELOCITY)
    with pytest.raises(UsageError, match=r"noise of shape \(4, 2, 3\) is given for \(4, 1, 3\)"):
        loss(zero, torch.ones(4, 1, 3), None, item_noise(1, range(4), (2, 3)))
