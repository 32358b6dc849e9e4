"""One vector for a set of tokens, whatever their order and number.

    e = rho( sum_i w_i phi(x_i) ),   w_i = 1/n (mean)   or   softmax_i(q · k(x_i) / sqrt(d)) (attention)

Sum decomposition: M. Zaheer et al., Deep sets, NeurIPS 2017. Attention pooling with learned queries q:
J. Lee et al., Set transformer, ICML 2019. Missing tokens get weight zero; an empty set gives rho(0).
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import final

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from unweight.core.errors import UsageError
from unweight.nets.check_config import check_channels, check_counts
from unweight.nets.layers import linear, perceptron


class Pooling(StrEnum):
    """How tokens are weighted before they are added up.

    Attributes:
        MEAN: All alike.
        ATTENTION: By what they say, each head in its own way.
    """

    MEAN = "mean"
    ATTENTION = "attention"


@final
@dataclass(frozen=True, kw_only=True)
class SetEmbeddingConfig:
    """What a set embedding is made of.

    Attributes:
        token_features: Length of each token.
        width: Hidden units, a multiple of n_heads.
        out_features: Length of the embedding.
        pooling: How tokens are weighted.
        n_heads: Attention heads; without influence on the mean.
    """

    token_features: int
    width: int = 128
    out_features: int = 128
    pooling: Pooling = Pooling.ATTENTION
    n_heads: int = 4

    def __post_init__(self) -> None:
        check_counts(self, "token_features", "width", "out_features", "n_heads")
        if self.width % self.n_heads:
            raise UsageError(
                f"SetEmbeddingConfig.width {self.width} is not a multiple of n_heads {self.n_heads}",
                remedy="Each head needs the same share of the width.",
            )


@final
class SetEmbedding(nn.Module):
    """A permutation-invariant embedding of up to any number of tokens.

    Attributes:
        config: What it was built from.
        each: phi, applied to every token alike.
        scores: Attention score of a token for each head: q · k(x) folded into one linear map.
        together: rho, applied to the pooled vector.
    """

    def __init__(self, config: SetEmbeddingConfig, *, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        self.each = perceptron(config.token_features, config.width, config.width, generator=generator)
        attends = config.pooling is Pooling.ATTENTION
        self.scores = linear(config.width, config.n_heads, generator=generator) if attends else None
        self.together = perceptron(config.width, config.width, config.out_features, generator=generator)

    def forward(
        self, tokens: Float[Tensor, "batch set token"], present: Bool[Tensor, "batch set"] | None = None
    ) -> Float[Tensor, "batch features"]:
        """Return one vector per set.

        Args:
            tokens: The members of each set, in any order.
            present: False where a token is missing; what stands there, NaN included, has no influence.
        """
        check_channels("SetEmbedding input", found=tokens.shape[2], expected=self.config.token_features)
        there = torch.ones_like(tokens[..., 0], dtype=torch.bool) if present is None else present
        each = self.each(torch.where(there[..., None], tokens, 0.0))
        weights = self._weights(each, there)
        heads = rearrange(each, "batch set (head part) -> batch set head part", head=weights.shape[2])
        pooled = rearrange((weights[..., None] * heads).sum(dim=1), "batch head part -> batch (head part)")
        embedded: Tensor = self.together(pooled)
        return embedded

    def _weights(self, each: Tensor, there: Tensor) -> Float[Tensor, "batch set heads"]:
        if self.scores is None:
            share = there.to(each)[..., None]
        else:
            scores: Tensor = self.scores(each)
            # A common offset cancels in the ratio below; the lowest finite number stands for "never".
            scores = scores.masked_fill(~there[..., None], torch.finfo(scores.dtype).min)
            top = (
                scores.amax(dim=1, keepdim=True).detach()
                if scores.shape[1]
                else scores.sum(1, keepdim=True)
            )
            share = torch.exp(scores - top) * there[..., None]
        # A set with any token sums to at least one; an empty one sums to zero and stays there.
        return share / share.sum(dim=1, keepdim=True).clamp_min(1.0)
