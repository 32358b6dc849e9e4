from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from unweight.diffusion.denoiser import Denoiser
from unweight.diffusion.level import ItemNoise
from unweight.diffusion.samplers import Ddim, Sampler
from unweight.diffusion.schedule import NoiseSchedule
from unweight.testing.check_sampler import check_sampler
from unweight.testing.contract import ContractError

Change = Callable[[Tensor, ItemNoise], Tensor]
SHARED = torch.Generator().manual_seed(1)


@final
@dataclass(frozen=True, kw_only=True)
class Careless(Sampler):
    """DDIM, and what a careless author makes of it."""

    schedule: NoiseSchedule
    change: Change = lambda sample, noise: sample
    passes_condition: bool = True

    def __call__(
        self,
        denoiser: Denoiser,
        noise: ItemNoise,
        condition: Float[Tensor, "batch *condition"] | None,
    ) -> Tensor:
        given = condition if self.passes_condition else None
        return self.change(Ddim(schedule=self.schedule)(denoiser, noise, given), noise)


def only_on_data(change: Change) -> Change:
    """Leave the sample with the all-knowing denoiser as it is: it has four values in its last axis."""
    return lambda sample, noise: sample if sample.shape[-1] == 4 else change(sample, noise)


BROKEN: dict[str, tuple[Change, str]] = {
    "another shape": (lambda x, n: x[:, :1], r"samples have shape \(2, 1, 5, 4\), not \(2, 3, 5, 4\)"),
    "double precision": (lambda x, n: x.double(), "samples are torch.float64 from noise in torch.float32"),
    "off the oracle": (lambda x, n: x * 1.01, "knows the clean sample does not give it"),
    "own generator": (
        only_on_data(lambda x, n: x + 1e-3 * torch.randn(x.shape, generator=SHARED, dtype=x.dtype)),
        "the same generators give another sample",
    ),
    "no randomness": (only_on_data(lambda x, n: x * 0 + 1.5), "other generators change nothing"),
    "batch mean": (
        only_on_data(lambda x, n: x - 1e-3 * x.mean()),
        "an item depends on the batch it is in, by .*e-0",
    ),
    "shifted": (only_on_data(lambda x, n: x + 0.2), r"the mean of the samples is 1\.[67]\d+, not 1\.5"),
    "too narrow": (
        only_on_data(lambda x, n: 1.5 + 0.7 * (x - 1.5)),
        r"the standard deviation of the samples is 0\.3\d+, not 0\.5",
    ),
    "not finite": (only_on_data(lambda x, n: x / 0), "some samples are not finite|change nothing|by nan"),
}


def test_a_sampler_that_keeps_its_contract_passes() -> None:
    check_sampler(lambda schedule: Careless(schedule=schedule), 1)


@pytest.mark.parametrize(("change", "message"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_sampler_is_caught(change: Change, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        check_sampler(lambda schedule: Careless(schedule=schedule, change=change))


def test_a_forgotten_condition_is_caught() -> None:
    with pytest.raises(ContractError, match="the condition does not reach the denoiser"):
        check_sampler(lambda schedule: Careless(schedule=schedule, passes_condition=False))


def test_too_few_steps_are_seen() -> None:
    with pytest.raises(ContractError, match="the standard deviation of the samples is"):
        check_sampler(lambda schedule: Careless(schedule=schedule), n_steps=8)


def test_a_promised_order_that_is_not_kept_is_caught() -> None:
    with pytest.raises(ContractError, match=r"to the power (0\.9\d|1\.0\d), not 2 as promised"):
        check_sampler(lambda schedule: Careless(schedule=schedule), 2)
