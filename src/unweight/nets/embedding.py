"""Vectors that describe positive numbers spanning decades, such as times or signal-to-noise ratios.

    u = ln(x / lower) / ln(upper / lower)
    phi(x) = [u, sin(2^k pi u), cos(2^k pi u)]   for k = 0 … K−1

so that the same factor moves phi equally far at both ends of the range; then a two-layer perceptron.
M. Tancik et al., Fourier features let networks learn high frequency functions, NeurIPS 2020.
"""

from dataclasses import dataclass
from math import inf, log, pi
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from unweight.core.errors import UsageError
from unweight.nets.check_config import check_channels, check_counts
from unweight.nets.layers import perceptron


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
        check_channels("ScalarEmbedding input", found=scalars.shape[1], expected=len(self.config.spans))
        there = torch.ones_like(scalars, dtype=torch.bool) if present is None else present
        waves = [self._waves(scalars, there, column) for column in range(len(self.config.spans))]
        embedded: Tensor = self.mix(torch.cat([*waves, there.to(scalars)], dim=1))
        return embedded

    def _waves(self, scalars: Tensor, there: Tensor, column: int) -> Tensor:
        span, seen = self.config.spans[column], there[:, column]
        # The stand-in keeps NaN out of the derivative too; its features are then put to zero.
        values = torch.where(seen, scalars[:, column], span[0])
        features = log_fourier_features(values, span=span, n_frequencies=self.config.n_frequencies)
        return features * seen[:, None]
