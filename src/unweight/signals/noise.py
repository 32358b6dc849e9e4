"""Noise: how it is drawn, how likely a measured value is, and how much one sample can tell.

    Gaussian   x = s + σ·n                       complex: n in both channels, σ each
    Rician     x = |s + σ·(n₁ + i·n₂)|           ν = |s|
               p(x) = x/σ² · exp[−(x² + ν²)/2σ²] · I₀(x·ν/σ²)

The information of one sample about its noise-free value is 1/σ² for Gaussian noise. For Rician noise
it is the variance of the score,

    J(ν) = 1/σ² · E[(x/σ · I₁(xν/σ²)/I₀(xν/σ²) − ν/σ)²]

which rises from 0 at ν = 0 to 1/σ² at ν ≫ σ (as 1 − σ²/2ν²).

References: Gudbjartsson, Patz, Magn Reson Med 34:910, 1995 (Rician magnitude); Karlsen et al., Magn
Reson Med 41:614, 1999 (its information).
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cache
from typing import final

import numpy as np
import torch
from jaxtyping import Complex, Float
from scipy.special import ive
from torch import Tensor
from torch.special import i0e

from unweight.core.errors import UsageError

# The series for J runs over w = r²/(r² + this), r = ν/σ; it converges fastest near 3.
HALF_WAY = 3.0


class NoiseModel(ABC):
    """What noise does to a noise-free signal, sample by sample and independently."""

    @abstractmethod
    def draw(
        self, signal: Float[Tensor, "*shape"] | Complex[Tensor, "*shape"], generator: torch.Generator
    ) -> Float[Tensor, "*shape"] | Complex[Tensor, "*shape"]:
        """Return one noisy copy, on the device of the signal.

        The numbers are drawn on the device of the generator and then carried over, so that a CPU
        generator gives the same noise wherever the signal lives.
        """

    @abstractmethod
    def log_likelihood(
        self,
        observed: Float[Tensor, "*shape"] | Complex[Tensor, "*shape"],
        signal: Float[Tensor, "*shape"] | Complex[Tensor, "*shape"],
    ) -> Float[Tensor, "*shape"]:
        """Return ln p(observed | signal) of each sample, normalised; sum over volumes for a voxel."""

    @abstractmethod
    def information(
        self, signal: Float[Tensor, "*shape"] | Complex[Tensor, "*shape"]
    ) -> Float[Tensor, "*shape"]:
        """Return the Fisher information of each sample about its noise-free value, per channel."""


@final
@dataclass(frozen=True, kw_only=True)
class Gaussian(NoiseModel):
    """Additive noise of signed and complex data, and of magnitudes far above the noise.

    Attributes:
        sigma: Standard deviation in one channel [unit of the signal].
    """

    sigma: float

    def __post_init__(self) -> None:
        _check_sigma(self.sigma)

    def draw(
        self, signal: Float[Tensor, "*shape"] | Complex[Tensor, "*shape"], generator: torch.Generator
    ) -> Float[Tensor, "*shape"] | Complex[Tensor, "*shape"]:
        """Return s + n; a complex signal gets independent noise in both channels."""
        if signal.is_complex():
            return signal + self.sigma * torch.complex(
                _normal(signal, generator), _normal(signal, generator)
            )
        return signal + self.sigma * _normal(signal, generator)

    def log_likelihood(
        self,
        observed: Float[Tensor, "*shape"] | Complex[Tensor, "*shape"],
        signal: Float[Tensor, "*shape"] | Complex[Tensor, "*shape"],
    ) -> Float[Tensor, "*shape"]:
        """Return −|x − s|²/2σ² − ln(σ√2π), the last term once per channel."""
        residual = (observed - signal) / self.sigma
        channels = 2 if residual.is_complex() else 1
        square = torch.view_as_real(residual).square().sum(-1) if channels == 2 else residual.square()
        return -square / 2 - channels * math.log(self.sigma * math.sqrt(2 * math.pi))

    def information(
        self, signal: Float[Tensor, "*shape"] | Complex[Tensor, "*shape"]
    ) -> Float[Tensor, "*shape"]:
        """Return 1/σ²."""
        return torch.full_like(signal.real, 1 / self.sigma**2)


@final
@dataclass(frozen=True, kw_only=True)
class Rician(NoiseModel):
    """Noise of a magnitude image made from one complex channel.

    Attributes:
        sigma: Standard deviation in each of the two channels before the magnitude was taken [unit of
            the signal].
    """

    sigma: float

    def __post_init__(self) -> None:
        _check_sigma(self.sigma)

    def draw(
        self, signal: Float[Tensor, "*shape"] | Complex[Tensor, "*shape"], generator: torch.Generator
    ) -> Float[Tensor, "*shape"]:
        """Return |s + n₁ + i·n₂|, never negative."""
        along, across = _normal(signal, generator), _normal(signal, generator)
        return torch.hypot(signal.abs() + self.sigma * along, self.sigma * across)

    def log_likelihood(
        self,
        observed: Float[Tensor, "*shape"] | Complex[Tensor, "*shape"],
        signal: Float[Tensor, "*shape"] | Complex[Tensor, "*shape"],
    ) -> Float[Tensor, "*shape"]:
        """Return ln(x/σ²) − (x − ν)²/2σ² + ln[exp(−z)·I₀(z)], z = xν/σ²; −∞ where x is not positive."""
        if observed.is_complex():
            raise UsageError(
                "Rician noise is that of magnitudes, but complex values were observed",
                remedy="Use Gaussian noise for complex data.",
            )
        x, nu = observed / self.sigma, signal.abs() / self.sigma
        likely = torch.log(x.abs()) - (x - nu).square() / 2 + torch.log(i0e(x * nu)) - math.log(self.sigma)
        return torch.where(x > 0, likely, -torch.inf)

    def information(
        self, signal: Float[Tensor, "*shape"] | Complex[Tensor, "*shape"]
    ) -> Float[Tensor, "*shape"]:
        """Return J(ν), right to 6·10⁻⁹ of itself at any ratio ν/σ."""
        if signal.is_complex():
            raise UsageError(
                "Rician noise applies to magnitudes, but the signal is complex",
                remedy="Use Gaussian noise, or a model of magnitude signals.",
            )
        square = (signal.double().abs() / self.sigma).clamp(max=1e100).square()
        w = square / (square + HALF_WAY)
        information = w * _chebyshev_sum(_coefficients(), 2 * w - 1)
        return (information / self.sigma**2).to(signal.dtype)


@cache
def _coefficients() -> tuple[float, ...]:
    """Return the Chebyshev coefficients of σ²J/w over w, r from 0 to ∞.

    J is taken by Gauss-Legendre quadrature over 8.5 standard deviations to either side. That and the
    series together are right to 6·10⁻⁹ of J for every r.
    """
    nodes, weights = np.polynomial.legendre.leggauss(64)
    places = np.polynomial.chebyshev.chebpts1(25)
    w = (1 + places[:, None]) / 2
    r = np.sqrt(HALF_WAY * w / (1 - w))
    lowest = np.maximum(r - 8.5, 0)
    half = (r + 8.5 - lowest) / 2
    x = lowest + half * (1 + nodes)
    density = x * np.exp(-((x - r) ** 2) / 2) * ive(0, x * r)
    score = x * ive(1, x * r) / ive(0, x * r) - r
    information = np.sum(weights * half * density * score**2, axis=1)
    return tuple(np.polynomial.chebyshev.chebfit(places, information / w[:, 0], 24).tolist())


def _chebyshev_sum(
    coefficients: tuple[float, ...], place: Float[Tensor, "*shape"]
) -> Float[Tensor, "*shape"]:
    """Return the series at places between -1 and 1, by Clenshaw's recurrence."""
    above = torch.zeros_like(place)
    current = torch.zeros_like(place)
    for coefficient in reversed(coefficients[1:]):
        above, current = current, 2 * place * current - above + coefficient
    return place * current - above + coefficients[0]


def _check_sigma(sigma: float) -> None:
    if not 0 < sigma < math.inf:
        raise UsageError(f"the standard deviation of noise must be positive and finite, not {sigma:g}")


def _normal(
    signal: Float[Tensor, "*shape"] | Complex[Tensor, "*shape"], generator: torch.Generator
) -> Float[Tensor, "*shape"]:
    drawn = torch.randn(signal.shape, generator=generator, device=generator.device, dtype=signal.real.dtype)
    return drawn.to(signal.device)
