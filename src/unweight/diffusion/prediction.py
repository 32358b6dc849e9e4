"""What a network is trained to say, and the clean sample that follows from it.

    clean x₀     ε = noise, x₀ = (x − σ ε)/α     v = α ε − σ x₀, x₀ = α x − σ v

The three hold the same information while 0 < α < 1. At α = 0, pure noise, ε says nothing about x₀;
v is then −x₀. The error of x₀ is that of v times σ, and that of ε times σ/α, which has no bound.

References: Ho, Jain, Abbeel, NeurIPS 2020 (arXiv 2006.11239); Salimans, Ho, ICLR 2022
(arXiv 2202.00512), appendix D.
"""

from enum import Enum

from jaxtyping import Float
from torch import Tensor

from unweight.core.errors import UsageError
from unweight.diffusion.level import NoiseLevel


class Prediction(Enum):
    """The target of a network."""

    CLEAN = "clean"
    EPSILON = "epsilon"
    VELOCITY = "velocity"

    def target(
        self,
        clean: Float[Tensor, "batch channels *space"],
        noise: Float[Tensor, "batch channels *space"],
        level: NoiseLevel,
    ) -> Float[Tensor, "batch channels *space"]:
        """Return what the network should have said."""
        if self is Prediction.CLEAN:
            return clean
        if self is Prediction.EPSILON:
            return noise
        alpha, sigma = level.along(clean)
        return (alpha * noise - sigma * clean).to(clean)

    def clean(
        self,
        predicted: Float[Tensor, "batch channels *space"],
        noisy: Float[Tensor, "batch channels *space"],
        level: NoiseLevel,
    ) -> Float[Tensor, "batch channels *space"]:
        """Return the clean sample that the prediction implies.

        Raises:
            UsageError: ε was predicted where there is nothing but noise.
        """
        if self is Prediction.CLEAN:
            return predicted
        alpha, sigma = level.along(noisy)
        if self is Prediction.VELOCITY:
            return (alpha * noisy - sigma * predicted).to(noisy)
        if bool((alpha <= 0).any()):
            raise UsageError(
                "a prediction of epsilon gives no clean sample at alpha = 0, where all is noise",
                remedy="Predict the velocity, or use a ladder that ends with alpha above 0.",
            )
        return ((noisy - sigma * predicted) / alpha).to(noisy)
