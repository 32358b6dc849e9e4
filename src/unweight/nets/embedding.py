"""Embeddings of positive numbers and of sets of tokens, and the modulation (FiLM) they drive.

Vectors that describe positive numbers spanning decades, such as times or signal-to-noise ratios.

    u = ln(x / lower) / ln(upper / lower)
    phi(x) = [u, sin(2^k pi u), cos(2^k pi u)]   for k = 0 … K−1

so that the same factor moves phi equally far at both ends of the range; then a two-layer perceptron.
M. Tancik et al., Fourier features let networks learn high frequency functions, NeurIPS 2020.

One vector for a set of tokens, whatever their order and number.

    e = rho( sum_i w_i phi(x_i) ),   w_i = 1/n (mean)   or   softmax_i(q · k(x_i) / sqrt(d)) (attention)

Sum decomposition: M. Zaheer et al., Deep sets, NeurIPS 2017. Attention pooling with learned queries q:
J. Lee et al., Set transformer, ICML 2019. Missing tokens get weight zero; an empty set gives rho(0).

Feature-wise modulation: a vector that describes the whole image steers each channel.

    FiLM:   y_c = (1 + gamma_c(e)) x_c + beta_c(e)      E. Perez et al., FiLM, AAAI 2018
    Shift:  y_c = x_c + beta_c(e)                       J. Ho et al., DDPM, NeurIPS 2020 (time embedding)

gamma and beta are linear in SiLU(e).
"""

from dataclasses import dataclass
from enum import StrEnum
from math import inf, log, pi
from typing import final

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from unweight.core.errors import UsageError
from unweight.nets.layers import check_channels, check_counts, linear, perceptron, silence


def log_fourier_features(
    values: Float[Tensor, "*shape"], *, span: tuple[float, float], n_frequencies: int = 8
) -> Float[Tensor, "*shape features"]:
    """Return 1 + 2 n_frequencies features of each value; one that is not positive gives NaN.

    Args:
        values: Positive numbers; those outside the span are extrapolated, not clipped.
        span: Lower and upper end of the usual range.
        n_frequencies: The finest wave has 2^(n_frequencies − 2) periods in the span.
    """
    position = (torch.log(values) - log(span[0])) / log(span[1] / span[0])
    octaves = 2.0 ** torch.arange(n_frequencies, dtype=values.dtype, device=values.device)
    phase = pi * position[..., None] * octaves
    return torch.cat([position[..., None], torch.sin(phase), torch.cos(phase)], dim=-1)


@final
@dataclass(frozen=True, kw_only=True)
class ScalarEmbeddingConfig:
    """What a scalar embedding is made of.

    Attributes:
        spans: Lower and upper end of the usual range of each scalar, in the unit of that scalar.
        n_frequencies: Waves per scalar.
        width: Hidden units.
        out_features: Length of the embedding.
    """

    spans: tuple[tuple[float, float], ...]
    n_frequencies: int = 8
    width: int = 128
    out_features: int = 128

    def __post_init__(self) -> None:
        check_counts(self, "n_frequencies", "width", "out_features")
        if not self.spans or not all(0 < lower < upper < inf for lower, upper in self.spans):
            raise UsageError(
                f"ScalarEmbeddingConfig.spans is {self.spans!r}",
                remedy="Give (lower, upper) of each scalar, 0 < lower < upper: the scale is logarithmic.",
            )


@final
class ScalarEmbedding(nn.Module):
    """Log-scaled Fourier features of each scalar, and whether it is there, through a perceptron.

    Attributes:
        config: What it was built from.
        mix: The perceptron.
    """

    def __init__(self, config: ScalarEmbeddingConfig, *, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        n_in = len(config.spans) * (2 + 2 * config.n_frequencies)
        self.mix = perceptron(n_in, config.width, config.out_features, generator=generator)

    def forward(
        self,
        scalars: Float[Tensor, "batch scalars"],
        present: Bool[Tensor, "batch scalars"] | None = None,
    ) -> Float[Tensor, "batch features"]:
        """Return one vector per row.

        Args:
            scalars: Positive numbers.
            present: False where a scalar is missing; what stands there, NaN included, has no influence.
        """
        check_channels("ScalarEmbedding input", actual=scalars.shape[1], expected=len(self.config.spans))
        there = torch.ones_like(scalars, dtype=torch.bool) if present is None else present
        waves = [self._waves(scalars, there, column) for column in range(len(self.config.spans))]
        embedded: Tensor = self.mix(torch.cat([*waves, there.to(scalars)], dim=1))
        return embedded

    def _waves(self, scalars: Tensor, there: Tensor, column: int) -> Tensor:
        span, known = self.config.spans[column], there[:, column]
        # The stand-in keeps NaN out of the derivative too; its features are then put to zero.
        values = torch.where(known, scalars[:, column], span[0])
        features = log_fourier_features(values, span=span, n_frequencies=self.config.n_frequencies)
        return features * known[:, None]


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
        check_channels("SetEmbedding input", actual=tokens.shape[2], expected=self.config.token_features)
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
