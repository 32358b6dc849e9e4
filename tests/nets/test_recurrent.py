import pytest
import torch
from torch import Tensor

from tests.nets.probes import assert_same_weights, change_when_shifted, draw, reach, scrambled
from unweight.core.errors import UsageError
from unweight.core.seeding import seeded_generator
from unweight.nets import recurrent
from unweight.nets.layers import count_parameters
from unweight.nets.recurrent import RecurrentCell, RecurrentConfig, RecurrentInference

CONFIG = RecurrentConfig(state_channels=2, gradient_channels=2, widths=(6, 8, 7), n_steps=3)


def build() -> RecurrentInference:
    return RecurrentInference(CONFIG, generator=seeded_generator(0))


def test_one_step_for_any_size() -> None:
    cell = RecurrentCell(CONFIG, generator=seeded_generator(0))
    for size in ((1, 1), (5, 8)):
        state = torch.zeros(3, 2, *size)
        increment, hidden = cell(state, state, cell.blank(state))
        assert increment.shape == state.shape
        assert (hidden.shallow.shape, hidden.deep.shape) == ((3, 6, *size), (3, 7, *size))


def test_untrained_it_stands_still() -> None:
    start = draw(1, 2, 5, 5).float()
    assert torch.equal(build()(start, torch.sin), start.expand(3, 1, 2, 5, 5))


def test_unrolled_is_the_cell_step_by_step() -> None:
    net, state = scrambled(build()), draw(1, 2, 5, 5)
    states, hidden = net(state, torch.sin), net.cell.blank(state)
    for step in states:
        increment, hidden = net.cell(state, torch.sin(state), hidden)
        state = state + increment
        torch.testing.assert_close(step, state)
    with_memory = states[1] - states[0]
    forgetful, _ = net.cell(states[0], torch.sin(states[0]), net.cell.blank(state))
    assert (with_memory - forgetful).abs().max() > 1e-3


def test_a_projection_is_applied_after_every_step() -> None:
    net, state = scrambled(build()), draw(1, 2, 5, 5)
    states, hidden = net(state, torch.sin, torch.abs), net.cell.blank(state)
    assert (states >= 0).all()
    for step in states:
        increment, hidden = net.cell(state, torch.sin(state), hidden)
        state = (state + increment).abs()
        torch.testing.assert_close(step, state)


def test_sees_three_pixels_a_step_and_shifts_with_its_input() -> None:
    net = scrambled(build())

    def last(image: Tensor) -> Tensor:
        states: Tensor = net(image, torch.sin)
        return states[-1]

    assert reach(last, 2, 25) == 9
    assert change_when_shifted(last, channels=2, margin=9, by=1) < 1e-10


def test_gradients_pass_through_all_steps_or_not_as_the_caller_wishes() -> None:
    net, start = scrambled(build()), draw(1, 2, 4, 4)

    def slope(detach: bool) -> Tensor:
        states = net(start, lambda state: (state.detach() if detach else state) ** 2)
        return torch.autograd.grad(states[-1].sum(), net.cell.first.weight)[0]

    assert (slope(True) - slope(False)).abs().max() > 1e-6


def test_derivative() -> None:
    config = RecurrentConfig(state_channels=1, gradient_channels=1, widths=(2, 2, 2), n_steps=2)
    net = scrambled(RecurrentInference(config, generator=seeded_generator(0)))
    assert torch.autograd.gradcheck(
        lambda start: net(start, torch.sin), (draw(1, 1, 3, 3).requires_grad_(),)
    )


def test_learns_to_descend_faster_than_the_best_fixed_step() -> None:
    config = RecurrentConfig(state_channels=2, gradient_channels=2, widths=(12, 12, 12), n_steps=3)
    net = RecurrentInference(config, generator=seeded_generator(0))
    stiffness = torch.tensor([0.2, 5.0])[:, None, None]
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)

    def errors(seed: int) -> Tensor:
        goal = draw(4, 2, 8, 8, seed=seed).float()
        states = net(torch.zeros_like(goal), lambda state: stiffness * (state - goal))
        return torch.mean((states - goal) ** 2, dim=(1, 2, 3, 4))

    for seed in range(300):
        optimiser.zero_grad()
        torch.autograd.backward(errors(seed).mean())
        optimiser.step()
    # Three steps of 2 / (0.2 + 5), the best fixed length, shrink either error by (4.8 / 5.2)^3.
    fixed = (4.8 / 5.2) ** 6
    assert float(errors(1000)[-1].detach()) < 0.1 * fixed


def test_number_of_parameters_is_the_documented_one() -> None:
    config = RecurrentConfig(state_channels=3, gradient_channels=3)
    number = count_parameters(RecurrentInference(config, generator=seeded_generator(0)))
    by_hand = (6 * 9 * 36 + 36) + 2 * (36 * 36 * 9 + 36) + 2 * 2 * (36 * 108 + 108) + (36 * 3 + 3)
    assert number == by_hand
    assert f"{number:,}" in str(recurrent.__doc__)


def test_builds_repeat() -> None:
    assert_same_weights(build(), build())


def test_messages() -> None:
    with pytest.raises(UsageError, match=r"RecurrentConfig.widths has 2 entries. The cell needs three"):
        RecurrentConfig(state_channels=1, gradient_channels=1, widths=(4, 4))
    with pytest.raises(
        UsageError, match="RecurrentCell gradient has 1 channels, but this network was built for 2"
    ):
        build()(torch.zeros(1, 2, 4, 4), lambda state: state[:, :1])
