"""What every sampler keeps, ours and other people's: call `check_sampler` in a test of yours."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from unweight.diffusion.denoiser import Denoiser
from unweight.diffusion.gaussian import GaussianDenoiser, probability_flow
from unweight.diffusion.level import ItemNoise, NoiseLevel, item_noise
from unweight.diffusion.samplers import Sampler
from unweight.diffusion.schedule import NoiseSchedule, cosine_schedule, log_snr_schedule
from unweight.testing.contract import demand

SEED = 20240716
DATA = GaussianDenoiser(mean=1.5, sd=0.5)
ITEM = (1, 4096)
N_ITEMS = 4
# 16384 values: the standard error of the sd is 0.55 %, that of the mean 0.8 % of the sd. Four of them,
# and as much again for the steps.
OF_MEAN = 0.06
OF_SD = 0.04
ROUNDING = 1e-10
SHORT = 8
STEPS = (32, 64, 128)
OF_ORDER = 0.2


@final
@dataclass(frozen=True, kw_only=True)
class Oracle(Denoiser):
    """Takes the condition for the clean sample."""

    def __call__(
        self,
        noisy: Float[Tensor, "batch channels *space"],
        level: NoiseLevel,
        condition: Float[Tensor, "batch *condition"] | None,
    ) -> Float[Tensor, "batch channels *space"]:
        """Return the condition."""
        demand(condition is not None, "the condition does not reach the denoiser")
        return noisy if condition is None else condition


def check_sampler(
    build: Callable[[NoiseSchedule], Sampler], order: float | None = None, n_steps: int = 400
) -> None:
    """Demand the contract of `diffusion.samplers`, on Gaussian data with the exact denoiser.

    Shape, dtype, the right mean and standard deviation; the same sample from the same generators and
    another from others; each item the same in any batch; a condition that arrives; and, for a
    deterministic sampler, an error that falls with the steps as promised.

    Args:
        build: Makes the sampler for a schedule: cosine ones, and equal steps in log SNR for the order.
        order: Order of convergence along the probability flow; None if the sampler draws on its way.
        n_steps: Steps after which mean and standard deviation must be right.

    Raises:
        ContractError: Something is not kept.
    """
    _check_form(build(cosine_schedule(SHORT)))
    _check_randomness(build(cosine_schedule(SHORT)))
    _check_moments(build(cosine_schedule(n_steps)))
    if order is not None:
        _check_order(build, order)


def _noise(seed: int = SEED, items: tuple[int, ...] = tuple(range(N_ITEMS))) -> ItemNoise:
    return item_noise(seed, items, ITEM, torch.float64)


def _check_form(sampler: Sampler) -> None:
    noise = item_noise(SEED, range(2), (3, 5, 4), torch.float32)
    given = torch.linspace(-1, 1, 2 * 3 * 5 * 4).reshape(2, 3, 5, 4)
    before = given.clone()
    sample = sampler(Oracle(), noise, given)
    shape = tuple(sample.shape)
    demand(shape == tuple(given.shape), f"samples have shape {shape}, not {tuple(given.shape)}")
    demand(sample.dtype == torch.float32, f"samples are {sample.dtype} from noise in torch.float32")
    demand(torch.equal(given, before), "the sampler changed the condition")
    demand(
        torch.allclose(sample, given, atol=1e-5), "a denoiser that knows the clean sample does not give it"
    )
    demand(not sampler(DATA, noise, None).requires_grad, "samples carry a gradient")


def _check_randomness(sampler: Sampler) -> None:
    sample = sampler(DATA, _noise(), None)
    demand(torch.equal(sample, sampler(DATA, _noise(), None)), "the same generators give another sample")
    demand(
        not torch.allclose(sample, sampler(DATA, _noise(SEED + 1), None)), "other generators change nothing"
    )
    alone = sampler(DATA, _noise(items=(2,)), None)
    difference = float((sample[2:3] - alone).abs().max())
    demand(difference <= ROUNDING, f"an item depends on the batch it is in, by {difference:.1e}")


def _check_moments(sampler: Sampler) -> None:
    sample = sampler(DATA, _noise(), None)
    demand(bool(torch.isfinite(sample).all()), "some samples are not finite")
    mean, sd = float(sample.mean()), float(sample.std())
    demand(
        abs(mean - DATA.mean) <= OF_MEAN * DATA.sd,
        f"the mean of the samples is {mean:.3f}, not {DATA.mean:g}",
    )
    demand(
        abs(sd / DATA.sd - 1) <= OF_SD,
        f"the standard deviation of the samples is {sd:.3f}, not {DATA.sd:g}",
    )


def _check_order(build: Callable[[NoiseSchedule], Sampler], order: float) -> None:
    schedules = [log_snr_schedule(n) for n in STEPS]
    exact = probability_flow(DATA, schedules[0], _noise().normal())
    errors = [
        float((build(schedule)(DATA, _noise(), None) - exact).square().mean().sqrt())
        for schedule in schedules
    ]
    if errors[-1] <= ROUNDING:
        return
    result = math.log(errors[-2] / errors[-1]) / math.log(STEPS[-1] / STEPS[-2])
    demand(
        result >= order - OF_ORDER,
        f"the error falls with the steps to the power {result:.2f}, not {order:g} as promised",
    )
