"""T1, PD and B by conditional diffusion: qMRI Diffusor.

The noisy scaled maps and the weighted images, concatenated along channels, are the input of a U-Net. Where
there is no water the maps have a constant value, and the loss covers the whole image. The estimate is the
mean of ten draws and its uncertainty their standard deviation.

As published (`PUBLISHED`): the network predicts the noise; DDPM on the linear schedule of 1000 levels,
ancestral sampling, x₀ clipped to [−1, 1] at each step. Maps are scaled by f = 2 tanh(x) − 1 (`network_t1`);
mean and standard deviation are taken after they are brought back from f. A draw at an end of the clip is
no estimate: −1 is 0, and 1 is infinite T1, held at the largest that is believed, 10 s. One such draw moves
the mean, so its voxel is marked AT_LIMIT.

By default (`VELOCITY`): the network predicts the velocity on the cosine schedule, whose error of x₀ stays
bounded where all is noise, and the maps are scaled so that equal relative errors of T1 are equal errors,

    f_T1 = ln(T1/0.9 s),    f_PD = 3/2·(PD − 0.7),    f_B = 4·(B − 1.7),

clipped to [−4, 4]. Draws take 16 steps of DPM-Solver++ in equal steps of ln(α/σ). Mean and standard
deviation are those of f, so of ln T1, over the draws inside the clip; a voxel with more than half of its
draws at an end is marked AT_LIMIT.

References: S. Wang et al., qMRI Diffusor, arXiv 2407.16477; J. Ho et al., Denoising diffusion probabilistic
models, NeurIPS 2020; T. Salimans and J. Ho, ICLR 2022 (velocity); C. Lu et al., arXiv 2211.01095
(DPM-Solver++); the clip is that of the MONAI tutorial whose network the paper names.
"""

import math
from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unweight.core.errors import UsageError
from unweight.core.estimator import Progress
from unweight.core.seeding import seeded_generator
from unweight.diffusion.denoiser import Clipped, NetworkDenoiser, Prediction, concat_condition
from unweight.diffusion.level import ItemNoise
from unweight.diffusion.loss import DenoisingLoss
from unweight.diffusion.samplers import Ancestral, DpmSolver, Sampler
from unweight.diffusion.schedule import NoiseSchedule, cosine_schedule, linear_schedule, log_snr_schedule
from unweight.learn.t1.network_t1 import (
    BACKGROUND,
    SPECS,
    Estimate,
    NormalisedSlices,
    SliceInference,
    parameter_like,
    scaled,
    unscaled,
)
from unweight.learn.training.trainable import Batch, Task
from unweight.nets.normalisation import Normalisation
from unweight.nets.time_unet import TimeUNet, TimeUNetConfig

SCHEDULE = linear_schedule()
N_LEVELS = SCHEDULE.n_steps
TIME_UNIT = 1000.0  # steps of the network's sinusoids from clean to pure noise on the cosine schedule
# Centre and unit of each map where equal relative errors of T1 are to count alike; T1 in ln s.
CENTRE, UNIT = (math.log(0.9), 0.7, 1.7), (1.0, 1.5, 4.0)
WATERLESS = (-1.5, -1.05, -1.0)  # f where there is no water; PD is 0
CLIP = 4.0
LOG_SNR = (-5.0, 6.0)  # ends of ln(α/σ) that are sampled
LEAST_T1, LEAST_DRAWS = 1e-4, 2


class MapScale(Enum):
    """How maps of T1 [s], relative PD and B are scaled for a diffusion network."""

    TANH = "tanh"
    LOGARITHM = "logarithm"

    @property
    def ends(self) -> tuple[float, float]:
        """Least and greatest scaled value that is drawn."""
        return (BACKGROUND, 1.0) if self is MapScale.TANH else (-CLIP, CLIP)

    def scale(self, truth: Float[Tensor, "*batch 3 x y"]) -> Float[Tensor, "*batch 3 x y"]:
        """Return the scaled maps, a constant in every map where one is NaN."""
        water = torch.isfinite(truth).all(-3, keepdim=True)
        if self is MapScale.TANH:
            return scaled(torch.where(water, truth, 0.0))
        t1, pd, b = truth.unbind(-3)
        free = torch.stack([t1.clamp(min=LEAST_T1).log(), pd, b], dim=-3)
        maps = ((free - _column(CENTRE, free)) * _column(UNIT, free)).clamp(-CLIP, CLIP)
        return torch.where(water, maps, _column(WATERLESS, free))

    def unscale(self, maps: Float[Tensor, "*batch 3 x y"]) -> Float[Tensor, "*batch 3 x y"]:
        """Return T1 [s], relative PD and B of scaled maps."""
        if self is MapScale.TANH:
            return unscaled(maps)
        t1, pd, b = (maps / _column(UNIT, maps) + _column(CENTRE, maps)).unbind(-3)
        return torch.stack([t1.exp(), pd, b], dim=-3)

    def summarise(self, drawn: Float[Tensor, "draws slices 3 x y"]) -> Estimate:
        """Return mean and standard deviation of scaled draws, and where they are at an end of the clip."""
        lower, upper = self.ends
        at_end = ((drawn <= lower) | (drawn >= upper)).any(2, keepdim=True)
        value = self.unscale(drawn)
        if self is MapScale.TANH:
            limited = at_end[:, :, 0].any(0)
            return Estimate(values=value.mean(0), std=value.std(0), draws=value, at_limit=limited)
        n_draws = len(drawn)
        n_inside = n_draws - at_end.sum(0)
        limited = (n_inside < max(LEAST_DRAWS, (n_draws + 1) // 2))[:, 0]
        inside = torch.where(limited[:, None], torch.ones_like(at_end), ~at_end)
        n = inside.sum(0)
        mean = torch.where(inside, drawn, 0.0).sum(0) / n
        variance = torch.where(inside, (drawn - mean).square(), 0.0).sum(0) / (n - 1).clamp(min=1)
        values = self.unscale(mean)
        std = variance.sqrt() / _column(UNIT, mean)
        std[..., 0, :, :] *= values[..., 0, :, :]
        return Estimate(values=values, std=std, draws=value, at_limit=limited)


def _column(values: tuple[float, float, float], like: Tensor) -> Float[Tensor, "3 1 1"]:
    return torch.tensor(values, dtype=like.dtype, device=like.device)[:, None, None]


class Levels(Enum):
    """The noise schedule of a diffusion network."""

    LINEAR = "linear"
    COSINE = "cosine"

    def schedule(self, n_steps: int) -> NoiseSchedule:
        """Return the schedule with so many steps.

        Raises:
            UsageError: It has no such number of steps.
        """
        if self is Levels.LINEAR:
            return SCHEDULE.subsample(n_steps)
        if not 1 <= n_steps <= N_LEVELS:
            raise UsageError(f"--steps {n_steps} is not possible", remedy=f"Give 1 to {N_LEVELS}.")
        return cosine_schedule(n_steps)

    def sampler(self, n_steps: int) -> Sampler:
        """Return what goes down the levels in so many steps.

        Ancestral sampling as published; on the cosine schedule DPM-Solver++ in equal steps of ln(α/σ),
        which keeps the spread of narrow posteriors to 5 % in 12 steps, where ancestral sampling needs 1000.
        """
        if self is Levels.LINEAR:
            return Ancestral(schedule=self.schedule(n_steps))
        self.schedule(n_steps)
        return DpmSolver(schedule=log_snr_schedule(n_steps, *LOG_SNR))

    @property
    def time_unit(self) -> float | None:
        """Factor on the time for the network; None for times that count its steps."""
        return None if self is Levels.LINEAR else TIME_UNIT


@final
@dataclass(frozen=True, kw_only=True)
class DiffusionConfig:
    """What a diffusion network of maps predicts, on which schedule, and of maps in which scale.

    Attributes:
        levels: Noise schedule.
        prediction: Target of the network.
        scale: Of the maps.
    """

    levels: Levels = Levels.LINEAR
    prediction: Prediction = Prediction.EPSILON
    scale: MapScale = MapScale.TANH


PUBLISHED = DiffusionConfig()
VELOCITY = DiffusionConfig(levels=Levels.COSINE, prediction=Prediction.VELOCITY, scale=MapScale.LOGARITHM)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class DiffusorTask(Task):
    """The simple loss of DDPM. A batch holds `signal` and `truth`, channels first.

    Attributes:
        unet: The network to train, from the channels of the noisy maps and the images to the maps.
        config: What it predicts.
    """

    unet: TimeUNet
    config: DiffusionConfig = PUBLISHED

    @property
    def network(self) -> nn.Module:
        """The U-Net."""
        return self.unet

    def loss(self, network: nn.Module, batch: Batch, generator: torch.Generator) -> Float[Tensor, ""]:
        """Return the loss at a random level for each item."""
        config = self.config
        clean = config.scale.scale(batch["truth"])
        seeds = torch.randint(2**62, (len(clean),), generator=generator).tolist()
        noise = ItemNoise(
            generators=tuple(torch.Generator().manual_seed(seed) for seed in seeds),
            shape=tuple(clean.shape[1:]),
        )
        conditioned = concat_condition(network, time_unit=config.levels.time_unit)
        return self._denoising(conditioned, clean, batch["signal"], noise).mean()

    @cached_property
    def _denoising(self) -> DenoisingLoss:
        schedule = self.config.levels.schedule(N_LEVELS)
        return DenoisingLoss(schedule=schedule, prediction=self.config.prediction)


@final
@dataclass(frozen=True, kw_only=True)
class DrawnInference(SliceInference):
    """Mean and standard deviation of draws from the posterior.

    Takes `n_steps` times `n_draws` evaluations of the network for each slice.

    Attributes:
        n_draws: Draws to average.
        n_steps: Steps of each; fewer than 1000 go down a sub-sampled schedule.
        seed: Of the noise; draw k of a slice is the same whatever else is drawn.
        n_at_once: Draws in one evaluation of the network.
        config: What the network predicts.
    """

    n_draws: int = 10
    n_steps: int = SCHEDULE.n_steps
    seed: int = 0
    n_at_once: int = 10
    config: DiffusionConfig = PUBLISHED

    def __post_init__(self) -> None:
        self.config.levels.schedule(self.n_steps)
        if self.n_draws < 2 or self.n_at_once < 1:
            raise UsageError(
                f"no standard deviation from {self.n_draws} draws, {self.n_at_once} at a time",
                remedy="Give at least 2 draws, and 1 or more at a time.",
            )

    def check(self, network: nn.Module, n_images: int) -> None:
        """Return: any network that is called with images and a time can draw."""

    def __call__(
        self,
        network: nn.Module,
        slices: NormalisedSlices,
        inversion_time: Float[Tensor, " channels"],
        progress: Progress | None,
    ) -> Estimate:
        """Draw maps of every slice with a voxel to estimate."""
        return self.config.scale.summarise(self._draw(network, slices, progress))

    def n_evaluations(self, network: nn.Module) -> int:
        """Return the steps of all draws."""
        return self.n_steps * self.n_draws

    def drawing(self, n_draws: int | None, n_steps: int | None) -> SliceInference:
        """Return the same with so many draws and steps."""
        return replace(
            self,
            n_draws=self.n_draws if n_draws is None else n_draws,
            n_steps=self.n_steps if n_steps is None else n_steps,
        )

    def notes(self) -> dict[str, str | float | int]:
        """Return draws, steps and seed."""
        return {"draws": self.n_draws, "steps": self.n_steps, "seed": self.seed}

    def _draw(
        self, network: nn.Module, slices: NormalisedSlices, progress: Progress | None
    ) -> Float[Tensor, "draws slices 3 x y"]:
        """Return the draws in the scale of the network, NaN in slices that are not wanted."""
        images = slices.images.to(parameter_like(network))
        shape = (len(SPECS), *images.shape[2:])
        drawn = torch.full((self.n_draws, len(images), *shape), math.nan, dtype=torch.float64)
        chunks = torch.split(torch.arange(self.n_draws), self.n_at_once)
        n_calls = len(slices.wanted) * len(chunks) * self.n_steps
        count = _Count(n_calls, len(slices.wanted) * images[0, 0].numel(), progress)
        config = self.config
        lower, upper = config.scale.ends
        conditioned = concat_condition(network, time_unit=config.levels.time_unit, on_call=count.add)
        denoiser = Clipped(
            denoiser=NetworkDenoiser(network=conditioned, prediction=config.prediction),
            lower=lower,
            upper=upper,
        )
        sampler = config.levels.sampler(self.n_steps)
        for index in slices.wanted:
            for chunk in chunks:
                generators = tuple(
                    seeded_generator(self.seed, "diffusor", index, draw, device=images.device)
                    for draw in chunk.tolist()
                )
                noise = ItemNoise(generators=generators, shape=shape, dtype=images.dtype)
                condition = images[index].expand(len(chunk), -1, -1, -1)
                drawn[chunk, index] = sampler(denoiser, noise, condition).double().cpu()
        return drawn


@final
class _Count:
    """Turns evaluations of the network into voxels done."""

    def __init__(self, n_calls: int, n_voxels: int, progress: Progress | None) -> None:
        self._n_calls, self._n_voxels, self._progress = n_calls, n_voxels, progress
        self._called = 0

    def add(self) -> None:
        self._called += 1
        if self._progress is not None:
            self._progress(self._called * self._n_voxels // self._n_calls, self._n_voxels)


def published_unet(n_images: int) -> TimeUNetConfig:
    """Return the published network for so many weighted images."""
    return TimeUNetConfig(in_channels=len(SPECS) + n_images, out_channels=len(SPECS))


def small_unet(n_images: int, norm: Normalisation = Normalisation.PIXEL) -> TimeUNetConfig:
    """Return a network that a processor can train: narrow, without attention, at half the resolution.

    It has about 1,060,000 parameters for seven images.
    """
    return TimeUNetConfig(
        in_channels=len(SPECS) + n_images,
        out_channels=len(SPECS),
        widths=(32, 64, 64),
        attention_levels=(),
        space_to_depth=2,
        norm=norm,
    )
