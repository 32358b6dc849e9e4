"""Layers with reproducible initial weights, and checks of network configurations.

Checks of network configurations, with the message the reader sees.

Convolutions and linear maps whose first weights come from a given generator, never from the global one.

Weights are drawn from N(0, 2 / n) with n the number of inputs to one output, biases are zero, so that the
variance survives a rectifier: K. He et al., Delving deep into rectifiers, ICCV 2015, eq. 10.
Two builds with equally seeded generators are identical, and a build leaves the global generator alone.
"""

import torch
from torch import nn

from unweight.core.errors import UsageError


def check_counts(config: object, *names: str) -> None:
    """Refuse a field that is not a whole number of at least one.

    Raises:
        UsageError: One is not.
    """
    for name in names:
        value = getattr(config, name)
        if not _is_count(value):
            raise UsageError(
                f"{type(config).__name__}.{name} is {value!r}", remedy="Give a whole number of at least 1."
            )


def check_widths(config: object, widths: tuple[int, ...]) -> None:
    """Refuse widths that are not a non-empty tuple of whole numbers of at least one.

    Raises:
        UsageError: They are not.
    """
    if not isinstance(widths, tuple) or not widths or not all(map(_is_count, widths)):
        raise UsageError(
            f"{type(config).__name__}.widths is {widths!r}",
            remedy="Give a tuple with the number of channels of each level, such as (64, 128).",
        )


def check_channels(name: str, *, actual: int, expected: int) -> None:
    """Refuse an input with another number of channels than the network was built for.

    Raises:
        UsageError: The numbers differ.
    """
    if actual != expected:
        raise UsageError(
            f"{name} has {actual} channels, but this network was built for {expected}",
            remedy="Give the channels it was built for, or build it for these.",
        )


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def convolution(
    n_in: int, n_out: int, *, size: int = 3, stride: int = 1, generator: torch.Generator
) -> nn.Conv2d:
    """Return a 2D convolution that keeps the image size at stride 1 (zeros outside)."""
    empty = nn.Conv2d(n_in, n_out, size, stride=stride, padding=size // 2, device="meta")
    layer = empty.to_empty(device=generator.device)
    _draw(layer, n_in * size * size, generator)
    return layer


def linear(n_in: int, n_out: int, *, generator: torch.Generator) -> nn.Linear:
    """Return a linear map with bias."""
    layer = nn.Linear(n_in, n_out, device="meta").to_empty(device=generator.device)
    _draw(layer, n_in, generator)
    return layer


def perceptron(n_in: int, width: int, n_out: int, *, generator: torch.Generator) -> nn.Sequential:
    """Return linear, SiLU, linear."""
    return nn.Sequential(
        linear(n_in, width, generator=generator), nn.SiLU(), linear(width, n_out, generator=generator)
    )


@torch.no_grad()
def silence(layer: nn.Conv2d | nn.Linear) -> None:
    """Set a layer to zero, so that the branch it ends adds nothing until trained."""
    for parameter in layer.parameters():
        parameter.zero_()


def count_parameters(module: nn.Module) -> int:
    """Return how many numbers training would change."""
    return sum(weight.numel() for weight in module.parameters() if weight.requires_grad)


@torch.no_grad()
def _draw(layer: nn.Conv2d | nn.Linear, fan_in: int, generator: torch.Generator) -> None:
    silence(layer)
    layer.weight.normal_(0.0, (2.0 / fan_in) ** 0.5, generator=generator)
