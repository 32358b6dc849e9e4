"""T1, T2 and PD of each voxel from a few weighted images of known gain, integrated over a grid of T1.

For a T1 on a grid, ln S is linear in what is left, p = ln PD and r = 1/T2 (`signals.weighted`):

    y_i(T1) = ln S_i − ln_recovery_i(T1) = p − TE_i·r + e_i,      e_i ~ N(0, s_i²)

so that with Gaussian priors on p and r their posterior is Gaussian and the evidence of each T1 is known in
closed form; means and standard deviations are those under the sum over T1. The priors bind p and r
to T1 as water does, loosely, so that two images, or three that say nearly the same, still give an answer:

    1/PD ≈ 0.89 + 0.47 s/T1 (±15 %),     1/T2 ≈ 11 / T1 (±80 %)

through white matter, grey matter and CSF of `synth.tissue.materials`; water content after Fatouros and
Marmarou, J Neurosurg 90:109, 1999. s_i holds the noise and what the model does not know (`slack`). The
default grid has steps of 10 %: where T1 is known better, as in fluid at high SNR, its standard deviation
comes out too small, and more points make it right.
"""

import math
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unweight.signals.weighted import echo_time_of, ln_recovery

Images = Float[Tensor, "batch images *space"]
Maps = Float[Tensor, "batch *space"]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class WeightedVoxelPosterior:
    """Estimates of each voxel from its signals alone.

    Attributes:
        ln_t1: Mean of ln T1 [ln s].
        ln_t1_sd: Its standard deviation.
        r2: Mean of 1/T2 [1/s].
        r2_sd: Its standard deviation [1/s].
        ln_pd: Mean of ln PD.
        ln_pd_sd: Its standard deviation.
        misfit: Least squared misfit of images and priors over the grid, in standard deviations.
    """

    ln_t1: Maps
    ln_t1_sd: Maps
    r2: Maps
    r2_sd: Maps
    ln_pd: Maps
    ln_pd_sd: Maps
    misfit: Maps


@final
@dataclass(frozen=True, kw_only=True)
class WeightedPosterior:
    """Integration over a grid of T1.

    Attributes:
        t1: Ends of the grid, even in the logarithm [s].
        n_grid: Points.
        slack: Relative error of the model, beside the noise.
        pd_spread: Standard deviation of ln PD about water of that T1.
        r2_spread: Standard deviation of 1/T2 about that of water of that T1, relative, and at least.
    """

    t1: tuple[float, float] = (0.15, 6.0)
    n_grid: int = 40
    slack: float = 0.02
    pd_spread: float = 0.15
    r2_spread: tuple[float, float] = (0.8, 2.0)

    def __call__(
        self,
        ln_signal: Images,
        ln_sd: Images,
        rows: Float[Tensor, "batch images timings"],
        present: Bool[Tensor, "batch images"],
    ) -> WeightedVoxelPosterior:
        """Return the posterior of each voxel.

        Args:
            ln_signal: Logarithm of each image over its gain.
            ln_sd: Relative noise of each image, σ/S; far above 1 where there is no signal.
            rows: Timings, completed.
            present: False for images that are missing; what stands there has no influence.
        """
        shape = ln_signal.shape[:1] + ln_signal.shape[2:]
        there = present[..., None]
        signal = torch.where(there, ln_signal.flatten(2), 0.0)
        weight = there / (ln_sd.flatten(2).square().nan_to_num(1e6, posinf=1e6) + self.slack**2)
        echo = torch.where(present, echo_time_of(rows), 0.0).to(signal)[..., None]
        grid = torch.linspace(math.log(self.t1[0]), math.log(self.t1[1]), self.n_grid).to(signal)
        size = torch.where(there, ln_recovery(grid.exp(), rows.to(signal)[..., None, :]), 0.0)

        # Each of these is (batch, voxels), or (batch, 1, grid) for priors, or (batch, voxels, grid).
        total, delay, delay2 = (sums(weight, factor) for factor in (torch.ones_like(echo), echo, echo**2))
        pd_mean, r2_mean, r2_sd = self._water(grid)
        pd_weight, r2_weight = 1 / self.pd_spread**2, 1 / r2_sd**2
        left, right, square = self._projected(signal, weight, echo, size)
        h11, h12 = total[..., None] + pd_weight, -delay[..., None]
        h22 = delay2[..., None] + r2_weight
        determinant = h11 * h22 - h12**2
        b1 = left + pd_weight * pd_mean
        b2 = -right + r2_weight * r2_mean
        p = (h22 * b1 - h12 * b2) / determinant
        r = (h11 * b2 - h12 * b1) / determinant
        chi2 = square + pd_weight * pd_mean**2 + r2_weight * r2_mean**2 - b1 * p - b2 * r
        level = -0.5 * (chi2 + determinant.log()) - r2_sd.log()
        share = torch.softmax(level, dim=-1)
        ln_t1, ln_t1_sd = moments(share, grid.expand_as(share), torch.zeros_like(share))
        ln_pd, ln_pd_sd = moments(share, p, h22 / determinant)
        r2, r2_sd_ = moments(share, r, h11 / determinant)
        parts = (ln_t1, ln_t1_sd, r2, r2_sd_, ln_pd, ln_pd_sd, chi2.amin(-1).clamp(min=0.0))
        names = ("ln_t1", "ln_t1_sd", "r2", "r2_sd", "ln_pd", "ln_pd_sd", "misfit")
        return WeightedVoxelPosterior(
            **{name: part.reshape(shape) for name, part in zip(names, parts, strict=True)}
        )

    def _water(self, grid: Float[Tensor, " grid"]) -> tuple[Tensor, Tensor, Tensor]:
        """Return ln PD, 1/T2 and the spread of 1/T2 of water with the T1 of each point of the grid."""
        t1 = grid.exp()
        r2 = 11.0 / t1
        return -torch.log(0.89 + 0.47 / t1), r2, (self.r2_spread[0] * r2).clamp(min=self.r2_spread[1])

    def _projected(
        self, signal: Tensor, weight: Tensor, echo: Tensor, size: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return Σ w y, Σ w TE y and Σ w y² with y = signal − size, without forming y for each image."""
        weighted = weight * signal
        w, v = weight.movedim(1, -1), weighted.movedim(1, -1)
        left = sums(weight, signal)[..., None] - w @ size
        right = sums(weighted, echo)[..., None] - w @ (echo * size)
        square = sums(weighted, signal)[..., None] - 2 * v @ size + w @ size.square()
        return left, right, square


def sums(weight: Float[Tensor, "batch images voxels"], factor: Tensor) -> Float[Tensor, "batch voxels"]:
    """Return the sum over images of weight times factor."""
    total: Tensor = (weight * factor).sum(1)
    return total


def moments(share: Tensor, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of a mixture over the last axis."""
    middle = (share * mean).sum(-1)
    spread = (share * (variance + mean.square())).sum(-1) - middle.square()
    return middle, spread.clamp(min=1e-12).sqrt()
