"""The exact yardstick: data that are Gaussian, for which denoiser and samplers have closed forms.

Independent values with mean m and standard deviation s:

    E[x₀ | x] = (α s² x + σ² m) / (α² s² + σ²)

Linear inverse problem, y = A x₀ + n, x₀ ~ N(m, S), n ~ N(0, η²), posterior precision P:

    P = S⁻¹ + Aᵀ A/η²,    E[x₀ | x, y] = (α² + σ² P)⁻¹ (α x + σ² (S⁻¹ m + Aᵀ y/η²))

The deterministic samplers follow dx/dλ, whose exact solution for independent normal values keeps the
number of standard deviations that x is away from its mean (Song 2021, probability flow):

    (x − α m) / √(α² s² + σ²) = constant

The denoisers follow from Bayes' rule for normal variables; how samplers shrink them is in `contraction`.

Reference: Song et al., ICLR 2021 (arXiv 2011.13456), section 4.3.
"""

import math
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from unweight.core.errors import UsageError
from unweight.diffusion.denoiser import Denoiser
from unweight.diffusion.level import NoiseLevel
from unweight.diffusion.schedule import NoiseSchedule


@final
@dataclass(frozen=True, kw_only=True)
class GaussianDenoiser(Denoiser):
    """The best denoiser of independent normal values. The condition is not looked at.

    Attributes:
        mean: Of every value.
        sd: Standard deviation of every value.
    """

    mean: float
    sd: float

    def __post_init__(self) -> None:
        if not self.sd > 0:
            raise UsageError(f"the standard deviation of the data must be positive, not {self.sd:g}")

    def __call__(
        self,
        noisy: Float[Tensor, "batch channels *space"],
        level: NoiseLevel,
        condition: Float[Tensor, "batch *condition"] | None,
    ) -> Float[Tensor, "batch channels *space"]:
        """Return the first equation."""
        alpha, sigma = level.along(noisy)
        clean = (alpha * self.sd**2 * noisy + sigma**2 * self.mean) / (alpha**2 * self.sd**2 + sigma**2)
        return clean.to(noisy)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class LinearGaussianDenoiser(Denoiser):
    """The best denoiser of a linear inverse problem at each place; the condition is y.

    Attributes:
        matrix: A.
        mean: m, of each channel before y is known.
        sd: Square root of the diagonal S, of each channel before y is known.
        noise_sd: η.
    """

    matrix: Float[Tensor, "measurements channels"]
    mean: Float[Tensor, " channels"]
    sd: Float[Tensor, " channels"]
    noise_sd: float

    def __post_init__(self) -> None:
        if not (self.noise_sd > 0 and bool((self.sd > 0).all())):
            raise UsageError("the standard deviations of the data and of the noise must be positive")

    def precision(self) -> Float[Tensor, "channels channels"]:
        """Return P, the inverse covariance once y is known."""
        return torch.diag(self.sd**-2) + self.matrix.T @ self.matrix / self.noise_sd**2

    def posterior_mean(
        self, measured: Float[Tensor, "batch measurements *space"]
    ) -> Float[Tensor, "batch channels *space"]:
        """Return E[x₀ | y]."""
        return torch.einsum("cd,bd...->bc...", torch.linalg.inv(self.precision()), self._pull(measured))

    def __call__(
        self,
        noisy: Float[Tensor, "batch channels *space"],
        level: NoiseLevel,
        condition: Float[Tensor, "batch *condition"] | None,
    ) -> Float[Tensor, "batch channels *space"]:
        """Return the second equation."""
        if condition is None:
            raise UsageError("the denoiser of an inverse problem needs the measurement as condition")
        alpha, sigma = level.along(noisy)
        weighted = alpha * noisy + sigma**2 * self._pull(condition)
        unit = torch.eye(len(self.mean), dtype=self.mean.dtype, device=self.mean.device)
        inverse = torch.linalg.inv(
            level.alpha[:, None, None] ** 2 * unit + level.sigma[:, None, None] ** 2 * self.precision()
        )
        return torch.einsum("bcd,bd...->bc...", inverse, weighted).to(noisy)

    def _pull(
        self, measured: Float[Tensor, "batch measurements *space"]
    ) -> Float[Tensor, "batch channels *space"]:
        prior = (self.mean / self.sd**2).reshape(-1, *(1,) * (measured.ndim - 2))
        return prior + torch.einsum("mc,bm...->bc...", self.matrix, measured) / self.noise_sd**2


def probability_flow(
    data: GaussianDenoiser, schedule: NoiseSchedule, start: Float[Tensor, "batch channels *space"]
) -> Float[Tensor, "batch channels *space"]:
    """Return where a deterministic sampler of endless many steps ends, on the same range of levels."""
    first, last = float(schedule.alpha[0]), float(schedule.alpha[-1])
    quiet, loud = float(schedule.sigma[0]), float(schedule.sigma[-1])
    deviation = (start - last * data.mean) / math.hypot(last * data.sd, loud)
    return first * data.mean + math.hypot(first * data.sd, quiet) * deviation
