"""The 2D U-Net: an image is halved level by level, then doubled again beside what each level saw.

O. Ronneberger et al., U-Net, MICCAI 2015, in the form of J. Ho et al., DDPM, NeurIPS 2020: pre-activated
residual blocks, n on the way down and n + 1 on the way up of each level, each of the latter joined with
one of the features kept on the way down; two more at the bottom; strided convolutions down, nearest
neighbour and a convolution up. With space_to_depth 2 each 2x2 square of pixels becomes four channels first
(W. Shi et al., CVPR 2016), a quarter of the work.

With pixel normalisation and no attention the output at a pixel depends on its neighbourhood only, and
shifting the image by a multiple of `stride` shifts the output. Sizes that are no multiple of it are filled
up with zeros at the far ends and cropped back. With four levels and space_to_depth 2 a pixel sees up to 284
pixels each way, so that crops agree exactly only that far from their border.

UNetConfig(in_channels=10, out_channels=6) has 12,967,256 parameters and takes 36.2 GFLOP for 240 x 240
pixels; with attention_levels=(3,) it has 14,021,976 and takes 36.6, and 14.7 million if the vector that
steers it is a time (time_unet).
"""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from unweight.core.errors import UsageError
from unweight.nets.blocks import Modulation, ResidualBlock, ResidualBlockConfig, SelfAttention
from unweight.nets.layers import check_channels, check_counts, check_widths, convolution, silence
from unweight.nets.normalisation import Normalisation, normalisation_layer


@final
@dataclass(frozen=True, kw_only=True)
class UNetConfig:
    """What a U-Net is made of.

    Attributes:
        in_channels: Channels of the image.
        out_channels: Channels of the output.
        widths: Channels of each level, finest first.
        n_blocks: Blocks of each level on the way down.
        space_to_depth: 2 to put squares of 2x2 pixels into channels first, or 1.
        norm: What statistics are taken over; only pixels keep the output independent of the field of view.
        attention_levels: Levels with self-attention, 0 the finest; it makes every pixel depend on all.
        head_channels: Channels of each attention head.
        condition_features: Length of the vector that steers every block, 0 for none.
        modulation: How that vector enters.
        residual: Whether the first out_channels of the input are added to the output.
        zero_head: Whether the last convolution starts at zero.
        linear_head: Whether the last convolution takes the features as they are, without normalisation and
            activation: then a linear path leads from the first convolution to the output, and averages
            over neighbours come easily.
    """

    in_channels: int
    out_channels: int
    widths: tuple[int, ...] = (64, 128, 192, 256)
    n_blocks: int = 1
    space_to_depth: int = 2
    norm: Normalisation = Normalisation.PIXEL
    attention_levels: tuple[int, ...] = ()
    head_channels: int = 64
    condition_features: int = 0
    modulation: Modulation = Modulation.FILM
    residual: bool = False
    zero_head: bool = True
    linear_head: bool = False

    def __post_init__(self) -> None:
        check_counts(self, "in_channels", "out_channels", "n_blocks", "head_channels")
        check_widths(self, self.widths)
        if self.space_to_depth not in (1, 2):
            raise UsageError(f"UNetConfig.space_to_depth is {self.space_to_depth!r}", remedy="Give 1 or 2.")
        if not set(self.attention_levels) <= set(range(len(self.widths))):
            raise UsageError(
                f"UNetConfig.attention_levels is {self.attention_levels!r}",
                remedy=f"Levels are numbered from 0 to {len(self.widths) - 1}.",
            )
        if self.condition_features < 0:
            raise UsageError(
                f"UNetConfig.condition_features is {self.condition_features!r}", remedy="Give 0 for none."
            )
        if self.residual and self.in_channels < self.out_channels:
            raise UsageError(
                f"A residual U-Net adds its first input channels to its output, but has {self.in_channels} "
                f"in and {self.out_channels} out",
                remedy="Give at least as many input channels.",
            )

    @property
    def stride(self) -> int:
        """Pixels by which the image must be shifted for the output to shift alike."""
        return int(self.space_to_depth * 2 ** (len(self.widths) - 1))

    @property
    def block(self) -> ResidualBlockConfig:
        """What its blocks share."""
        return ResidualBlockConfig(
            norm=self.norm, condition_features=self.condition_features, modulation=self.modulation
        )


@final
class Stage(nn.Module):
    """A residual block of one level, then attention if that level has it.

    Attributes:
        block: The block.
        attention: Self-attention, or nothing.
    """

    def __init__(
        self, n_in: int, level: int, *, config: UNetConfig, generator: torch.Generator, attends: bool = True
    ) -> None:
        super().__init__()
        width = config.widths[level]
        self.block = ResidualBlock(n_in, width, config=config.block, generator=generator)
        self.attention: nn.Module = nn.Identity()
        if attends and level in config.attention_levels:
            self.attention = SelfAttention(
                width, head_channels=config.head_channels, norm=config.norm, generator=generator
            )

    def forward(
        self,
        image: Float[Tensor, "batch n_in height width"],
        condition: Float[Tensor, "batch features"] | None,
    ) -> Float[Tensor, "batch n_out height width"]:
        """Return the image at the width of the level."""
        features: Tensor = self.attention(self.block(image, condition))
        return features


@final
class UNet(nn.Module):
    """The network.

    Attributes:
        config: What it was built from.
        stem: First convolution.
        encoder: Stages on the way down, finest first.
        shrink: Strided convolutions between them.
        bottom: Two stages at the lowest level.
        decoder: Stages on the way up, coarsest first.
        grow: Convolutions after each doubling.
        head_norm: Normalisation before the last convolution.
        head: Last convolution.
    """

    def __init__(self, config: UNetConfig, *, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        widths, per_pixel = config.widths, config.space_to_depth**2
        lowest = len(widths) - 1
        self.stem = convolution(config.in_channels * per_pixel, widths[0], generator=generator)
        inputs, self.encoder, self.shrink = [widths[0]], nn.ModuleList(), nn.ModuleList()
        for level, width in enumerate(widths):
            for _ in range(config.n_blocks):
                self.encoder.append(Stage(inputs[-1], level, config=config, generator=generator))
                inputs.append(width)
            if level < lowest:
                self.shrink.append(convolution(width, width, stride=2, generator=generator))
                inputs.append(width)
        self.bottom = nn.ModuleList(
            Stage(widths[-1], lowest, config=config, generator=generator, attends=attends)
            for attends in (True, False)
        )
        self.decoder, self.grow, width = nn.ModuleList(), nn.ModuleList(), widths[-1]
        for level in reversed(range(len(widths))):
            for _ in range(config.n_blocks + 1):
                self.decoder.append(Stage(width + inputs.pop(), level, config=config, generator=generator))
                width = widths[level]
            if level > 0:
                self.grow.append(convolution(width, width, generator=generator))
        self.head_norm = (
            nn.Identity() if config.linear_head else normalisation_layer(config.norm, widths[0])
        )
        self.head = convolution(widths[0], config.out_channels * per_pixel, generator=generator)
        if config.zero_head:
            silence(self.head)

    def forward(
        self,
        image: Float[Tensor, "batch channels height width"],
        condition: Float[Tensor, "batch features"] | None = None,
    ) -> Float[Tensor, "batch out_channels height width"]:
        """Return the output at the size of the image.

        Args:
            image: Of any height and width.
            condition: The vector that steers every block, if the network was built with one.
        """
        config = self.config
        check_channels("UNet image", actual=image.shape[1], expected=config.in_channels)
        result = 0 if condition is None else condition.shape[1]
        check_channels("UNet condition", actual=result, expected=config.condition_features)
        height, width = image.shape[2:]
        padded = F.pad(image, (0, -width % config.stride, 0, -height % config.stride))
        squares = F.pixel_unshuffle(padded, config.space_to_depth)
        # Channels-last: pixel normalisation then needs no copies.
        features = self._run(squares.contiguous(memory_format=torch.channels_last), condition)
        output = F.pixel_shuffle(features, config.space_to_depth)[:, :, :height, :width]
        return output + image[:, : config.out_channels] if config.residual else output

    def _run(self, squares: Tensor, condition: Tensor | None) -> Tensor:
        n_blocks = self.config.n_blocks
        features = self.stem(squares)
        kept = [features]
        for place, stage in enumerate(self.encoder, start=1):
            features = stage(features, condition)
            kept.append(features)
            if place % n_blocks == 0 and place < len(self.encoder):
                features = self.shrink[place // n_blocks - 1](features)
                kept.append(features)
        for stage in self.bottom:
            features = stage(features, condition)
        for place, stage in enumerate(self.decoder, start=1):
            features = stage(torch.cat([features, kept.pop()], dim=1), condition)
            if place % (n_blocks + 1) == 0 and place < len(self.decoder):
                doubled = F.interpolate(features, scale_factor=2, mode="nearest")
                features = self.grow[place // (n_blocks + 1) - 1](doubled)
        if not self.config.linear_head:
            features = F.silu(self.head_norm(features))
        output: Tensor = self.head(features)
        return output
