"""A residual network at full resolution: the published learned baseline of relaxometry.

    conv1x1 – norm – ReLU – six blocks [conv3x3 – norm – ReLU – conv3x3 – norm, + shortcut, ReLU] – conv1x1

Basic blocks: K. He et al., Deep residual learning, CVPR 2016; the layout is that of EMCqMRI 1.1.17, the
baseline of E. R. Sabidussi et al., Medical Image Analysis 74:102220, 2021. There the normalisation takes
batch statistics at test time too, so that estimates change with the content of the image; here that is
the option `norm=Normalisation.BATCH`, and pixel normalisation the default.

ResNetConfig(in_channels=7, out_channels=3) has 445,507 parameters with either.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from unweight.nets.layers import check_channels, check_counts, check_widths, convolution
from unweight.nets.normalisation import Normalisation, normalisation_layer


@final
@dataclass(frozen=True, kw_only=True)
class ResNetConfig:
    """What a residual network is made of.

    Attributes:
        in_channels: Channels of the image.
        out_channels: Channels of the output.
        widths: Channels of each block.
        norm: What statistics are taken over.
    """

    in_channels: int
    out_channels: int
    widths: tuple[int, ...] = (64,) * 6
    norm: Normalisation = Normalisation.PIXEL

    def __post_init__(self) -> None:
        check_counts(self, "in_channels", "out_channels")
        check_widths(self, self.widths)


@final
class BasicBlock(nn.Module):
    """Two normalised convolutions around a shortcut, which is a 1x1 convolution where the width changes.

    Attributes:
        body: conv3x3, norm, ReLU, conv3x3, norm.
        shortcut: From input to output.
    """

    def __init__(self, n_in: int, n_out: int, *, norm: Normalisation, generator: torch.Generator) -> None:
        super().__init__()
        self.body = nn.Sequential(
            convolution(n_in, n_out, generator=generator),
            normalisation_layer(norm, n_out),
            nn.ReLU(),
            convolution(n_out, n_out, generator=generator),
            normalisation_layer(norm, n_out),
        )
        same = n_in == n_out
        self.shortcut = nn.Identity() if same else convolution(n_in, n_out, size=1, generator=generator)

    def forward(
        self, image: Float[Tensor, "batch n_in height width"]
    ) -> Float[Tensor, "batch n_out height width"]:
        """Return the image at the new width."""
        return F.relu(self.shortcut(image) + self.body(image))


@final
class ResNet(nn.Module):
    """The network; the output at a pixel depends on the 25x25 pixels around it with six blocks.

    Attributes:
        config: What it was built from.
        stem: conv1x1, norm, ReLU.
        blocks: The basic blocks.
        head: conv1x1.
    """

    def __init__(self, config: ResNetConfig, *, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        self.stem = nn.Sequential(
            convolution(config.in_channels, widths[0], size=1, generator=generator),
            normalisation_layer(config.norm, widths[0]),
            nn.ReLU(),
        )
        self.blocks = nn.Sequential(
            *(
                BasicBlock(n_in, n_out, norm=config.norm, generator=generator)
                for n_in, n_out in pairwise((widths[0], *widths))
            )
        )
        self.head = convolution(widths[-1], config.out_channels, size=1, generator=generator)

    def forward(
        self, image: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch out_channels height width"]:
        """Return the output at the size of the image."""
        check_channels("ResNet image", actual=image.shape[1], expected=self.config.in_channels)
        features = self.stem(image.contiguous(memory_format=torch.channels_last))
        output: Tensor = self.head(self.blocks(features))
        return output
