"""Conjugate gradients for A·x = b, A symmetric and not negative.

Reference: Hestenes, Stiefel, J Res Natl Bur Stand 49:409, 1952.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

Vector = Float[Tensor, "*shape"]


def conjugate_gradient(
    apply: Callable[[Tensor], Tensor], target: Vector, n_steps: int, tolerance: float = 1e-3
) -> Vector:
    """Return x after some steps from 0, or when the residual has shrunk to the tolerance.

    Args:
        apply: x ↦ A·x.
        target: b.
        n_steps: Steps at most.
        tolerance: Size of the residual over that of b.
    """
    found = torch.zeros_like(target)
    residual = target
    search = residual
    size = residual.square().sum()
    enough = tolerance**2 * size
    for _ in range(n_steps):
        if bool(size <= enough):
            break
        image = apply(search)
        length = size / (search * image).sum()
        found = found + length * search
        residual = residual - length * image
        before, size = size, residual.square().sum()
        search = residual + (size / before) * search
    return found
