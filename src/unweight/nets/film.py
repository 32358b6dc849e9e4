"""Feature-wise modulation: a vector that describes the whole image steers each channel.

    FiLM:   y_c = (1 + gamma_c(e)) x_c + beta_c(e)      E. Perez et al., FiLM, AAAI 2018
    Shift:  y_c = x_c + beta_c(e)                       J. Ho et al., DDPM, NeurIPS 2020 (time embedding)

gamma and beta are linear in SiLU(e).
"""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from unweight.nets.layers import linear, silence


@final
class FiLM(nn.Module):
    """Scale and shift each channel by an embedding; the identity until trained.

    Attributes:
        to_gain_and_bias: The linear map from the embedding, zero at first.
    """

    def __init__(self, features: int, channels: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.to_gain_and_bias = linear(features, 2 * channels, generator=generator)
        silence(self.to_gain_and_bias)

    def forward(
        self, image: Float[Tensor, "batch channels *space"], embedding: Float[Tensor, "batch features"]
    ) -> Float[Tensor, "batch channels *space"]:
        """Return the modulated image."""
        gain, bias = self.to_gain_and_bias(F.silu(embedding)).chunk(2, dim=1)
        return image * (1.0 + _over_space(gain, image)) + _over_space(bias, image)


@final
class Shift(nn.Module):
    """Shift each channel by an embedding.

    Attributes:
        to_bias: The linear map from the embedding.
    """

    def __init__(self, features: int, channels: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.to_bias = linear(features, channels, generator=generator)

    def forward(
        self, image: Float[Tensor, "batch channels *space"], embedding: Float[Tensor, "batch features"]
    ) -> Float[Tensor, "batch channels *space"]:
        """Return the shifted image."""
        bias: Tensor = self.to_bias(F.silu(embedding))
        return image + _over_space(bias, image)


def _over_space(vector: Tensor, image: Tensor) -> Tensor:
    return vector.reshape(*vector.shape, *(1,) * (image.ndim - 2))
