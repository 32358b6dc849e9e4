"""A U-Net that a few numbers about the whole image steer, through a perceptron and FiLM in every block.

    e = perceptron(v),    y_c = (1 + gamma_c(e)) x_c + beta_c(e)  in each block       (`nets.embedding`)

FiLM is the identity until trained, so a network that was trained without the numbers can be continued
with them: its first output is the same (E. Perez et al., FiLM, AAAI 2018).
"""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unweight.core.errors import UsageError
from unweight.nets.layers import check_channels, check_counts, perceptron
from unweight.nets.unet import UNet, UNetConfig


@final
@dataclass(frozen=True, kw_only=True)
class ConditionedUNetConfig:
    """What a conditioned U-Net is made of.

    Attributes:
        unet: The U-Net; its `condition_features` are the length of the embedding.
        n_values: How many numbers steer it.
        width: Hidden units of the perceptron.
    """

    unet: UNetConfig
    n_values: int
    width: int = 64

    def __post_init__(self) -> None:
        check_counts(self, "n_values", "width")
        if self.unet.condition_features < 1:
            raise UsageError(
                "a conditioned U-Net without condition_features",
                remedy="Give its U-Net an embedding length.",
            )


@final
class ConditionedUNet(nn.Module):
    """The network.

    Attributes:
        config: What it was built from.
        embed: From the numbers to the embedding.
        unet: The U-Net.
    """

    def __init__(self, config: ConditionedUNetConfig, *, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        features = config.unet.condition_features
        self.embed = perceptron(config.n_values, config.width, features, generator=generator)
        self.unet = UNet(config.unet, generator=generator)

    def forward(
        self, image: Float[Tensor, "batch channels height width"], values: Float[Tensor, "batch values"]
    ) -> Float[Tensor, "batch out_channels height width"]:
        """Return the output at the size of the image.

        Args:
            image: Of any height and width.
            values: The numbers that steer every block, each of the order of one.

        Raises:
            UsageError: There are more or fewer channels or numbers than the network was built for.
        """
        check_channels("ConditionedUNet values", actual=values.shape[1], expected=self.config.n_values)
        output: Tensor = self.unet(image, self.embed(values))
        return output
