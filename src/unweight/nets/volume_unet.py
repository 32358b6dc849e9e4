"""A small 3D U-Net, for smooth maps of a whole volume in little time.

Blocks of 2x2x2 voxels become eight channels first (W. Shi et al., CVPR 2016), so that nothing is computed
at the full resolution. Then O. Cicek et al., 3D U-Net, MICCAI 2016, with group normalisation (Y. Wu and
K. He, ECCV 2018): one block of each level on the way down and `n_blocks` on the way up, but a single one
at the finest level, where most of the work would be. Features of the way down are added on the way up, not
joined. The output leaves through the same rearrangement. Normalisation over groups keeps what is bright and
what is dark, which that over the channels of a voxel removes, and depends a little on the field of view.

VolumeUNetConfig(in_channels=1, out_channels=1) has 1,417,944 parameters.
"""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import final

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from unweight.nets.layers import check_channels, check_counts, check_widths

GROUP_CHANNELS = 8


@final
@dataclass(frozen=True, kw_only=True)
class VolumeUNetConfig:
    """What a 3D U-Net is made of.

    Attributes:
        in_channels: Channels of the volume.
        out_channels: Channels of the output.
        widths: Channels of each level, finest first.
        n_blocks: Convolutions of each level on the way up.
        coarse_channels: Channels of a second input at half the resolution.
    """

    in_channels: int
    out_channels: int
    widths: tuple[int, ...] = (16, 32, 64, 96)
    n_blocks: int = 2
    coarse_channels: int = field(default=0, metadata={"newer": True})

    def __post_init__(self) -> None:
        check_counts(self, "in_channels", "out_channels", "n_blocks")
        check_widths(self, self.widths)

    @property
    def stride(self) -> int:
        """Voxels of which the size of a volume is filled up to a multiple."""
        return int(2 ** len(self.widths))


@final
class VolumeBlock(nn.Module):
    """Convolution, normalisation, rectifier; added to its input where that has the same shape.

    Attributes:
        convolution: 3x3x3.
        norm: Over groups of eight channels.
    """

    def __init__(self, n_in: int, n_out: int, *, stride: int = 1, generator: torch.Generator) -> None:
        super().__init__()
        self.convolution = _convolution(n_in, n_out, stride=stride, generator=generator)
        self.norm = nn.GroupNorm(max(1, n_out // GROUP_CHANNELS), n_out)
        self.added = n_in == n_out and stride == 1

    def forward(self, volume: Float[Tensor, "batch n_in x y z"]) -> Float[Tensor, "batch n_out u v w"]:
        """Return the features."""
        features = F.relu(self.norm(self.convolution(volume)))
        return features + volume if self.added else features


@final
class VolumeUNet(nn.Module):
    """The network.

    Attributes:
        config: What it was built from.
        stem: First block.
        encoder: A block for each level but the finest.
        shrink: Blocks with stride 2 between them.
        decoder: Blocks on the way up, coarsest first, without the finest level.
        grow: 1x1x1 convolutions before each doubling.
        finest: Block of the finest level.
        head: Last convolution, 1x1x1, zero at first.
    """

    def __init__(self, config: VolumeUNetConfig, *, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        self.n_first = 8 * config.in_channels + config.coarse_channels
        self.stem = VolumeBlock(self.n_first, widths[0], generator=generator)
        self.encoder = nn.ModuleList(VolumeBlock(w, w, generator=generator) for w in widths[1:])
        self.shrink = nn.ModuleList(
            VolumeBlock(fine, coarse, stride=2, generator=generator) for fine, coarse in pairwise(widths)
        )
        self.decoder = nn.ModuleList(
            VolumeBlock(w, w, generator=generator)
            for w in reversed(widths[1:])
            for _ in range(config.n_blocks)
        )
        self.grow = nn.ModuleList(
            _convolution(coarse, fine, size=1, generator=generator)
            for coarse, fine in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.finest = VolumeBlock(widths[0], widths[0], generator=generator)
        self.head = _convolution(widths[0], 8 * config.out_channels, size=1, generator=generator)
        with torch.no_grad():
            self.head.weight.zero_()

    def forward(
        self,
        volume: Float[Tensor, "batch channels x y z"],
        coarse: Float[Tensor, "batch coarse_channels u v w"] | None = None,
    ) -> Float[Tensor, "batch out_channels x y z"]:
        """Return the output at the size of the volume.

        Args:
            volume: Of any size; of even sizes if there is a second input.
            coarse: The second input, at half the resolution; None if the network has none.
        """
        x, y, z = volume.shape[2:]
        blocks = self.head(self.features(volume, coarse))
        whole: Tensor = rearrange(blocks, "b (c i j k) x y z -> b c (x i) (y j) (z k)", i=2, j=2, k=2)
        return whole[..., :x, :y, :z]

    def features(
        self,
        volume: Float[Tensor, "batch channels x y z"],
        coarse: Float[Tensor, "batch coarse_channels u v w"] | None = None,
    ) -> Float[Tensor, "batch features u2 v2 w2"]:
        """Return what the last convolution gets, at half the resolution, of sizes the network needs.

        Args:
            volume: As for `forward`.
            coarse: Likewise.
        """
        config = self.config
        check_channels("VolumeUNet volume", actual=volume.shape[1], expected=config.in_channels)
        x, y, z = volume.shape[2:]
        step = config.stride
        padded = F.pad(volume, (0, -z % step, 0, -y % step, 0, -x % step))
        blocks = rearrange(padded, "b c (x i) (y j) (z k) -> b (c i j k) x y z", i=2, j=2, k=2)
        if coarse is not None:
            margins = [n - m for n, m in zip(blocks.shape[:1:-1], coarse.shape[:1:-1], strict=True)]
            blocks = torch.cat([blocks, F.pad(coarse, [side for n in margins for side in (0, n)])], dim=1)
        check_channels("VolumeUNet coarse", actual=blocks.shape[1], expected=self.n_first)
        return self._run(blocks.contiguous(memory_format=torch.channels_last_3d))

    def _run(self, blocks: Tensor) -> Tensor:
        n_blocks = self.config.n_blocks
        features = self.stem(blocks)
        kept = [features]
        for shrink, block in zip(self.shrink, self.encoder, strict=True):
            features = block(shrink(features))
            kept.append(features)
        kept.pop()
        for place, block in enumerate(self.decoder, start=1):
            features = block(features)
            if place % n_blocks == 0:
                coarse = self.grow[place // n_blocks - 1](features)
                features = kept.pop() + F.interpolate(coarse, scale_factor=2, mode="nearest")
        output: Tensor = self.finest(features)
        return output


def _convolution(
    n_in: int, n_out: int, *, size: int = 3, stride: int = 1, generator: torch.Generator
) -> nn.Conv3d:
    """Return a 3D convolution with the starting weights of `layers.convolution`."""
    empty = nn.Conv3d(n_in, n_out, size, stride=stride, padding=size // 2, device="meta")
    layer = empty.to_empty(device=generator.device)
    with torch.no_grad():
        layer.weight.normal_(0.0, (2.0 / (n_in * size**3)) ** 0.5, generator=generator)
        if layer.bias is not None:
            layer.bias.zero_()
        layer.weight.data = layer.weight.contiguous(memory_format=torch.channels_last_3d)
    return layer
