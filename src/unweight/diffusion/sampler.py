"""The contract of a sampler: from noise to a sample of what the denoiser has learned."""

from abc import ABC, abstractmethod

from jaxtyping import Float
from torch import Tensor

from unweight.diffusion.denoiser import Denoiser
from unweight.diffusion.noise import ItemNoise


class Sampler(ABC):
    """Goes down a ladder. Stateless: its fields, the ladder among them, are its configuration.

    The start is standard normal noise, whatever α the noisiest level has. No gradient is kept.
    """

    @abstractmethod
    def __call__(
        self,
        denoiser: Denoiser,
        noise: ItemNoise,
        condition: Float[Tensor, "batch *condition"] | None,
    ) -> Float[Tensor, "batch channels *space"]:
        """Return one sample for each generator of the noise.

        Args:
            denoiser: What knows the data.
            noise: Shape, dtype, device and randomness; its first draw is the start.
            condition: What is known of each item, or None.
        """
