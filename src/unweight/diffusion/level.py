"""How noisy each item of a batch is: x = α x₀ + σ ε, with α² + σ² = 1."""

from dataclasses import dataclass
from typing import final

from jaxtyping import Float
from torch import Tensor


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class NoiseLevel:
    """One level for each item, single precision or better.

    Attributes:
        alpha: Share of the clean sample, 1 (clean) to 0 (noise only).
        sigma: Standard deviation of the noise, 0 to 1.
        time: What a network is told instead of both; its scale is that of the ladder.
    """

    alpha: Float[Tensor, " batch"]
    sigma: Float[Tensor, " batch"]
    time: Float[Tensor, " batch"]

    def along(self, sample: Float[Tensor, "batch *rest"]) -> tuple[Tensor, Tensor]:
        """Return α and σ with as many axes as the sample, ready to multiply it."""
        shape = (-1, *(1,) * (sample.ndim - 1))
        return self.alpha.reshape(shape), self.sigma.reshape(shape)
