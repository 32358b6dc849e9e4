import pytest
import torch

from unweight.diffusion.gaussian import GaussianDenoiser
from unweight.diffusion.level import item_noise
from unweight.diffusion.samplers import Ddim, ddim_contraction
from unweight.diffusion.schedule import cosine_schedule, linear_schedule
from unweight.testing.check_sampler import check_sampler
from unweight.testing.contract import ContractError


def test_it_keeps_the_contract_at_first_order() -> None:
    check_sampler(lambda schedule: Ddim(schedule=schedule), 1)


def test_it_does_not_claim_second_order() -> None:
    with pytest.raises(ContractError, match=r"to the power (0\.99|1\.00), not 2"):
        check_sampler(lambda schedule: Ddim(schedule=schedule), 2)


@pytest.mark.parametrize("schedule", [cosine_schedule(8), linear_schedule().subsample(11)])
@pytest.mark.parametrize("sd", [1.0, 0.05])
def test_its_samples_are_as_far_contracted_as_the_closed_form_says(schedule, sd: float) -> None:
    start = item_noise(5, range(2), (1, 50), torch.float64).normal()
    sample = Ddim(schedule=schedule)(
        GaussianDenoiser(mean=0.0, sd=sd), item_noise(5, range(2), (1, 50), torch.float64), None
    )
    torch.testing.assert_close(sample, start * sd * ddim_contraction(schedule, sd))
