"""Blocks of U-Nets: residual convolutions and self-attention.

Self-attention between the pixels of an image, with a residual connection.

    y = x + P softmax(Q K^T / sqrt(d)) V,   Q, K, V = linear maps of norm(x), per head

A. Vaswani et al., Attention is all you need, NeurIPS 2017. Every pixel sees every other: unlike a
convolution the result depends on the whole picture, so leave it out where crops must agree.

The block U-Nets are built of: two convolutions, each after normalisation and SiLU, around a shortcut.

    h = conv(silu(norm(x)));   y = shortcut(x) + conv(silu(modulate(norm(h), e)))

Full pre-activation: K. He et al., Identity mappings in deep residual networks, ECCV 2016. An embedding e
of the whole image enters by FiLM after the second normalisation, or by a shift before it (DDPM).
"""

from dataclasses import dataclass
from enum import StrEnum
from math import gcd
from typing import final

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from unweight.nets.embedding import FiLM, Shift
from unweight.nets.layers import convolution
from unweight.nets.normalisation import Normalisation, normalisation_layer


@final
class SelfAttention(nn.Module):
    """Multi-head self-attention over pixels.

    Attributes:
        n_heads: Number of heads, each of about head_channels channels.
        norm: Normalisation before attention.
        to_qkv: Queries, keys and values of all heads.
        project: Back to the image.
    """

    def __init__(
        self, channels: int, *, head_channels: int, norm: Normalisation, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.n_heads = channels // gcd(channels, head_channels)
        self.norm = normalisation_layer(norm, channels)
        self.to_qkv = convolution(channels, 3 * channels, size=1, generator=generator)
        self.project = convolution(channels, channels, size=1, generator=generator)

    def forward(
        self, image: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch channels height width"]:
        """Return the image plus what each pixel gathered from the others."""
        pattern = "batch (three head part) height width -> three batch head (height width) part"
        query, key, value = rearrange(self.to_qkv(self.norm(image)), pattern, three=3, head=self.n_heads)
        mixed = F.scaled_dot_product_attention(query, key, value)
        pattern = "batch head (height width) part -> batch (head part) height width"
        gathered: Tensor = self.project(rearrange(mixed, pattern, height=image.shape[2]))
        return image + gathered


class Modulation(StrEnum):
    """How an embedding enters a block.

    Attributes:
        FILM: Scale and shift after the second normalisation.
        SHIFT: Shift before it, as published for DDPM.
    """

    FILM = "film"
    SHIFT = "shift"


@final
@dataclass(frozen=True, kw_only=True)
class ResidualBlockConfig:
    """What all blocks of one network share.

    Attributes:
        norm: What statistics are taken over.
        condition_features: Length of the embedding, 0 for none.
        modulation: How the embedding enters.
    """

    norm: Normalisation = Normalisation.PIXEL
    condition_features: int = 0
    modulation: Modulation = Modulation.FILM


@final
class ResidualBlock(nn.Module):
    """One block; the shortcut is a 1x1 convolution where the width changes.

    Attributes:
        first_norm: Normalisation of the input.
        first: Convolution to the new width.
        shift: Modulation before the second normalisation, if any.
        second_norm: Normalisation at the new width.
        film: Modulation after it, if any.
        second: Convolution at the new width.
        shortcut: From input to output.
    """

    def __init__(
        self, n_in: int, n_out: int, *, config: ResidualBlockConfig, generator: torch.Generator
    ) -> None:
        super().__init__()
        features = config.condition_features
        films = features > 0 and config.modulation is Modulation.FILM
        shifts = features > 0 and config.modulation is Modulation.SHIFT
        self.first_norm = normalisation_layer(config.norm, n_in)
        self.first = convolution(n_in, n_out, generator=generator)
        self.shift = Shift(features, n_out, generator=generator) if shifts else None
        self.second_norm = normalisation_layer(config.norm, n_out)
        self.film = FiLM(features, n_out, generator=generator) if films else None
        self.second = convolution(n_out, n_out, generator=generator)
        same = n_in == n_out
        self.shortcut = nn.Identity() if same else convolution(n_in, n_out, size=1, generator=generator)

    def forward(
        self,
        image: Float[Tensor, "batch n_in height width"],
        condition: Float[Tensor, "batch features"] | None,
    ) -> Float[Tensor, "batch n_out height width"]:
        """Return the image at the new width."""
        hidden = self.first(F.silu(self.first_norm(image)))
        if self.shift is not None:
            hidden = self.shift(hidden, condition)
        hidden = self.second_norm(hidden)
        if self.film is not None:
            hidden = self.film(hidden, condition)
        added: Tensor = self.shortcut(image) + self.second(F.silu(hidden))
        return added
