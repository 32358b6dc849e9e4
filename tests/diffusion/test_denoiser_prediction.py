import pytest
import torch

from unweight.core.errors import UsageError
from unweight.diffusion.denoiser import Prediction
from unweight.diffusion.level import diffuse, item_noise
from unweight.diffusion.schedule import cosine_schedule

CLEAN = torch.linspace(-2, 2, 12, dtype=torch.float64).reshape(3, 2, 2)
NOISE = item_noise(3, range(3), (2, 2), torch.float64).normal()
SCHEDULE = cosine_schedule(10)


@pytest.mark.parametrize("prediction", list(Prediction))
def test_the_right_answer_gives_back_the_clean_sample(prediction: Prediction) -> None:
    level = SCHEDULE.at(torch.tensor([1, 5, 9]), CLEAN)
    target = prediction.target(CLEAN, NOISE, level)
    torch.testing.assert_close(prediction.clean(target, diffuse(CLEAN, NOISE, level), level), CLEAN)


def test_velocity_is_the_derivative_by_the_angle() -> None:
    """Salimans and Ho, appendix D: v = dx/dφ with α = cos φ, σ = sin φ."""
    fine = cosine_schedule(200000)
    at = torch.full((3,), 60000)
    ahead, behind = (diffuse(CLEAN, NOISE, fine.at(at + d, CLEAN)) for d in (1, -1))
    slope = (ahead - behind) / (2 * torch.pi / 2 / 200000)
    velocity = Prediction.VELOCITY.target(CLEAN, NOISE, fine.at(at, CLEAN))
    torch.testing.assert_close(slope, velocity, atol=1e-8, rtol=1e-6)


def test_pure_noise_has_a_velocity_but_no_epsilon() -> None:
    level = SCHEDULE.at(torch.tensor([10, 10, 10]), CLEAN)
    velocity = Prediction.VELOCITY.target(CLEAN, NOISE, level)
    torch.testing.assert_close(Prediction.VELOCITY.clean(velocity, NOISE, level), CLEAN)
    with pytest.raises(
        UsageError, match=r"epsilon gives no clean sample at alpha = 0.*Predict the velocity"
    ):
        Prediction.EPSILON.clean(NOISE, NOISE, level)
