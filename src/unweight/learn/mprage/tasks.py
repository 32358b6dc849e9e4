"""The networks that synthesise T1w images: their inputs, outputs and losses.

    regression   mean |y − ŷ| + 0.1·mean |∇y − ∇ŷ| + 0.1·mean (ln b + |y − ŷ|/b)
    adversarial  least squares against a critic of patches + 100·mean |y − ŷ|       (`nets.pgan`)
    diffusion    ‖f(αy + σε, t, echoes) − target‖² on the levels that are sampled   (`diffusion.schedule`)
    residual     velocity of r = (y − ŷ)/(√2·b), ŷ and b those of a trained regression

y is the normalised image, (T1w − 0.7)/0.35 with white matter at 1. ∇ is the difference of neighbours
along both axes. The scale b of a Laplace law is learned beside ŷ, which it does not move. Means are over
the brain, but for diffusion, which covers the patch. R2* and χ are each kept from one patch in four, so
that one network serves with and without them.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from math import sqrt
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from unweight.core.errors import UsageError
from unweight.diffusion.denoiser import Prediction, concat_condition
from unweight.diffusion.level import ItemNoise, diffuse
from unweight.diffusion.loss import DenoisingLoss
from unweight.diffusion.schedule import (
    NoiseSchedule,
    cosine_schedule,
    non_uniform_schedule,
    uniform_schedule,
)
from unweight.learn.pairs.echo_channels import MASK, N_SLAB, with_conditions
from unweight.learn.pairs.pair import normalise
from unweight.learn.pairs.scan_range import N_FEATURES, SCAN
from unweight.learn.training.trainable import Batch, Task
from unweight.nets.conditioned_unet import ConditionedUNet, ConditionedUNetConfig
from unweight.nets.normalisation import Normalisation
from unweight.nets.pgan import Pgan, adversarial_loss
from unweight.nets.time_unet import TimeUNet, TimeUNetConfig
from unweight.nets.unet import UNet, UNetConfig

FARTHEST = 6.0  # residuals beyond so many sd count as so many
TIME_UNIT = 1000.0  # steps of the network's sinusoids from clean to pure noise
KEPT = 0.75  # probability that a condition is an input
GRADIENT, SCALE, PIXELS = 0.1, 0.1, 100.0
LOG_SCALE = (-5.0, 1.5)
ANGLES = cosine_schedule(1000)
N_ANSWERS = 2  # image and ln b
EMBEDDING = 64  # of the scan


def split_output(
    output: Float[Tensor, "batch 2 x y"],
) -> tuple[Float[Tensor, "batch 1 x y"], Float[Tensor, "batch 1 x y"]]:
    """Return image and ln b of what a regression says."""
    return output[:, :1].float(), output[:, 1:].float().clamp(*LOG_SCALE)


def drop_conditions(
    channels: Float[Tensor, "batch slab x y"], generator: torch.Generator
) -> Float[Tensor, "batch slab x y"]:
    """Return slabs of which some are without R2*, and some without χ."""
    given: Bool[Tensor, "batch 2"] = torch.rand(len(channels), 2, generator=generator) < KEPT
    return with_conditions(channels, given.to(channels.device))


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class EchoRegressionTask(Task):
    """Image and scale of its error.

    Attributes:
        unet: The network to train.
    """

    unet: UNet | ConditionedUNet

    @property
    def network(self) -> nn.Module:
        """The network."""
        return self.unet

    def loss(self, network: nn.Module, batch: Batch, generator: torch.Generator) -> Float[Tensor, ""]:
        """Return the loss of a batch of `PairPool`."""
        channels, inside, truth = _given(batch, generator)
        scan = _scan(batch) if isinstance(self.unet, ConditionedUNet) else ()
        image, log_scale = split_output(network(channels, *scan))
        away = (image - truth).abs()
        total = _mean(away, inside) + GRADIENT * _gradients(image - truth, inside)
        law = log_scale + away.detach() * torch.exp(-log_scale)
        return total + SCALE * _mean(law, inside)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class EchoGanTask(Task):
    """Generator and critic, as pix2pix.

    Attributes:
        pgan: Both.
    """

    pgan: Pgan

    @property
    def network(self) -> nn.Module:
        """Both networks."""
        return self.pgan

    def loss(self, network: nn.Module, batch: Batch, generator: torch.Generator) -> Float[Tensor, ""]:
        """Return the loss of a batch."""
        channels, inside, truth = _given(batch, generator)
        result, verdicts = network(channels, truth * inside, inside)
        pixels = _mean((result[:, :1].float() - truth).abs(), inside)
        loss: Tensor = adversarial_loss(verdicts) + PIXELS * pixels
        return loss


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class EchoDiffusionTask(Task):
    """Denoising on a short schedule.

    Attributes:
        unet: The network to train.
        schedule: The levels it will be sampled on.
        prediction: What it says.
    """

    unet: TimeUNet
    schedule: NoiseSchedule
    prediction: Prediction

    @property
    def network(self) -> nn.Module:
        """The network."""
        return self.unet

    def loss(self, network: nn.Module, batch: Batch, generator: torch.Generator) -> Float[Tensor, ""]:
        """Return the loss at a random level for each item."""
        channels, _, clean = _given(batch, generator)
        seeds = torch.randint(2**62, (len(clean),), generator=generator).tolist()
        noise = ItemNoise(
            generators=tuple(torch.Generator().manual_seed(seed) for seed in seeds),
            shape=tuple(clean.shape[1:]),
        )
        loss = DenoisingLoss(schedule=self.schedule, prediction=self.prediction)
        return loss(concat_condition(network), clean, channels, noise).mean()


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class EchoResidualTask(Task):
    """Velocity of what a regression leaves, over the scale of its error.

    Attributes:
        unet: The network to train.
        base: The regression, trained already.
    """

    unet: TimeUNet
    base: UNet

    @property
    def network(self) -> nn.Module:
        """The network to train."""
        return self.unet

    def loss(self, network: nn.Module, batch: Batch, generator: torch.Generator) -> Float[Tensor, ""]:
        """Return the loss at a random level for each item; one in eight is pure noise."""
        channels, inside, truth = _given(batch, generator)
        with torch.no_grad():
            image, log_scale = split_output(self.base(channels))
        clean = (truth - image) / laplace_std(log_scale)
        clean = clean.clamp(-FARTHEST, FARTHEST) * inside
        steps = torch.randint(1, ANGLES.n_steps + 1, (len(clean),), generator=generator)
        steps[::8] = ANGLES.n_steps
        level = ANGLES.at(steps, clean)
        noise = torch.randn(clean.shape, generator=generator).to(clean)
        condition = residual_inputs(channels, image, log_scale)
        asked = concat_condition(network, time_unit=TIME_UNIT)(
            diffuse(clean, noise, level), level.time, condition
        )
        square = (asked - Prediction.VELOCITY.target(clean, noise, level)) ** 2
        return _mean(square, inside)


def laplace_std(log_scale: Tensor) -> Tensor:
    """Return the standard deviation of a Laplace law of this scale."""
    return sqrt(2.0) * torch.exp(log_scale)


def residual_inputs(channels: Tensor, image: Tensor, log_scale: Tensor) -> Tensor:
    """Return what a residual is conditioned on: the slab, and what the regression said."""
    return torch.cat([channels.float(), image, log_scale], dim=1)


def regression_config(widths: tuple[int, ...], n_answers: int = N_ANSWERS) -> UNetConfig:
    """Return a U-Net from slabs to image and scale, or to the image alone."""
    return UNetConfig(in_channels=N_SLAB, out_channels=n_answers, widths=widths, linear_head=True)


def scan_regression_config(widths: tuple[int, ...]) -> ConditionedUNetConfig:
    """Return a U-Net from slabs and the features of their scan to image and scale."""
    unet = replace(regression_config(widths), condition_features=EMBEDDING)
    return ConditionedUNetConfig(unet=unet, n_values=N_FEATURES)


def denoising_config(widths: tuple[int, ...], *, n_said: int = 0) -> TimeUNetConfig:
    """Return a network from a noisy image and slabs to the image.

    Args:
        widths: Of its levels.
        n_said: Channels beside the slab.
    """
    return TimeUNetConfig(
        in_channels=1 + N_SLAB + n_said,
        out_channels=1,
        widths=widths,
        attention_levels=(),
        norm=Normalisation.PIXEL,
        space_to_depth=2,
    )


def published_config() -> TimeUNetConfig:
    """Return the U-Net of Fast-DDPM: widths 128 to 512, attention at a sixteenth of 256."""
    return TimeUNetConfig(
        in_channels=1 + N_SLAB,
        out_channels=1,
        widths=(128, 128, 256, 256, 512, 512),
        n_blocks=2,
        attention_levels=(4,),
    )


def _given(batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Return the input of a network, where the brain is, and the target image."""
    channels = drop_conditions(batch["channels"], generator)
    return channels, channels[:, MASK : MASK + 1], normalise(batch["target"])


def _scan(batch: Batch) -> tuple[Tensor]:
    """Return the features of the scan of each item.

    Raises:
        UsageError: Not all pairs tell their scan.
    """
    if SCAN not in batch:
        raise UsageError(
            "flip angle, TR or echo times are missing in some pairs",
            remedy="Create the pairs again, or add these values to the sidecars of the echoes.",
        )
    return (batch[SCAN],)


def _mean(values: Tensor, inside: Tensor) -> Float[Tensor, ""]:
    return (values * inside).sum() / inside.sum().clamp(min=1)


def _gradients(error: Tensor, inside: Tensor) -> Float[Tensor, ""]:
    """Return the mean absolute difference between the errors of neighbours, both inside."""
    rows = _mean(error.diff(dim=-2).abs(), inside[..., 1:, :] * inside[..., :-1, :])
    columns = _mean(error.diff(dim=-1).abs(), inside[..., 1:] * inside[..., :-1])
    return rows + columns


class ShortSchedule(Enum):
    """The published schedules: eleven even steps, or ten that are denser at the noisy end."""

    UNIFORM = "uniform"
    NON_UNIFORM = "non-uniform"


SCHEDULES: dict[ShortSchedule, Callable[[], NoiseSchedule]] = {
    ShortSchedule.UNIFORM: uniform_schedule,
    ShortSchedule.NON_UNIFORM: non_uniform_schedule,
}


@final
@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """How a Fast-DDPM goes down.

    Attributes:
        ladder: One of the two schedules.
        prediction: What the network predicts; epsilon as published.
    """

    ladder: ShortSchedule = ShortSchedule.NON_UNIFORM
    prediction: Prediction = Prediction.VELOCITY

    def levels(self) -> NoiseSchedule:
        """Return the schedule."""
        return SCHEDULES[self.ladder]()
