import torch
from torch import nn

from tests.nets.probes import draw, reach, scrambled
from unweight.core.seeding import seeded_generator
from unweight.nets.recurrent import PixelGRU


def build() -> PixelGRU:
    return scrambled(PixelGRU(3, 4, generator=seeded_generator(0)))


@torch.no_grad()
def test_agrees_with_the_cell_of_torch() -> None:
    gru, cell = build(), nn.GRUCell(3, 4).double()
    for name, ours in (("ih", gru.from_input), ("hh", gru.from_hidden)):
        getattr(cell, f"weight_{name}").copy_(ours.weight.flatten(1))
        getattr(cell, f"bias_{name}").copy_(ours.bias)
    image, hidden = draw(1, 3, 5, 2), draw(1, 4, 5, 2, seed=1)
    expected = cell(image[0].flatten(1).T, hidden[0].flatten(1).T).T.reshape(1, 4, 5, 2)
    torch.testing.assert_close(gru(image, hidden), expected)


def test_sees_one_pixel() -> None:
    gru = build()
    assert reach(lambda image: gru(image, torch.zeros(1, 4, 7, 7, dtype=image.dtype)), 3, 7) == 0


def test_derivative() -> None:
    inputs = draw(1, 3, 2, 2).requires_grad_(), draw(1, 4, 2, 2).requires_grad_()
    assert torch.autograd.gradcheck(build(), inputs)
