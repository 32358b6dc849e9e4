import pytest
import torch
from torch.nn import functional as F

from tests.nets.probes import draw, reach, scrambled
from unweight.core.seeding import seeded_generator
from unweight.nets.blocks import Modulation, ResidualBlock, ResidualBlockConfig


def build(modulation: Modulation, n_out: int = 4) -> ResidualBlock:
    config = ResidualBlockConfig(condition_features=3, modulation=modulation)
    return scrambled(ResidualBlock(4, n_out, config=config, generator=seeded_generator(0)))


@pytest.mark.parametrize("modulation", list(Modulation))
def test_equation(modulation: Modulation) -> None:
    block, image, condition = build(modulation, 6), draw(2, 4, 5, 5), draw(2, 3)
    hidden = block.first(F.silu(block.first_norm(image)))
    if block.shift is not None:
        hidden = block.second_norm(block.shift(hidden, condition))
    elif block.film is not None:
        hidden = block.film(block.second_norm(hidden), condition)
    expected = block.shortcut(image) + block.second(F.silu(hidden))
    torch.testing.assert_close(block(image, condition), expected)
    assert (block(image, condition) - block(image, -condition)).abs().max() > 1e-4


def test_reaches_two_pixels() -> None:
    block = build(Modulation.FILM)
    assert reach(lambda image: block(image, draw(1, 3)), 4, 9) == 2


def test_derivative() -> None:
    block = build(Modulation.SHIFT)
    inputs = draw(1, 4, 2, 2).requires_grad_(), draw(1, 3).requires_grad_()
    assert torch.autograd.gradcheck(block, inputs)
