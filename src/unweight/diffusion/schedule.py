"""Noise schedules: the levels that a sampler visits.

The noise levels that a sampler goes down, one after the other.

    linear   α_t² = ∏ (1 − β_i), β from 1e-4 to 2e-2 in 1000 steps      (Ho 2020)
    cosine   α_t = cos(π t/2), σ_t = sin(π t/2), t = k/K               (Nichol 2021, without its offset)
    log SNR  ln(α/σ) falls by equal steps from one end to the other     (Lu 2022)

The linear schedule stops short of pure noise (α = 0.0064); the cosine one reaches it, so that the start
of sampling, N(0, 1), is exact (Lin 2024). Time on the last two is the angle, t = (2/π) atan(σ/α): a
network trained on one can be sampled on the other.

References: Ho, Jain, Abbeel, NeurIPS 2020 (arXiv 2006.11239); Nichol, Dhariwal, ICML 2021
(arXiv 2102.09672); Lin et al., WACV 2024 (arXiv 2305.08891); Lu et al., 2022 (arXiv 2211.01095).

The two short schedules of Fast-DDPM, which trains only on the levels that it samples.

    uniform       times 0, 99, 199, …, 999: eleven of them, though the paper calls them ten
    non-uniform   times 0, 199, 399, 599, 699, 799, 849, 899, 949, 999

Levels of the linear schedule of DDPM; the last step goes from time 0 to the clean sample. The times are
those of the authors' training code (mirthAI/Fast-DDPM, runners/diffusion.py, at a3676503).
Both miss the levels where precision is decided: between times 0 and 99, or 199, there is none.

Reference: Jiang et al., IEEE J Biomed Health Inform 29:7326, 2025 (arXiv 2405.14802).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unweight.core.errors import UsageError
from unweight.diffusion.level import NoiseLevel

UNIT = 1e-9
CLEAN_TIME = -1.0


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class NoiseSchedule:
    """Noise levels from the cleanest to the noisiest, in double precision on the CPU.

    Samplers start on the last and end on the first, which is as a rule clean (α = 1, σ = 0).

    Attributes:
        alpha: Share of the clean sample, falling.
        sigma: Standard deviation of the noise, rising.
        time: The input of a network, rising; the clean level is never an input.
    """

    alpha: Float[Tensor, " levels"]
    sigma: Float[Tensor, " levels"]
    time: Float[Tensor, " levels"]

    def __post_init__(self) -> None:
        if len(self.alpha) < 2:
            raise UsageError(f"a schedule has at least two levels, not {len(self.alpha)}")
        parts = (self.alpha, self.sigma, self.time)
        if any(part.dtype != torch.float64 or part.device.type != "cpu" for part in parts):
            raise UsageError("a schedule is kept in double precision on the CPU")
        if not bool(((self.alpha**2 + self.sigma**2 - 1).abs() <= UNIT).all()):
            raise UsageError("alpha² + sigma² must be 1 on every level of a schedule")
        if not bool((self.alpha >= 0).all() and (self.sigma >= 0).all()):
            raise UsageError("alpha and sigma cannot be negative")
        if not bool((self.alpha.diff() < 0).all() and (self.time.diff() > 0).all()):
            raise UsageError(
                "the levels of a schedule must go from clean to noisy: alpha falling, time rising",
                remedy="Sort them, and leave out those that occur twice.",
            )

    @property
    def n_steps(self) -> int:
        """Steps from the noisiest level to the cleanest."""
        return len(self.alpha) - 1

    def at(self, index: Int[Tensor, " batch"], sample: Float[Tensor, "batch *rest"]) -> NoiseLevel:
        """Return the levels with these indices, one for each item of the sample, on its device."""
        dtype = torch.promote_types(sample.dtype, torch.float32)
        index = index.to(self.alpha.device)
        alpha, sigma, time = (
            part[index].to(device=sample.device, dtype=dtype)
            for part in (self.alpha, self.sigma, self.time)
        )
        return NoiseLevel(alpha=alpha, sigma=sigma, time=time)

    def select(self, indices: Sequence[int]) -> "NoiseSchedule":
        """Return the schedule with only these levels, counted from the cleanest."""
        if not all(0 <= index <= self.n_steps for index in indices):
            raise UsageError(f"the levels of this schedule are 0 to {self.n_steps}, not {list(indices)}")
        index = torch.tensor(list(indices), dtype=torch.long)
        return NoiseSchedule(alpha=self.alpha[index], sigma=self.sigma[index], time=self.time[index])

    def subsample(self, n_steps: int) -> "NoiseSchedule":
        """Return a schedule of so many steps between the same ends, evenly spaced by index."""
        if not 1 <= n_steps <= self.n_steps:
            raise UsageError(f"a schedule of {self.n_steps} steps gives 1 to {self.n_steps}, not {n_steps}")
        return self.select([round(k * self.n_steps / n_steps) for k in range(n_steps + 1)])


def linear_schedule(
    n_steps: int = 1000, beta_first: float = 1e-4, beta_last: float = 2e-2
) -> NoiseSchedule:
    """Return the schedule of DDPM: a clean level, then times 0 to n_steps - 1."""
    if not (n_steps >= 2 and 0 < beta_first <= beta_last < 1):
        raise UsageError(
            f"no linear schedule has {n_steps} steps and beta from {beta_first:g} to {beta_last:g}",
            remedy="At least 2 steps, 0 < first <= last < 1.",
        )
    beta = torch.linspace(beta_first, beta_last, n_steps, dtype=torch.float64)
    square = torch.cat([torch.ones(1, dtype=torch.float64), torch.cumprod(1 - beta, dim=0)])
    time = torch.arange(n_steps + 1, dtype=torch.float64) + CLEAN_TIME
    return NoiseSchedule(alpha=square.sqrt(), sigma=(1 - square).sqrt(), time=time)


def cosine_schedule(n_steps: int) -> NoiseSchedule:
    """Return the schedule of equal angles, from clean (time 0) to pure noise (time 1)."""
    if n_steps < 1:
        raise UsageError(f"a schedule has at least one step, not {n_steps}")
    time = torch.arange(n_steps + 1, dtype=torch.float64) / n_steps
    alpha, sigma = torch.cos(math.pi / 2 * time), torch.sin(math.pi / 2 * time)
    alpha[-1] = 0.0
    return NoiseSchedule(alpha=alpha, sigma=sigma, time=time)


def log_snr_schedule(n_steps: int, lowest: float = -5.0, highest: float = 5.0) -> NoiseSchedule:
    """Return the schedule of equal steps in ln(α/σ), between levels that are neither noise nor clean.

    Samplers of higher order keep their order on it. Samples end with noise of σ = e^−highest.
    """
    if not (n_steps >= 1 and -math.inf < lowest < highest < math.inf):
        raise UsageError(
            f"no schedule has {n_steps} steps and log SNR from {lowest:g} to {highest:g}",
            remedy="At least 1 step, lowest < highest, both finite.",
        )
    log_snr = torch.linspace(highest, lowest, n_steps + 1, dtype=torch.float64)
    alpha, sigma = torch.sigmoid(2 * log_snr).sqrt(), torch.sigmoid(-2 * log_snr).sqrt()
    return NoiseSchedule(alpha=alpha, sigma=sigma, time=torch.atan2(sigma, alpha) * 2 / math.pi)


UNIFORM_TIMES = (0, 99, 199, 299, 399, 499, 599, 699, 799, 899, 999)
NON_UNIFORM_TIMES = (0, 199, 399, 599, 699, 799, 849, 899, 949, 999)


def uniform_schedule() -> NoiseSchedule:
    """Return the evenly spaced schedule: eleven steps."""
    return linear_schedule().select([0, *(time + 1 for time in UNIFORM_TIMES)])


def non_uniform_schedule() -> NoiseSchedule:
    """Return the schedule that is denser at the noisy end: ten steps."""
    return linear_schedule().select([0, *(time + 1 for time in NON_UNIFORM_TIMES)])
