"""Filters and interpolation that a reconstruction applies to noisy k-space: they correlate the noise.

    zero-filled    W(k) = 1 where |k| < f/2 along each axis of the plane, 0 beyond (k in cycles per voxel)
    Gaussian       W(k) = exp(−2π²s²k²)

The image keeps its grid and its intensity; the noise of a channel falls by √mean(W²), and that of
neighbours is no longer independent. Vendors do both by default: interpolation to 256 or 512 pixels, and
smoothing filters.
"""

import math
from dataclasses import dataclass
from enum import Enum
from typing import final

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from unweight.core.errors import UsageError
from unweight.synth.sampling import Ends, bernoulli, draw_uniform


class Window(Enum):
    """Shape of a filter in k-space."""

    ZERO_FILLED = "zero-filled"
    GAUSSIAN = "Gaussian"


@final
@dataclass(frozen=True, kw_only=True)
class FilterPrior:
    """Ranges that reconstruction filters are drawn from, half of each window.

    Attributes:
        probability: Share of series that are filtered.
        sampled: Share of each axis of k-space that was sampled, for zero-filled images [1].
        sd: Standard deviation of a Gaussian filter [voxel].
    """

    probability: float = 0.4
    sampled: Ends = (0.5, 1.0)
    sd: Ends = (0.3, 0.9)


@final
@dataclass(frozen=True, kw_only=True)
class ReconstructionFilter:
    """One filter, applied along the first two axes.

    Attributes:
        window: Its shape in k-space.
        width: Share of each axis that was sampled, or standard deviation in the image [voxel].

    Raises:
        UsageError: The width is not positive, or more than all of k-space was sampled.
    """

    window: Window
    width: float

    def __post_init__(self) -> None:
        if not self.width > 0 or (self.window is Window.ZERO_FILLED and self.width > 1):
            raise UsageError(f"a {self.window.value} filter of width {self.width:g}")

    def weights(self, n_voxels: int) -> Float[Tensor, " voxels"]:
        """Return W along an axis of so many voxels, in the order of the FFT."""
        frequency = torch.fft.fftfreq(n_voxels, dtype=torch.float64)
        if self.window is Window.ZERO_FILLED:
            window = (frequency.abs() <= self.width / 2).double()
        else:
            window = torch.exp(-2 * (math.pi * self.width * frequency) ** 2)
        weights: Tensor = window.float()
        return weights

    def noise_factor(self, shape: tuple[int, ...]) -> float:
        """Return the standard deviation of filtered white noise over that of the white noise."""
        factors = [float(self.weights(size).square().mean()) for size in shape[:2] if size > 1]
        return math.sqrt(math.prod(factors))

    def __call__(self, image: Complex[Tensor, "*space volumes"]) -> Complex[Tensor, "*space volumes"]:
        """Return the filtered volumes; the grid is taken as periodic."""
        for axis in (axis for axis in (0, 1) if image.shape[axis] > 1):
            shape = [-1 if other == axis else 1 for other in range(image.ndim)]
            window = self.weights(image.shape[axis]).to(image.device).reshape(shape)
            image = torch.fft.ifft(torch.fft.fft(image, dim=axis) * window, dim=axis)
        return image


def draw_filter(prior: FilterPrior, generator: torch.Generator) -> ReconstructionFilter | None:
    """Draw the filter of one series; None if it is not filtered."""
    if prior.probability == 0 or not bernoulli(prior.probability, generator):
        return None
    if bernoulli(0.5, generator):
        return ReconstructionFilter(window=Window.ZERO_FILLED, width=draw_uniform(prior.sampled, generator))
    return ReconstructionFilter(window=Window.GAUSSIAN, width=draw_uniform(prior.sd, generator))
