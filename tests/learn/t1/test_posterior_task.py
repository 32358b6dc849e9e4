import math
from dataclasses import dataclass, replace
from typing import final

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from unweight.core.errors import UsageError
from unweight.core.seeding import seeded_generator
from unweight.learn.t1.features import (
    CHANNELS,
    HELD,
    HELD_SD,
    LOG_SD,
    LOG_SD_SPREAD,
    LOG_T1,
    LOG_T1_SPREAD,
    PRESENT,
)
from unweight.learn.t1.posterior_task import (
    FARTHEST,
    LOG_SD_ENDS,
    N_PARAMETERS,
    OUTPUTS,
    OWN,
    OWN_HELD,
    REACH,
    TAIL,
    PosteriorTask,
    neighbours,
    posterior_config,
    split_output,
)
from unweight.nets.unet import UNet

SIZE = 7
MIDDLE, LEVELS = REACH**2 // 2, 2 * N_PARAMETERS
SHARES = (1.0, 0.25, 0.25)


class Says(nn.Module):
    """A network that gives the same split_output whatever it sees."""

    def __init__(self, output: Tensor) -> None:
        super().__init__()
        self.output = nn.Parameter(output)

    def forward(self, _: Tensor) -> Tensor:
        return self.output


def task() -> PosteriorTask:
    return PosteriorTask(unet=UNet(posterior_config((4, 4)), generator=seeded_generator(0)))


TASK = task()


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Slice:
    """What is known of each voxel of a slice: ln T1 with B free and with B held, and their sd."""

    free: Tensor
    held: Tensor
    scale: Tensor
    held_sd: Tensor
    present: Tensor

    @property
    def channels(self) -> Tensor:
        """All else is 0."""
        channels = torch.zeros(1, len(CHANNELS), *self.free.shape)
        channels[0, 0] = (self.free - LOG_T1) / LOG_T1_SPREAD
        channels[0, HELD] = (self.held - LOG_T1) / LOG_T1_SPREAD
        channels[0, HELD_SD] = (self.held_sd.log() - LOG_SD) / LOG_SD_SPREAD
        channels[0, PRESENT] = 1.0
        return channels * self.present

    @property
    def steps(self) -> Tensor:
        """The scale of all three parameters."""
        return (self.scale * self.present).expand(1, N_PARAMETERS, -1, -1)

    def log_t1(self, output: Tensor) -> Tensor:
        """Return ln T1 as the network says it."""
        correction, _ = split_output(output, self.channels, self.steps)
        return self.free + correction[0, 0] * self.scale


def drawn() -> Slice:
    generator = seeded_generator(0, "slice")
    plane = (SIZE, SIZE)
    return Slice(
        free=torch.randn(*plane, generator=generator),
        held=torch.randn(*plane, generator=generator),
        scale=0.01 + 0.2 * torch.rand(*plane, generator=generator),
        held_sd=0.01 + 0.2 * torch.rand(*plane, generator=generator),
        present=torch.ones(*plane),
    )


def level(log_t1: float) -> Slice:
    """Return a slice on which all agree."""
    same = torch.full((SIZE, SIZE), log_t1)
    return replace(drawn(), free=same, held=same)


def nothing(*shape: int) -> Tensor:
    return torch.zeros(1, OUTPUTS, *(shape or (SIZE, SIZE)))


def test_neighbours_are_the_values_around_each_voxel() -> None:
    image = torch.arange(30.0).reshape(1, 1, 5, 6)
    found = neighbours(image)
    assert found.shape == (1, REACH**2, 5, 6)
    assert torch.equal(found[:, MIDDLE], image[:, 0])
    assert found[0, :, 2, 2].tolist() == image[0, 0, 0:5, 0:5].flatten().tolist()
    assert found[0, 0, 0, 0] == 0 and found[0, -1, 0, 0] == image[0, 0, 2, 2]


def test_untrained_it_says_zero() -> None:
    image = torch.randn(1, len(CHANNELS), 9, 9, generator=seeded_generator(0))
    output = task().network(image)
    assert output.shape == (1, OUTPUTS, 9, 9)
    assert not output.any()


def test_zero_is_the_mean_of_both_fits_around_by_inverse_variance() -> None:
    """By hand: e³ for the fit of the voxel, 1 for those around, e⁻³ with B held, over their variances."""
    one = drawn()
    found = one.log_t1(nothing())
    for x, y in ((3, 3), (0, 0), (6, 2), (1, 5)):
        total = weights = 0.0
        for i in range(max(0, x - 2), min(SIZE, x + 3)):
            for j in range(max(0, y - 2), min(SIZE, y + 3)):
                free = (math.exp(OWN) if (i, j) == (x, y) else 1.0) / float(one.scale[i, j]) ** 2
                held = math.exp(OWN_HELD) / float(one.held_sd[i, j]) ** 2
                total += free * float(one.free[i, j]) + held * float(one.held[i, j])
                weights += free + held
        assert float(found[x, y]) == pytest.approx(total / weights, abs=1e-4)


def test_zero_leaves_pd_b_and_every_sd_as_the_fit_has_them() -> None:
    one = drawn()
    correction, log_sd = split_output(nothing(), one.channels, one.steps)
    assert not correction[:, 1:].any()
    assert not log_sd.any()


def test_corrections_are_counted_in_scales() -> None:
    one, output = drawn(), nothing()
    output[:, :N_PARAMETERS] = torch.tensor([2.0, 0.5, -0.25])[:, None, None]
    output[:, N_PARAMETERS : 2 * N_PARAMETERS] = torch.tensor([0.3, 9.0, -9.0])[:, None, None]
    correction, log_sd = split_output(output, one.channels, one.steps)
    still, _ = split_output(nothing(), one.channels, one.steps)
    expected = torch.tensor([2.0, 0.5, -0.25])[:, None, None].expand(3, SIZE, SIZE)
    torch.testing.assert_close((correction - still)[0], expected, rtol=1e-4, atol=1e-4)
    said = torch.tensor([0.3, LOG_SD_ENDS[1], LOG_SD_ENDS[0]])[:, None, None].expand(3, SIZE, SIZE)
    torch.testing.assert_close(log_sd[0], said)


def test_what_all_agree_on_stays_whatever_the_weights() -> None:
    output = 3 * torch.randn(1, OUTPUTS, SIZE, SIZE, generator=seeded_generator(1))
    output[:, :N_PARAMETERS] = 0
    one = level(math.log(1.3))
    torch.testing.assert_close(one.log_t1(output), one.free, rtol=0, atol=1e-5)


def test_levels_that_shut_all_but_the_voxel_give_its_fit() -> None:
    one, output = drawn(), nothing()
    output[:, LEVELS:] = -40.0
    output[:, LEVELS + MIDDLE] = 0.0
    torch.testing.assert_close(one.log_t1(output), one.free, rtol=0, atol=1e-5)
    output[:, LEVELS + MIDDLE] = -40.0
    output[:, LEVELS + REACH**2 + MIDDLE] = 0.0
    torch.testing.assert_close(one.log_t1(output), one.held, rtol=0, atol=1e-5)


def test_a_level_opens_one_neighbour() -> None:
    one, output = drawn(), nothing()
    output[:, LEVELS + MIDDLE + 1] = 40.0  # the next along the last axis
    found = one.log_t1(output)
    torch.testing.assert_close(found[:, :-1], one.free[:, 1:], rtol=0, atol=1e-4)


def test_neighbours_without_signal_have_no_weight() -> None:
    present = torch.ones(SIZE, SIZE)
    present[2, 3] = present[4, 4] = 0.0
    one = replace(drawn(), present=present)
    strange = torch.where(present > 0, one.free, torch.tensor(100.0))
    other = replace(one, free=strange, held=torch.where(present > 0, one.held, strange))
    there = present > 0
    torch.testing.assert_close(
        one.log_t1(nothing())[there], other.log_t1(nothing())[there], rtol=0, atol=1e-6
    )
    # Beside nothing a voxel keeps its own two fits.
    alone = replace(one, present=torch.zeros(SIZE, SIZE))
    alone.present[3, 3] = 1.0
    free, held = math.exp(OWN) / one.scale[3, 3] ** 2, math.exp(OWN_HELD) / one.held_sd[3, 3] ** 2
    expected = (free * one.free[3, 3] + held * one.held[3, 3]) / (free + held)
    assert float(alone.log_t1(nothing())[3, 3]) == pytest.approx(float(expected), abs=1e-5)
    correction, log_sd = split_output(nothing(), alone.channels, alone.steps)
    assert bool(torch.isfinite(correction).all() and torch.isfinite(log_sd).all())


def test_answers_are_in_single_precision_whatever_the_network_computes_in() -> None:
    one = drawn()
    correction, log_sd = split_output(nothing().bfloat16(), one.channels.half(), one.steps.half())
    assert correction.dtype == log_sd.dtype == torch.float32


def all_alike(count: int) -> Tensor:
    """Return the channels of a slice with ln T1 as it is usual."""
    channels = torch.zeros(1, len(CHANNELS), count, count)
    channels[:, PRESENT] = 1.0
    return channels


def batch(count: int, sd: float, mean: float = 0.0) -> dict[str, Tensor]:
    """Return voxels whose truth lies mean ± sd scales off the fit, of a map whose ln T1 is level."""
    generator = seeded_generator(0, "truth")
    target = mean + sd * torch.randn(1, N_PARAMETERS, count, count, generator=generator)
    return {
        "channels": all_alike(count),
        "scale": torch.full((1, N_PARAMETERS, count, count), 0.1),
        "target": target,
        "weight": torch.ones(1, count, count),
    }


def loss(output: Tensor, given: dict[str, Tensor]) -> float:
    return float(TASK.loss(Says(output), given, seeded_generator(0)).detach())


def said(correction: float, log_sd: float, count: int) -> Tensor:
    output = nothing(count, count)
    output[:, :N_PARAMETERS] = correction
    output[:, N_PARAMETERS : 2 * N_PARAMETERS] = log_sd
    return output


def expected_loss(sd: float, log_sd: float) -> float:
    """Integrate over a normal law."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    z = sd * nodes * math.exp(-log_sd)
    each = TAIL**2 * (np.sqrt(1 + (z / TAIL) ** 2) - 1) + log_sd
    return float((weights * each).sum() / weights.sum())


@pytest.mark.parametrize("log_sd", [-0.5, 0.0, 0.7])
def test_loss_is_that_of_its_equation(log_sd: float) -> None:
    found = loss(said(0.0, log_sd, 200), batch(200, sd=1.5))
    # Three maps of 40,000 voxels, whose losses spread by about 2.
    assert found == pytest.approx(sum(SHARES) * expected_loss(1.5, log_sd), abs=4 * 2 / 200)


def test_loss_is_least_at_the_truth_with_about_the_right_sd() -> None:
    """The cut tails make the best sd of a normal law 11 % smaller; calibration takes that back."""
    given, sd = batch(200, sd=1.5, mean=2.0), 1.5
    places = torch.linspace(1.5, 2.5, 11).tolist()
    losses = [loss(said(place, math.log(sd), 200), given) for place in places]
    assert places[losses.index(min(losses))] == pytest.approx(2.0, abs=0.06)
    factors = torch.linspace(0.7, 1.1, 17).tolist()
    found = [loss(said(2.0, math.log(sd * factor), 200), given) for factor in factors]
    wanted = [expected_loss(sd, math.log(sd * factor)) for factor in factors]
    best = factors[found.index(min(found))]
    assert best == pytest.approx(factors[wanted.index(min(wanted))], abs=0.03)
    assert best == pytest.approx(0.89, abs=0.04)


def test_a_hopeless_voxel_costs_in_proportion_to_its_distance() -> None:
    given = batch(8, sd=0.0)
    given["target"][0, 0, 4, 4] = 20.0
    near = loss(nothing(8, 8), given)
    given["target"][0, 0, 4, 4] = 40.0
    assert loss(nothing(8, 8), given) / near == pytest.approx(2.0, abs=0.15)
    for beyond in (FARTHEST, 6e4, torch.inf):
        given["target"][0, 0, 4, 4] = beyond
        assert loss(nothing(8, 8), given) < 3.5 * near


def test_targets_that_are_not_known_do_not_count() -> None:
    given = batch(20, sd=1.0)
    whole = loss(nothing(20, 20), given)
    half = {name: one.clone() for name, one in given.items()}
    half["target"][..., 10:] = torch.nan
    cut = {name: one[..., :10] for name, one in given.items()}
    assert loss(nothing(20, 20), half) == pytest.approx(loss(nothing(20, 10), cut), rel=1e-5)
    assert loss(nothing(20, 20), half) != pytest.approx(whole, rel=1e-5)
    half["target"][:] = torch.nan
    assert loss(nothing(20, 20), half) == 0.0


def test_unknown_targets_pull_on_nothing() -> None:
    given = batch(6, sd=1.0)
    given["target"][0, :, 2, 3] = torch.nan
    network = Says(nothing(6, 6))
    torch.autograd.backward(task().loss(network, given, seeded_generator(0)))
    slope = network.output.grad
    assert slope is not None and bool(torch.isfinite(slope).all())
    assert not slope[0, : 2 * N_PARAMETERS, 2, 3].any()
    assert slope[0, : 2 * N_PARAMETERS, 2, 2].all()


def test_weights_and_shares() -> None:
    given = batch(10, sd=1.0)
    single = []
    for index in range(N_PARAMETERS):
        one = {name: part.clone() for name, part in given.items()}
        for other in set(range(N_PARAMETERS)) - {index}:
            one["target"][:, other] = torch.nan
        single.append(loss(nothing(10, 10), one))
    assert loss(nothing(10, 10), given) == pytest.approx(sum(single), rel=1e-5)
    light = given | {"weight": 0.5 * given["weight"]}
    assert loss(nothing(10, 10), light) == pytest.approx(0.5 * sum(single), rel=1e-5)


def test_a_few_steps_lower_the_loss() -> None:
    made, given = task(), batch(16, sd=1.0, mean=1.0)
    given["channels"][:, 3] = given["target"][:, 2]  # it is told
    optimiser = torch.optim.Adam(made.network.parameters(), lr=1e-2)
    losses = []
    for _ in range(30):
        optimiser.zero_grad()
        one = made.loss(made.network, given, seeded_generator(0))
        torch.autograd.backward(one)
        optimiser.step()
        losses.append(float(one.detach()))
    assert losses[-1] < 0.7 * losses[0]


def test_messages() -> None:
    made = task()
    with pytest.raises(UsageError, match="UNet image has 4 channels, but this network was built for 33"):
        made.network(torch.zeros(1, 4, 8, 8))
