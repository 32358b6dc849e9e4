"""The forward process: noise is added to a clean sample.

    q(x_t | x₀) = N(α_t x₀, σ_t² 1)

Reference: Ho, Jain, Abbeel, NeurIPS 2020 (arXiv 2006.11239), equation 4.
"""

from jaxtyping import Float
from torch import Tensor

from unweight.diffusion.level import NoiseLevel


def diffuse(
    clean: Float[Tensor, "batch channels *space"],
    noise: Float[Tensor, "batch channels *space"],
    level: NoiseLevel,
) -> Float[Tensor, "batch channels *space"]:
    """Return the clean sample with this standard normal noise at this level."""
    alpha, sigma = level.along(clean)
    return (alpha * clean + sigma * noise).to(clean)
