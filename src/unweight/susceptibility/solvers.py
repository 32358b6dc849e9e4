"""Iterative solvers: conjugate gradients, and ADMM's split of an L1 norm of gradients.

Conjugate gradients for A·x = b, A symmetric and not negative.

Reference: Hestenes, Stiefel, J Res Natl Bur Stand 49:409, 1952.

Few edges: the part of the alternating direction method of multipliers that the total variations share.

For min f(χ) + λ‖∇χ‖₁ the gradient is split off, z = ∇χ, with a debt u. Each step asks f for a χ that is
drawn towards ∇ᵀ(z − u), and then

    z = shrink(∇χ + u),    u = ∇χ + u − z.
"""

from collections.abc import Callable

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from unweight.susceptibility.fourier_grid import differences, differences_back
from unweight.susceptibility.geometry import Triple

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
    result = torch.zeros_like(target)
    residual = target
    search = residual
    size = residual.square().sum()
    enough = tolerance**2 * size
    for _ in range(n_steps):
        if bool(size <= enough):
            break
        image = apply(search)
        length = size / (search * image).sum()
        result = result + length * search
        residual = residual - length * image
        before, size = size, residual.square().sum()
        search = residual + (size / before) * search
    return result


class Edges:
    """The split gradient and its debt, on a periodic grid.

    Args:
        start: Gradient to begin with [ppm/mm].
        voxel_mm: Voxel size along each axis [mm].
        smallest: What a gradient is shrunk by [ppm/mm].
    """

    def __init__(self, start: Float[Tensor, "3 x y z"], voxel_mm: Triple, smallest: float) -> None:
        self._edges, self._debt = start, torch.zeros_like(start)
        self._voxel_mm, self._smallest = voxel_mm, smallest

    def pull(self) -> Complex[Tensor, "x y half"]:
        """Return the half spectrum of what χ is drawn towards, ∇ᵀ(z − u)."""
        result: Tensor = torch.fft.rfftn(differences_back(self._edges - self._debt, self._voxel_mm))
        return result

    def follow(self, chi: Float[Tensor, "x y z"]) -> None:
        """Take the edges of a new χ, shrunk, and keep what was taken away as debt."""
        slope = differences(chi, self._voxel_mm) + self._debt
        self._edges = slope - slope.clamp(-self._smallest, self._smallest)
        self._debt = slope - self._edges
