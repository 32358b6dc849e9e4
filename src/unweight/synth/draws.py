"""Single random numbers and frames from a generator, on the processor."""

import torch
from jaxtyping import Float
from torch import Tensor


def draw_uniform(n_values: int, generator: torch.Generator) -> Float[Tensor, " values"]:
    """Draw numbers between 0 and 1."""
    return torch.rand(n_values, generator=generator, device=generator.device).cpu()


def draw_between(low: float, high: float, generator: torch.Generator) -> float:
    """Draw one number between two bounds."""
    return low + (high - low) * float(draw_uniform(1, generator))


def draw_integer(n_values: int, generator: torch.Generator) -> int:
    """Draw one of 0, 1 … n − 1."""
    return int(torch.randint(n_values, (1,), generator=generator, device=generator.device)[0])


def draw_frame(generator: torch.Generator) -> Float[Tensor, "3 3"]:
    """Draw three orthonormal directions, in rows, evenly over all of them and their mirror images."""
    drawn = torch.randn(3, 3, generator=generator, dtype=torch.float64, device=generator.device).cpu()
    frame, upper = torch.linalg.qr(drawn)
    return (frame * upper.diagonal().sign()).float()
