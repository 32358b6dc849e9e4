"""The networks for weighted images: their inputs, outputs and losses.

Prediction of ln T1, ln T2 and ln PD from weighted images, and the loss a network is trained with.

    u = (free − middle) / spread,    z = (u_true − u) / sd
    L = mean ω·[δ²(√(1 + (z/δ)²) − 1) + ln sd] + a·mean |x − x̂|/range + c·mean |ρ|,    δ = 2.5

The first term is the Gaussian negative log-likelihood with its far tails cut; the second counts errors in
the unit of the map, so that long T1 and T2, of CSF, are not forgotten; the third is the physics cycle. Maps
are turned back into the logarithm of each image by the signal equation, and of the difference to the image,

    ρ_i = ln S_i − ln Ŝ_i − g_i − b,

the free gain g_i of each image and what all images share in a voxel, b, the receive sensitivity, are taken
out.

The published baseline, a conditional GAN, on weighted images: its loss, see `nets.pgan`.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unweight.learn.training.trainable import Batch, Task
from unweight.learn.weighted.features import (
    LEVELS,
    N_TOKEN,
    NAMES,
    PHYSICS,
    ln_reference,
    name_tokens,
    tokens_of,
)
from unweight.nets.image_set import ImageSetConfig
from unweight.nets.pgan import Pgan, adversarial_loss
from unweight.nets.unet import UNetConfig
from unweight.signals.weighted import N_TIMINGS, weighted_signal

N_MAPS = 3
OUTPUTS = 2 * N_MAPS
MIDDLE = (0.1, -2.3, -0.25)
SPREAD = (0.5, 0.7, 0.2)
RANGES = (4.5, 2.0, 1.0)  # T1 [s], T2 [s], PD: about those of CSF
LN_SD = -1.5  # the prediction of an untrained network
LN_SD_ENDS = (-5.0, 2.0)
ENDS = 6.0  # no value lies further from the middle, in spreads
TAIL = 2.5
FARTHEST = 4.0  # the fit of a voxel alone counts no further
LINEAR, CYCLE = 10.0, 0.1
DARK = -3.0  # below this an image has no information in a voxel but that it is dark
INSIDE = PHYSICS.index("inside")
Maps = Float[Tensor, "batch 3 height width"]


class InputAdapter(ABC):
    """What a network gets of a batch."""

    @abstractmethod
    def __call__(self, network: nn.Module, batch: Batch) -> Float[Tensor, "batch 6 height width"]:
        """Return the output of the network."""


@final
@dataclass(frozen=True)
class Conditioned(InputAdapter):
    """The network gets the timings of each image, and a fit of each voxel alone."""

    def __call__(self, network: nn.Module, batch: Batch) -> Float[Tensor, "batch 6 height width"]:
        """Return the output of the network."""
        tokens = torch.cat([tokens_of(batch["rows"], batch["field"][:, 0]), batch["levels"]], dim=2)
        physics = batch["physics"].clamp(-FARTHEST, FARTHEST)
        output: Tensor = network(blind_images(batch), tokens, batch["present"] > 0.5, physics)
        return output


@final
@dataclass(frozen=True)
class Unconditioned(InputAdapter):
    """The network gets the contrast of each image, but not its timings: the ablation."""

    def __call__(self, network: nn.Module, batch: Batch) -> Float[Tensor, "batch 6 height width"]:
        """Return the output of the network."""
        images = blind_images(batch)
        names = name_tokens(images.shape[1], len(images)).to(images)
        tokens = torch.cat([names, batch["levels"]], dim=2)
        inside = batch["physics"][:, INSIDE : INSIDE + 1]
        output: Tensor = network(images, tokens, batch["present"] > 0.5, inside)
        return output


@final
@dataclass(frozen=True)
class Channels(InputAdapter):
    """The images as channels in a fixed order, and the mask: a plain U-Net."""

    def __call__(self, network: nn.Module, batch: Batch) -> Float[Tensor, "batch 6 height width"]:
        """Return the output of the network."""
        output: Tensor = network(stacked(batch))
        return output


@final
@dataclass(frozen=True)
class Generator(InputAdapter):
    """The generator of a conditional GAN: a plain U-Net, whose standard deviations are not used."""

    def __call__(self, network: nn.Module, batch: Batch) -> Float[Tensor, "batch 6 height width"]:
        """Return the maps of the generator, and ln sd of 0."""
        result: Tensor = network(stacked(batch))[0]
        return torch.cat([result[:, :N_MAPS], torch.zeros_like(result[:, N_MAPS:])], dim=1)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class MapsTask(Task):
    """A network of weighted images and its loss.

    Attributes:
        maps: The network.
        adapter: What it gets of a batch.
        cycle: c, weight of the physics cycle.
    """

    maps: nn.Module
    adapter: InputAdapter
    cycle: float = CYCLE

    @property
    def network(self) -> nn.Module:
        """The network."""
        return self.maps

    def loss(self, network: nn.Module, batch: Batch, generator: torch.Generator) -> Float[Tensor, ""]:
        """Return the loss of a batch of `learn.weighted.slabs`."""
        free, sd = answer_maps(self.adapter(network, batch))
        return maps_loss(free, sd, batch) + self.cycle * cycle_loss(free, batch)


def conditioned_config(widths: tuple[int, ...]) -> ImageSetConfig:
    """Return the network with the timings of images as input."""
    return ImageSetConfig(
        token_features=N_TOKEN + len(LEVELS),
        extra_channels=len(PHYSICS),
        out_channels=OUTPUTS,
        widths=widths,
    )


def unconditioned_config(widths: tuple[int, ...]) -> ImageSetConfig:
    """Return the same network without what tells how images were made."""
    n_token = N_TOKEN + len(LEVELS)
    return ImageSetConfig(token_features=n_token, extra_channels=1, out_channels=OUTPUTS, widths=widths)


def channels_config(widths: tuple[int, ...]) -> UNetConfig:
    """Return a plain U-Net."""
    return UNetConfig(in_channels=len(NAMES) + 1, out_channels=OUTPUTS, widths=widths, linear_head=True)


def stacked(batch: Batch) -> Float[Tensor, "batch channels height width"]:
    """Return the images and the mask as channels."""
    return torch.cat([blind_images(batch), batch["physics"][:, INSIDE : INSIDE + 1]], dim=1)


def blind_images(batch: Batch) -> Float[Tensor, "batch images height width"]:
    """Return the logarithm of each image over its median, which tells nothing of how it was made."""
    reference = ln_reference(batch["rows"], batch["field"][:, 0]).nan_to_num()[..., None, None]
    there = (batch["present"] > 0.5)[..., None, None] & (batch["physics"][:, INSIDE : INSIDE + 1] > 0.5)
    return torch.where(there, batch["images"] - reference, 0.0)


def answer_maps(output: Float[Tensor, "batch 6 height width"]) -> tuple[Maps, Maps]:
    """Return ln T1, ln T2 and ln PD and their standard deviations."""
    output = output.float()
    spread, middle = (torch.tensor(item).to(output)[:, None, None] for item in (SPREAD, MIDDLE))
    mean, ln_sd = torch.split(output, N_MAPS, dim=1)
    return (
        middle + spread * mean.clamp(-ENDS, ENDS),
        spread * (ln_sd + LN_SD).clamp(*LN_SD_ENDS).exp(),
    )


def maps_loss(free: Maps, sd: Maps, batch: Batch) -> Float[Tensor, ""]:
    """Return the likelihood term and that in the unit of the maps."""
    target, weight = batch["target"], batch["weight"][:, None]
    known = torch.isfinite(target)
    truth = target.nan_to_num()
    spread, ranges = (torch.tensor(item).to(free)[:, None, None] for item in (SPREAD, RANGES))
    away = (truth - free) / sd
    likelihood = TAIL**2 * (torch.sqrt(1 + (away / TAIL) ** 2) - 1) + (sd / spread).log()
    linear = (truth.exp() - free.exp()).abs() / ranges
    count = known.sum().clamp(min=1)
    return ((likelihood * weight + LINEAR * linear) * known).sum() / count


def cycle_loss(free: Maps, batch: Batch) -> Float[Tensor, ""]:
    """Return the mean size of what the maps leave unexplained in the images."""
    left, counts = unexplained(free, batch)
    return (left.abs().clamp(max=1.0) * counts).sum() / counts.sum().clamp(min=1)


def unexplained(
    free: Maps, batch: Batch, dark: float = DARK
) -> tuple[Float[Tensor, "batch images height width"], Tensor]:
    """Return ρ of each image and voxel, and where it counts (as 0 and 1).

    What all images share in a voxel, PD among it, and the gain of each image in each slice are taken out.

    Args:
        free: ln T1, ln T2 and ln PD.
        batch: The input of the network.
        dark: An image does not count in a voxel where both it and the synthesised image are darker than
            this beside an ordinary brain, in logarithms: fluid near its null is all noise.
    """
    images, rows = batch["images"], batch["rows"]
    present = (batch["present"] > 0.5)[..., None, None]
    timings = torch.where(torch.isfinite(rows[..., :1]), rows, rows.new_tensor(ABSENT))
    t1, t2, pd = (free[:, index : index + 1].exp() for index in range(N_MAPS))
    values = weighted_signal(t1, t2, pd, timings[:, :, None, None, :]).clamp(min=1e-6).log()
    inside = batch["physics"][:, INSIDE : INSIDE + 1] > 0.5
    counts = (present & inside & torch.isfinite(batch["target"]).all(1, keepdim=True)).to(images)
    reference = ln_reference(timings, batch["field"][:, 0])[..., None, None]
    counts = counts * (images - reference > DARK)
    counts = counts * ((images - reference > dark) | (values - reference > dark))
    left = (images - values) * counts
    left = left - counts * (left.sum(1, keepdim=True) / counts.sum(1, keepdim=True).clamp(min=1))
    gain = left.sum((2, 3), keepdim=True) / counts.sum((2, 3), keepdim=True).clamp(min=1)
    return (left - gain) * counts, counts


# Timings that stand for an image that is missing: a spin echo that could be.
ABSENT = (0.0, 1.0, 0.01, *(float("nan"),) * (N_TIMINGS - 3))


PIXELS = 100.0  # λ


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class PganTask(Task):
    """A conditional GAN and its loss.

    Attributes:
        pgan: Generator and critic.
    """

    pgan: Pgan

    @property
    def network(self) -> nn.Module:
        """Both networks."""
        return self.pgan

    def loss(self, network: nn.Module, batch: Batch, generator: torch.Generator) -> Float[Tensor, ""]:
        """Return the loss of a batch: adversarial, and 100 times the mean absolute error."""
        target = batch["target"]
        known = torch.isfinite(target)
        spread, middle = (torch.tensor(item).to(target)[:, None, None] for item in (SPREAD, MIDDLE))
        truth = torch.where(known, (target.nan_to_num() - middle) / spread, 0.0)
        result, verdicts = network(stacked(batch), truth, known.to(truth))
        away = ((result[:, :N_MAPS].float() - truth).abs() * known).sum() / known.sum().clamp(min=1)
        loss: Tensor = adversarial_loss(verdicts) + PIXELS * away
        return loss
