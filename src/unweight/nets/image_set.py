"""A U-Net on a set of images, each with a token that encodes its acquisition.

    h_i = SiLU(FiLM(conv(x_i), e_i)),    e_i = φ(token_i)
    p_s = Σ_i a_si h_i,    a_si = softmax_i(4 q_s · e_i / |e_i|)          for each of a few slots s
    maps = UNet([p_1 … p_S, max_i h_i, further channels];  FiLM by ρ(e))

Every image goes through the same convolution, steered by its own token. Each slot then takes what its query
q_s looks for among the images that are there, by their tokens alone: the result does not depend on their
order, and one may be missing (Set transformer, J. Lee et al., ICML 2019; M. Zaheer et al., Deep sets,
NeurIPS 2017). Slots differ from the first step on, so that no image is lost in a mean. The U-Net is steered
in every block by an embedding of all tokens together. Nothing is averaged over space, so crops and slices
agree.
"""

from dataclasses import dataclass
from typing import final

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from unweight.core.errors import UsageError
from unweight.nets.embedding import FiLM, SetEmbedding, SetEmbeddingConfig
from unweight.nets.layers import check_channels, check_counts, check_widths, convolution, linear, perceptron
from unweight.nets.unet import UNet, UNetConfig

SHARPNESS = 4.0
LOWEST = -1e4
Images = Float[Tensor, "batch images height width"]


@final
@dataclass(frozen=True, kw_only=True)
class ImageSetConfig:
    """What the network is made of.

    Attributes:
        token_features: Length of the token of each image.
        extra_channels: Further channels beside the images, 0 for none.
        out_channels: Channels of the output.
        stem: Features of each image before pooling.
        slots: Queries that look for images.
        widths: Channels of each level of the U-Net, finest first.
        embedding: Length of the embeddings.
    """

    token_features: int
    extra_channels: int
    out_channels: int
    stem: int = 12
    slots: int = 5
    widths: tuple[int, ...] = (32, 64, 96, 128)
    embedding: int = 96

    def __post_init__(self) -> None:
        check_counts(self, "token_features", "out_channels", "stem", "slots", "embedding")
        check_widths(self, self.widths)
        if self.extra_channels < 0:
            raise UsageError(f"ImageSetConfig.extra_channels is {self.extra_channels}", remedy="Give 0.")

    @property
    def unet(self) -> UNetConfig:
        """The U-Net behind the pooling; a linear head, for corrections are small."""
        return UNetConfig(
            in_channels=(self.slots + 1) * self.stem + self.extra_channels,
            out_channels=self.out_channels,
            widths=self.widths,
            condition_features=self.embedding,
            linear_head=True,
        )


@final
class ImageSetUNet(nn.Module):
    """The network.

    Attributes:
        config: What it was built from.
        each: φ, from a token to the embedding of its image.
        first: Convolution that every image goes through.
        steer: FiLM of each image by its embedding.
        queries: q, of the slots.
        all: ρ, from all embeddings to the one that steers the U-Net.
        unet: The U-Net.
    """

    def __init__(self, config: ImageSetConfig, *, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        width = config.embedding
        self.each = perceptron(config.token_features, width, width, generator=generator)
        self.first = convolution(1, config.stem, generator=generator)
        self.steer = FiLM(width, config.stem, generator=generator)
        self.queries = linear(width, config.slots, generator=generator)
        together = SetEmbeddingConfig(token_features=width, width=width, out_features=width)
        self.all = SetEmbedding(together, generator=generator)
        self.unet = UNet(config.unet, generator=generator)

    def forward(
        self,
        images: Images,
        tokens: Float[Tensor, "batch images token"],
        present: Bool[Tensor, "batch images"],
        extra: Float[Tensor, "batch extra height width"] | None = None,
    ) -> Float[Tensor, "batch out height width"]:
        """Return the output at the size of the images.

        Args:
            images: In any order.
            tokens: How each was made.
            present: False for images that are missing; what stands there has no influence.
            extra: Further channels.
        """
        config = self.config
        check_channels("ImageSetUNet tokens", actual=tokens.shape[2], expected=config.token_features)
        result = 0 if extra is None else extra.shape[1]
        check_channels("ImageSetUNet extra channels", actual=result, expected=config.extra_channels)
        there = present[:, :, None]
        embedded = self.each(torch.where(there, tokens, 0.0))
        pooled = self._pooled(torch.where(there[..., None], images, 0.0), embedded, present)
        known = pooled if extra is None else torch.cat([pooled, extra], dim=1)
        maps: Tensor = self.unet(known, self.all(embedded, present))
        return maps

    def _pooled(self, images: Tensor, embedded: Tensor, present: Tensor) -> Tensor:
        """Return what each slot takes, and the maximum over the images."""
        n = images.shape[1]
        single = rearrange(images, "batch image height width -> (batch image) 1 height width")
        steered = self.steer(self.first(single), rearrange(embedded, "b image width -> (b image) width"))
        heard = rearrange(F.silu(steered), "(b image) c h w -> b image c h w", image=n)
        there = present[:, :, None, None, None]
        direction = embedded / embedded.norm(dim=2, keepdim=True).clamp(min=1e-6)
        scores = SHARPNESS * self.queries(direction)
        share = torch.softmax(scores.masked_fill(~present[:, :, None], LOWEST), dim=1)
        taken = torch.einsum("bis, bichw -> bschw", share.to(heard), heard * there)
        slots = rearrange(taken, "b slot c h w -> b (slot c) h w")
        # SiLU is never below −0.28, so that what is missing never is the largest.
        return torch.cat([slots, heard.masked_fill(~there, -1.0).amax(1)], dim=1)
