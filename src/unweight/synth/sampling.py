"""Single numbers and frames from a generator: the smallest priors."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from unweight.core.errors import UsageError

# The smallest and the largest value; equal for a number that is fixed.
Ends = tuple[float, float]


def draw_uniform(ends: Ends, generator: torch.Generator) -> float:
    """Return a number between the ends.

    Raises:
        UsageError: They are in the wrong order or not finite.
    """
    lower, upper = ends
    _check(ends, lowest=-math.inf)
    return min(lower + (upper - lower) * _place(generator), upper)


def draw_log_uniform(ends: Ends, generator: torch.Generator) -> float:
    """Return a number between the ends with a density that is even in the logarithm.

    Raises:
        UsageError: They are in the wrong order, not finite or not positive.
    """
    lower, upper = ends
    _check(ends, lowest=0.0)
    value: float = lower * (upper / lower) ** _place(generator)
    return min(max(value, lower), upper)


def draw_count(lower: int, upper: int, generator: torch.Generator) -> int:
    """Return a whole number from `lower` to `upper`, both included."""
    return int(torch.randint(lower, upper + 1, (), generator=generator, device=generator.device))


def draw_shares(n_values: int, generator: torch.Generator) -> Float[Tensor, " values"]:
    """Return numbers between 0 and 1."""
    return torch.rand(n_values, generator=generator, device=generator.device).cpu()


def draw_frame(generator: torch.Generator) -> Float[Tensor, "3 3"]:
    """Draw three orthonormal directions, in rows, evenly over all of them and their mirror images."""
    drawn = torch.randn(3, 3, generator=generator, dtype=torch.float64, device=generator.device).cpu()
    frame, upper = torch.linalg.qr(drawn)
    directions: Tensor = (frame * upper.diagonal().sign()).T
    return directions.float().contiguous()


def bernoulli(probability: float, generator: torch.Generator) -> bool:
    """Return True with this probability."""
    return _place(generator) < probability


def _place(generator: torch.Generator) -> float:
    return float(torch.rand((), generator=generator, device=generator.device, dtype=torch.float64))


def _check(ends: Ends, *, lowest: float) -> None:
    lower, upper = ends
    if not lowest < lower <= upper < math.inf:
        raise UsageError(
            f"nothing can be drawn between {lower:g} and {upper:g}",
            remedy="Give the smaller end first; a logarithmic range must be positive.",
        )
