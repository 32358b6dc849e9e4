import pytest
import torch

from tests.nets.probes import assert_same_weights
from unweight.core.seeding import seeded_generator
from unweight.nets.layers import convolution, count_parameters, linear, perceptron, silence


def test_variance_of_the_weights_is_two_over_the_number_of_inputs() -> None:
    layer = convolution(64, 64, generator=seeded_generator(0))
    assert float(layer.weight.detach().var()) == pytest.approx(
        2 / (64 * 9), rel=0.03
    )  # 36,864 draws: 0.7 % standard
    assert layer.bias is not None
    assert not layer.bias.any()


def test_builds_repeat_and_leave_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    assert_same_weights(*(perceptron(3, 5, 2, generator=seeded_generator(7)) for _ in range(2)))
    other = linear(3, 5, generator=seeded_generator(8))
    assert not torch.equal(other.weight, linear(3, 5, generator=seeded_generator(9)).weight)
    assert torch.equal(before, torch.random.get_rng_state())


def test_silence_and_count() -> None:
    layer = linear(3, 5, generator=seeded_generator(0))
    silence(layer)
    assert not any(weight.any() for weight in layer.parameters())
    assert count_parameters(layer) == 3 * 5 + 5


def test_stride_halves_and_size_keeps() -> None:
    image = torch.zeros(1, 2, 8, 6)
    assert convolution(2, 3, stride=2, generator=seeded_generator(0))(image).shape == (1, 3, 4, 3)
    assert convolution(2, 3, size=1, generator=seeded_generator(0))(image).shape == (1, 3, 8, 6)
