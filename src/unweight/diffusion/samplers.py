"""Samplers: the contract, DDPM's ancestral step, DDIM and DPM-Solver++.

The contract of a sampler: from noise to a sample of what the denoiser has learned.

The walk down a schedule that the samplers share: at each level ask the denoiser, then step.

The ancestral sampler of DDPM: every step draws from the posterior of the forward process.

    x' ~ N( (α σ'²)/(α' σ²) x + (α' τ²)/σ² x₀,  τ² σ'²/σ² ),    τ² = σ² − (α/α')² σ'²

α, σ belong to the level of x, primes to the next. The variance is "fixed small", exact if the data
were one point; written for any two levels, so that a schedule may be sub-sampled.

Reference: Ho, Jain, Abbeel, NeurIPS 2020 (arXiv 2006.11239), equations 6 and 7, algorithm 2.

DDIM without noise: the first-order step along the probability flow.

    x' = α' x₀ + (σ'/σ) (x − α x₀)

The same start gives the same sample, with an error that falls as 1/steps. With few steps the samples
are too close together (see `contraction`): their spread is no uncertainty.

Reference: Song, Meng, Ermon, ICLR 2021 (arXiv 2010.02502), equation 12 with η = 0.

DPM-Solver++(2M): the second-order step along the probability flow, one evaluation each.

    λ = ln(α/σ),  h = λ' − λ,  r = h₋/h
    D = (1 + 1/2r) x₀ − (1/2r) x₀₋
    x' = (σ'/σ) x − α' (e^{−h} − 1) D

The minus marks the step before. With D = x₀ this is DDIM; so are the first step, a step that ends
clean (h infinite) and one that follows a step from pure noise (r infinite).

The error falls as 1/steps² on a schedule of equal steps in λ; on the cosine schedule, whose λ has no ends,
more slowly (on Gaussian data to the power 0.6 to 1.7 between 64 and 512 steps). With few steps its
samples are hardly less contracted than those of DDIM where data are narrow: 8 cosine steps keep 24 %
of s = 0.05.

Reference: Lu et al., 2022 (arXiv 2211.01095), algorithm 2.

How much too close together the samples of a few steps lie, when the data are Gaussian.

Samples over data, as standard deviations, for data of standard deviation s:

    DDIM        (1/s) ∏ (α α' s² + σ σ') / (α² s² + σ²)       for s = 1 and cosine: cos(π/2K)^K
    ancestral   the variance V' = w² V + τ² σ'²/σ², w = (weight of x) + (weight of x₀) α s²/(α² s² + σ²)

A first-order sampler of eight steps keeps 86 % of s = 1, but 24 % of s = 0.05. The mean is right in
both as far as the schedule starts from pure noise. So diffuse what is whitened, whose posterior has
s = 1 by construction, and divide the contraction out.

Reference: the step of Song, Meng, Ermon, ICLR 2021 (arXiv 2010.02502), put into the exact denoiser.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from unweight.core.errors import UsageError
from unweight.diffusion.denoiser import Denoiser
from unweight.diffusion.level import ItemNoise
from unweight.diffusion.schedule import NoiseSchedule


class Sampler(ABC):
    """Goes down a schedule. Stateless: its fields, the schedule among them, are its configuration.

    The start is standard normal noise, whatever α the noisiest level has. No gradient is kept.
    """

    @abstractmethod
    def __call__(
        self,
        denoiser: Denoiser,
        noise: ItemNoise,
        condition: Float[Tensor, "batch *condition"] | None,
    ) -> Float[Tensor, "batch channels *space"]:
        """Return one sample for each generator of the noise.

        Args:
            denoiser: What knows the data.
            noise: Shape, dtype, device and randomness; its first draw is the start.
            condition: What is known of each item, or None.
        """


@final
@dataclass(frozen=True, kw_only=True)
class Transition:
    """One step: from a level to the next cleaner one.

    Attributes:
        index: The level it starts from, counted from the cleanest.
        alpha: Share of the clean sample there.
        sigma: Noise there.
        next_alpha: Share of the clean sample after the step.
        next_sigma: Noise after the step.
    """

    index: int
    alpha: float
    sigma: float
    next_alpha: float
    next_sigma: float

    def denoise(
        self,
        schedule: NoiseSchedule,
        denoiser: Denoiser,
        noisy: Float[Tensor, "batch channels *space"],
        condition: Float[Tensor, "batch *condition"] | None,
    ) -> Float[Tensor, "batch channels *space"]:
        """Return the clean sample as seen from the start of the step."""
        level = schedule.at(torch.full((noisy.shape[0],), self.index), noisy)
        return denoiser(noisy, level, condition)


def begin(
    noise: ItemNoise, condition: Float[Tensor, "conditions *condition"] | None
) -> Float[Tensor, "batch channels *space"]:
    """Return the standard normal start of every item.

    Raises:
        UsageError: There is not one condition for each.
    """
    n_items = len(noise.generators)
    if condition is not None and condition.shape[0] != n_items:
        raise UsageError(
            f"{condition.shape[0]} conditions are given for {n_items} items",
            remedy="Repeat the condition, one for each sample.",
        )
    return noise.normal()


def transitions(schedule: NoiseSchedule) -> Iterator[Transition]:
    """Yield the steps of the schedule, from the noisiest level to the cleanest."""
    alpha: list[float] = schedule.alpha.tolist()
    sigma: list[float] = schedule.sigma.tolist()
    for index in range(schedule.n_steps, 0, -1):
        yield Transition(
            index=index,
            alpha=alpha[index],
            sigma=sigma[index],
            next_alpha=alpha[index - 1],
            next_sigma=sigma[index - 1],
        )


def posterior_weights(transition: Transition) -> tuple[float, float, float]:
    """Return the weights of x and of x₀ in the mean, and the standard deviation of the draw."""
    ratio = transition.alpha / transition.next_alpha
    added = transition.sigma**2 - ratio**2 * transition.next_sigma**2
    of_noisy = ratio * transition.next_sigma**2 / transition.sigma**2
    of_clean = transition.next_alpha * added / transition.sigma**2
    return of_noisy, of_clean, math.sqrt(max(added, 0.0)) * transition.next_sigma / transition.sigma


@final
@dataclass(frozen=True, kw_only=True)
class Ancestral(Sampler):
    """DDPM sampling. Needs hundreds of steps; to clip x₀, give it a `Clipped` denoiser.

    Attributes:
        schedule: The levels to go down.
    """

    schedule: NoiseSchedule

    def __call__(
        self,
        denoiser: Denoiser,
        noise: ItemNoise,
        condition: Float[Tensor, "batch *condition"] | None,
    ) -> Float[Tensor, "batch channels *space"]:
        """Draw at every step but one that ends clean."""
        with torch.no_grad():
            sample = begin(noise, condition)
            for transition in transitions(self.schedule):
                clean = transition.denoise(self.schedule, denoiser, sample, condition)
                of_noisy, of_clean, spread = posterior_weights(transition)
                sample = of_noisy * sample + of_clean * clean
                if spread > 0:
                    sample = sample + spread * noise.normal()
        return sample


def ddim_step(
    noisy: Float[Tensor, "batch channels *space"],
    clean: Float[Tensor, "batch channels *space"],
    transition: Transition,
) -> Float[Tensor, "batch channels *space"]:
    """Return the sample at the next level, if x₀ does not change on the way."""
    kept = transition.next_sigma / transition.sigma
    return kept * noisy + (transition.next_alpha - transition.alpha * kept) * clean


@final
@dataclass(frozen=True, kw_only=True)
class Ddim(Sampler):
    """Deterministic DDIM.

    Attributes:
        schedule: The levels to go down.
    """

    schedule: NoiseSchedule

    def __call__(
        self,
        denoiser: Denoiser,
        noise: ItemNoise,
        condition: Float[Tensor, "batch *condition"] | None,
    ) -> Float[Tensor, "batch channels *space"]:
        """Draw the start only."""
        with torch.no_grad():
            sample = begin(noise, condition)
            for transition in transitions(self.schedule):
                clean = transition.denoise(self.schedule, denoiser, sample, condition)
                sample = ddim_step(sample, clean, transition)
        return sample


def log_snr_step(transition: Transition) -> float:
    """Return h, infinite for a step from pure noise or to a clean sample."""
    if transition.alpha == 0 or transition.next_sigma == 0:
        return math.inf
    return math.log(transition.next_alpha / transition.next_sigma) - math.log(
        transition.alpha / transition.sigma
    )


@final
@dataclass(frozen=True, kw_only=True)
class DpmSolver(Sampler):
    """DPM-Solver++(2M).

    Attributes:
        schedule: The levels to go down.
    """

    schedule: NoiseSchedule

    def __call__(
        self,
        denoiser: Denoiser,
        noise: ItemNoise,
        condition: Float[Tensor, "batch *condition"] | None,
    ) -> Float[Tensor, "batch channels *space"]:
        """Draw the start only; each step but the first looks back at the one before."""
        with torch.no_grad():
            sample = begin(noise, condition)
            before, step_before = torch.zeros_like(sample), math.inf
            for transition in transitions(self.schedule):
                clean = transition.denoise(self.schedule, denoiser, sample, condition)
                step = log_snr_step(transition)
                slope = 0.0 if math.inf in (step, step_before) else 0.5 * step / step_before
                sample = ddim_step(sample, (1 + slope) * clean - slope * before, transition)
                before, step_before = clean, step
        return sample


def ddim_contraction(schedule: NoiseSchedule, sd: float) -> float:
    """Return the standard deviation of DDIM samples over that of the data; the schedule ends clean."""
    _check(schedule, sd)
    kept = 1.0
    for transition in transitions(schedule):
        along = transition.alpha * transition.next_alpha * sd**2
        along += transition.sigma * transition.next_sigma
        kept *= along / (transition.alpha**2 * sd**2 + transition.sigma**2)
    return kept / sd


def ancestral_contraction(schedule: NoiseSchedule, sd: float) -> float:
    """Return the standard deviation of ancestral samples over that of the data, on such a schedule."""
    _check(schedule, sd)
    variance = 1.0
    for transition in transitions(schedule):
        of_noisy, of_clean, spread = posterior_weights(transition)
        gain = transition.alpha * sd**2 / (transition.alpha**2 * sd**2 + transition.sigma**2)
        variance = (of_noisy + of_clean * gain) ** 2 * variance + spread**2
    return math.sqrt(variance) / sd


def variance_correction(schedule: NoiseSchedule, sd: float = 1.0) -> float:
    """Return what the variance of DDIM samples is to be multiplied with: contraction to the power -2."""
    return ddim_contraction(schedule, sd) ** -2


def _check(schedule: NoiseSchedule, sd: float) -> None:
    if not sd > 0:
        raise UsageError(f"the standard deviation of the data must be positive, not {sd:g}")
    if float(schedule.sigma[0]) != 0:
        raise UsageError(
            f"this schedule ends with noise of {float(schedule.sigma[0]):g} in the samples",
            remedy="Give one whose first level is clean.",
        )
