"""T1, PD and B by conditional diffusion: qMRI Diffusor.

The noisy tanh-scaled maps and the weighted images, one above the other, go into a U-Net that says the
noise: DDPM on the linear schedule of 1000 levels, ancestral sampling, x₀ clipped to [−1, 1] at each step.
Where there is no water the maps are f(0) = −1, and the loss covers the whole image. The estimate is the
mean of ten draws and its uncertainty their standard deviation, after the maps are brought back from f.

A draw at an end of the clip is no estimate: −1 is 0, and 1 is infinite T1, held at the largest that is
believed, 10 s (`tanh_scaling`). One such draw moves the mean, so its voxel is marked AT_LIMIT.

References: S. Wang et al., qMRI Diffusor, arXiv 2407.16477; J. Ho et al., Denoising diffusion probabilistic
models, NeurIPS 2020; the clip is that of the MONAI tutorial whose network the paper names.
"""

import math
from dataclasses import dataclass, replace
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
from unweight.diffusion.samplers import Ancestral
from unweight.diffusion.schedule import linear_schedule
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
from unweight.nets.time_unet import TimeUNet, TimeUNetConfig

SCHEDULE = linear_schedule()
LOSS = DenoisingLoss(schedule=SCHEDULE, prediction=Prediction.EPSILON)
LOWER, UPPER = BACKGROUND, 1.0


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class DiffusorTask(Task):
    """The simple loss of DDPM. A batch holds `signal` and `truth`, channels first.

    Attributes:
        unet: The network to train, from the channels of the noisy maps and the images to the maps.
    """

    unet: TimeUNet

    @property
    def network(self) -> nn.Module:
        """The U-Net."""
        return self.unet

    def loss(self, network: nn.Module, batch: Batch, generator: torch.Generator) -> Float[Tensor, ""]:
        """Return the loss at a random level for each item."""
        clean = clean_maps(batch["truth"])
        seeds = torch.randint(2**62, (len(clean),), generator=generator).tolist()
        noise = ItemNoise(
            generators=tuple(torch.Generator().manual_seed(seed) for seed in seeds),
            shape=tuple(clean.shape[1:]),
        )
        return LOSS(concat_condition(network), clean, batch["signal"], noise).mean()


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
    """

    n_draws: int = 10
    n_steps: int = SCHEDULE.n_steps
    seed: int = 0
    n_at_once: int = 10

    def __post_init__(self) -> None:
        SCHEDULE.subsample(self.n_steps)
        if self.n_draws < 2 or self.n_at_once < 1:
            raise UsageError(
                f"{self.n_draws} draws, {self.n_at_once} at once, have no standard deviation",
                remedy="Give at least 2 draws, and 1 or more at once.",
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
        drawn = self._draw(network, slices, progress)
        value = unscaled(drawn)
        return Estimate(
            values=value.mean(0),
            std=value.std(0),
            draws=value,
            at_limit=((drawn <= LOWER) | (drawn >= UPPER)).any(2).any(0),
        )

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
        denoiser = Clipped(
            denoiser=NetworkDenoiser(
                network=concat_condition(network, on_call=count.add), prediction=Prediction.EPSILON
            ),
            lower=LOWER,
            upper=UPPER,
        )
        sampler = Ancestral(schedule=SCHEDULE.subsample(self.n_steps))
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


def small_unet(n_images: int) -> TimeUNetConfig:
    """Return a network that a processor can train: narrow, without attention, at half the resolution.

    It has 1,060,140 parameters for seven images.
    """
    return TimeUNetConfig(
        in_channels=len(SPECS) + n_images,
        out_channels=len(SPECS),
        widths=(32, 64, 64),
        attention_levels=(),
        space_to_depth=2,
    )


def clean_maps(truth: Float[Tensor, "batch 3 x y"]) -> Float[Tensor, "batch 3 x y"]:
    """Return the scaled maps, f(0) = −1 in every map where one is NaN."""
    return scaled(torch.where(torch.isfinite(truth).all(1, keepdim=True), truth, 0.0))
