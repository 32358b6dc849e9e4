import pytest
import torch

from unweight.core.errors import UsageError
from unweight.diffusion.denoiser import Clipped
from unweight.diffusion.gaussian import GaussianDenoiser
from unweight.diffusion.level import item_noise
from unweight.diffusion.samplers import Ancestral, ancestral_contraction, posterior_weights, transitions
from unweight.diffusion.schedule import cosine_schedule, linear_schedule
from unweight.testing.check_sampler import check_sampler


def test_it_keeps_the_contract() -> None:
    check_sampler(lambda schedule: Ancestral(schedule=schedule))


def test_the_step_is_that_of_the_paper() -> None:
    """Ho 2020, equation 7, in β and ᾱ."""
    beta = torch.linspace(1e-4, 2e-2, 1000, dtype=torch.float64)
    bar = torch.cumprod(1 - beta, dim=0)
    found = {
        transition.index - 1: posterior_weights(transition) for transition in transitions(linear_schedule())
    }
    for t in (1, 500, 999):
        rest = 1 - bar[t]
        expected = (
            float((1 - beta[t]).sqrt() * (1 - bar[t - 1]) / rest),
            float(bar[t - 1].sqrt() * beta[t] / rest),
            float((beta[t] * (1 - bar[t - 1]) / rest).sqrt()),
        )
        assert found[t] == pytest.approx(expected, rel=1e-9)
    assert found[0] == pytest.approx((0, 1, 0))


@pytest.mark.parametrize("sd", [1.0, 0.2])
def test_a_thousand_steps_recover_the_spread(sd: float) -> None:
    data = GaussianDenoiser(mean=0.7, sd=sd)
    sample = Ancestral(schedule=linear_schedule())(
        data, item_noise(2, range(2), (1, 8000), torch.float64), None
    )
    # Two per cent of steps (see test_contraction) and four standard errors of 16000 values.
    assert float(sample.std() / sd) == pytest.approx(1, abs=0.02 + 4 / 32000**0.5)
    assert float(sample.std() / sd) == pytest.approx(
        ancestral_contraction(linear_schedule(), sd), abs=0.0225
    )
    # The linear schedule starts from N(0, 1) where it should from N(α m, ·); α is 0.0064.
    assert float(sample.mean()) == pytest.approx(0.7, abs=0.0064 * 0.7 + 4 * sd / 16000**0.5)


def test_a_clipped_denoiser_keeps_the_samples_in_range() -> None:
    wide = Clipped(denoiser=GaussianDenoiser(mean=0.0, sd=3.0), lower=-1.0, upper=1.0)
    sample = Ancestral(schedule=linear_schedule().subsample(50))(
        wide, item_noise(2, range(2), (1, 500)), None
    )
    assert 0.9 < float(sample.abs().max()) <= 1


def test_a_condition_for_another_batch_is_refused() -> None:
    data = GaussianDenoiser(mean=0.0, sd=1.0)
    with pytest.raises(UsageError, match=r"1 conditions are given for 2 items.*Repeat the condition"):
        Ancestral(schedule=cosine_schedule(4))(data, item_noise(2, range(2), (1, 5)), torch.ones(1, 1, 5))
