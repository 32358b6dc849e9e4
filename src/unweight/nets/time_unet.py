"""The U-Net of denoising diffusion: it also knows how noisy its input is.

    e(t) = MLP([cos(t w_k), sin(t w_k)]),   w_k = 10000^(−k / K),   k = 0 … K−1

J. Ho et al., Denoising diffusion probabilistic models, NeurIPS 2020: group normalisation, attention at the
coarser levels, the embedding of the time added inside every block. The default sizes are those of the
MONAI 2D tutorial network that S. Wang et al., qMRI Diffusor, arXiv 2407.16477, most probably used.

TimeUNetConfig(in_channels=10, out_channels=3) has 18,513,667 parameters.
"""

from dataclasses import dataclass
from math import log
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unweight.core.errors import UsageError
from unweight.nets.blocks import Modulation
from unweight.nets.layers import check_widths, perceptron
from unweight.nets.normalisation import Normalisation
from unweight.nets.unet import UNet, UNetConfig

SLOWEST = 10_000.0


def sinusoids(time: Float[Tensor, " batch"], n_features: int) -> Float[Tensor, "batch features"]:
    """Return n_features / 2 cosines and as many sines of the time, the longest period 20,000 pi."""
    n_waves = n_features // 2
    order = torch.arange(n_waves, dtype=time.dtype, device=time.device) / n_waves
    phase = time[:, None] * torch.exp(-log(SLOWEST) * order)
    return torch.cat([torch.cos(phase), torch.sin(phase)], dim=1)


@final
@dataclass(frozen=True, kw_only=True)
class TimeUNetConfig:
    """What a diffusion U-Net is made of.

    Attributes:
        in_channels: Channels of the noisy image and its condition together.
        out_channels: Channels of the output.
        widths: Channels of each level, finest first; the first is even.
        n_blocks: Blocks of each level on the way down.
        attention_levels: Levels with self-attention, 0 the finest.
        head_channels: Channels of each attention head.
        norm: What statistics are taken over; groups as published.
        space_to_depth: 2 to put squares of 2x2 pixels into channels first, or 1 as published.
    """

    in_channels: int
    out_channels: int
    widths: tuple[int, ...] = (128, 256, 256)
    n_blocks: int = 1
    attention_levels: tuple[int, ...] = (1, 2)
    head_channels: int = 256
    norm: Normalisation = Normalisation.GROUP
    space_to_depth: int = 1

    def __post_init__(self) -> None:
        check_widths(self, self.widths)
        if self.widths[0] % 2:
            raise UsageError(
                f"TimeUNetConfig.widths begins with {self.widths[0]}",
                remedy="Give an even number: half of the time features are cosines, half sines.",
            )
        _ = self.unet

    @property
    def unet(self) -> UNetConfig:
        """The U-Net inside."""
        return UNetConfig(
            in_channels=self.in_channels,
            out_channels=self.out_channels,
            widths=self.widths,
            n_blocks=self.n_blocks,
            space_to_depth=self.space_to_depth,
            norm=self.norm,
            attention_levels=self.attention_levels,
            head_channels=self.head_channels,
            condition_features=4 * self.widths[0],
            modulation=Modulation.SHIFT,
        )


@final
class TimeUNet(nn.Module):
    """A U-Net steered by the time of the diffusion.

    Attributes:
        config: What it was built from.
        to_condition: The perceptron from the sinusoids to the vector that steers the blocks.
        unet: The U-Net.
    """

    def __init__(self, config: TimeUNetConfig, *, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        features = 4 * config.widths[0]
        self.to_condition = perceptron(config.widths[0], features, features, generator=generator)
        self.unet = UNet(config.unet, generator=generator)

    def forward(
        self, image: Float[Tensor, "batch channels height width"], time: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch out_channels height width"]:
        """Return the output at the size of the image.

        Args:
            image: The noisy image and its condition, one above the other.
            time: Step of the diffusion, 0 to about 1000, of each image.
        """
        condition = self.to_condition(sinusoids(time, self.config.widths[0]))
        output: Tensor = self.unet(image, condition)
        return output
