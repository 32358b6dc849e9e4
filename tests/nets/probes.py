"""What the tests do to a network: move its weights off zero, and look how far a pixel sees."""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from unweight.core.seeding import seeded_generator

Net = TypeVar("Net", bound=nn.Module)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=seeded_generator(seed, "draw"), dtype=torch.float64)


@torch.no_grad()
def scrambled(net: Net, seed: int = 0) -> Net:
    """In float64, with every weight moved, so that no branch is silent."""
    generator = seeded_generator(seed, "scramble")
    for weight in net.double().parameters():
        weight.add_(0.05 * torch.randn(weight.shape, generator=generator, dtype=weight.dtype))
    return net


def reach(net: Callable[[Tensor], Tensor], channels: int, size: int) -> int:
    """How far from the central pixel an input can change the output there (Chebyshev distance)."""
    image = draw(1, channels, size, size).requires_grad_()
    centre = size // 2
    (slope,) = torch.autograd.grad(net(image)[0, :, centre, centre].sum(), image)
    seen = torch.nonzero(slope[0].abs().sum(dim=0))
    return int((seen - centre).abs().max())


def change_when_embedded(
    net: Callable[[Tensor], Tensor], *, channels: int, margin: int, before: int
) -> float:
    """Largest change inside an image when empty background is put around it, away from the border."""
    size = 2 * margin + 8
    image = draw(1, channels, size, size)
    wide = torch.zeros(1, channels, size + before + 16, size + before + 40, dtype=image.dtype)
    wide[..., before : before + size, before : before + size] = image
    with torch.no_grad():
        alone, among = net(image), net(wide)
    inside, there = slice(margin, -margin), slice(before + margin, before + size - margin)
    return float((alone[..., inside, inside] - among[..., there, there]).abs().max())


def change_when_shifted(net: Callable[[Tensor], Tensor], *, channels: int, margin: int, by: int) -> float:
    """Largest difference between the shifted output and the output of the shifted image, inside."""
    size = 2 * margin + by + 8
    image = draw(1, channels, size, size)
    with torch.no_grad():
        shifted = net(torch.roll(image, (by, by), dims=(2, 3)))
        expected = torch.roll(net(image), (by, by), dims=(2, 3))
    inside = slice(margin + by, -margin)
    return float((shifted - expected)[..., inside, inside].abs().max())


def final_loss(net: nn.Module, forward: Callable[[], Tensor], target: Tensor, n_steps: int) -> float:
    """Mean squared error after so many steps of Adam, in units of the variance of the target."""
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(n_steps):
        optimiser.zero_grad()
        loss = ((forward() - target) ** 2).mean()
        torch.autograd.backward(loss)
        optimiser.step()
    return float(loss.detach() / target.var())


def assert_same_weights(one: nn.Module, two: nn.Module) -> None:
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
