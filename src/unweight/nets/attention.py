"""Self-attention between the pixels of an image, with a residual connection.

    y = x + P softmax(Q K^T / sqrt(d)) V,   Q, K, V = linear maps of norm(x), per head

A. Vaswani et al., Attention is all you need, NeurIPS 2017. Every pixel sees every other: unlike a
convolution the result depends on the whole picture, so leave it out where crops must agree.
"""

from math import gcd
from typing import final

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

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
