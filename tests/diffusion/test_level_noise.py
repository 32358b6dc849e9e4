import pytest
import torch

from unweight.core.errors import UsageError
from unweight.diffusion.denoiser import Prediction
from unweight.diffusion.gaussian import GaussianDenoiser
from unweight.diffusion.level import ItemNoise, item_noise
from unweight.diffusion.loss import DenoisingLoss
from unweight.diffusion.samplers import Ancestral, Ddim, DpmSolver
from unweight.diffusion.schedule import cosine_schedule


def test_an_item_is_the_same_in_any_batch() -> None:
    many, few = item_noise(1, range(6), (2, 7)), item_noise(1, [4, 2], (2, 7))
    for _ in range(2):
        assert torch.equal(many.normal()[[4, 2]], few.normal())
        assert torch.equal(many.integers(1, 1000)[[4, 2]], few.integers(1, 1000))


def test_the_draws_are_standard_normal_and_even() -> None:
    noise = item_noise(1, range(4), (1, 10000), torch.float64)
    draw = noise.normal()
    # Four standard errors of 40000 values; neighbouring items are unrelated.
    assert abs(float(draw.mean())) < 0.02
    assert abs(float(draw.std()) - 1) < 0.015
    assert float(torch.corrcoef(draw[:, 0]).fill_diagonal_(0).abs().max()) < 0.04
    assert not torch.equal(draw, noise.normal())
    seen = {int(one) for _ in range(50) for one in noise.integers(1, 3)}
    assert seen == {1, 2, 3}


def test_what_cannot_be_drawn_is_refused() -> None:
    one = torch.Generator()
    with pytest.raises(UsageError, match="two items share a generator"):
        ItemNoise(generators=(one, one), shape=(1, 2))
    with pytest.raises(UsageError, match="at least one item"):
        item_noise(1, [], (1, 2))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_samples_stay_on_the_gpu() -> None:
    device = torch.device("cuda")
    schedule, data = cosine_schedule(400), GaussianDenoiser(mean=1.0, sd=0.5)
    for sampler in (Ancestral(schedule=schedule), Ddim(schedule=schedule), DpmSolver(schedule=schedule)):
        sample, again = (
            sampler(data, item_noise(1, range(2), (1, 9000), device=device), None) for _ in range(2)
        )
        assert sample.device.type == "cuda"
        assert torch.equal(sample, again)
        # Four standard errors of 18000 values, and as much for the steps.
        assert float(sample.std()) == pytest.approx(0.5, rel=0.04)
        assert float(sample.mean()) == pytest.approx(1.0, abs=0.03)
    loss = DenoisingLoss(schedule=schedule, prediction=Prediction.VELOCITY)
    noise = item_noise(1, range(2), (1, 9), device=device)
    assert loss(lambda x, t, c: x, torch.ones(2, 1, 9, device=device), None, noise).device.type == "cuda"
