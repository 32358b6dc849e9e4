"""A network that finds structures in T1w images, to judge images by, the same for true and synthetic ones.

    loss = cross-entropy + mean over structures of (1 − Dice),   Dice = 2·Σ p·q/(Σ p + Σ q)

(F. Milletari et al., V-Net, 3DV 2016.) It sees a slice with two on either side and the mask. So that it
knows no scanner by heart, gain, gamma, noise and sharpness of what it learns from are varied.
"""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from unweight.learn.mprage.echo_channels import MASK
from unweight.learn.mprage.planes import AXIAL, THREE, over_planes
from unweight.learn.mprage.pool import AROUND
from unweight.learn.mprage.tasks import seen
from unweight.learn.training.task import Batch, Task
from unweight.metrics.structures import STRUCTURES
from unweight.nets.unet import UNet, UNetConfig

N_SEEN = len(AROUND) + 1
GAIN, GAMMA, NOISE, BLUR = 0.1, 0.15, 0.04, 0.5
SMALLEST = 1e-6


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class StructureTask(Task):
    """Labels of T1w images.

    Attributes:
        unet: The network to train.
    """

    unet: UNet

    @property
    def network(self) -> nn.Module:
        """The network."""
        return self.unet

    def loss(self, network: nn.Module, batch: Batch, generator: torch.Generator) -> Float[Tensor, ""]:
        """Return the loss of a batch of `PairPool`."""
        inside = batch["channels"][:, MASK : MASK + 1]
        images = varied(batch["around"], generator)
        logits = network(torch.cat([seen(images), inside], dim=1)).float()
        labels = batch["labels"][:, 0].long()
        weight = inside[:, 0]
        entropy = (F.cross_entropy(logits, labels, reduction="none") * weight).sum()
        share = logits.softmax(1) * inside
        truth = F.one_hot(labels, len(STRUCTURES)).movedim(-1, 1) * inside
        common = (share * truth).sum((0, 2, 3))[1:]
        whole = (share + truth).sum((0, 2, 3))[1:]
        dice = (2 * common + 1) / (whole + 1)
        total: Tensor = entropy / weight.sum().clamp(min=1) + 1 - dice.mean()
        return total


def varied(
    images: Float[Tensor, "batch slices x y"], generator: torch.Generator
) -> Float[Tensor, "batch slices x y"]:
    """Return images as other scanners might give them."""
    drawn = torch.rand(len(images), 4, generator=generator).to(images)
    shape = (-1, 1, 1, 1)
    gain = 1 + GAIN * (2 * drawn[:, 0] - 1)
    gamma = torch.exp(GAMMA * (2 * drawn[:, 1] - 1))
    changed = gain.reshape(shape) * images.clamp(min=SMALLEST) ** gamma.reshape(shape)
    soft = F.avg_pool2d(changed, 3, 1, 1, count_include_pad=False)
    share = torch.where(drawn[:, 2] < BLUR, drawn[:, 2] / BLUR, 0.0).reshape(shape)
    noise = torch.randn(images.shape, generator=generator).to(images)
    return torch.lerp(changed, soft, share) + NOISE * drawn[:, 3].reshape(shape) * noise


def structure_config(widths: tuple[int, ...]) -> UNetConfig:
    """Return the network of structures."""
    return UNetConfig(in_channels=N_SEEN, out_channels=len(STRUCTURES), widths=widths)


def find_structures(
    network: nn.Module,
    image: Float[Tensor, "x y z"],
    mask: Float[Tensor, "x y z"],
    *,
    axial: bool = False,
) -> Float[Tensor, "structures x y z"]:
    """Return the probability of each structure, the mean over three planes; 0 outside the mask.

    Args:
        network: Trained.
        image: T1w without bias field, white matter at 1.
        mask: The brain.
        axial: Whether to look at axial slices only.
    """
    inside = mask > 0
    home = next(network.parameters()).device

    def ask(axis: int, some: list[int]) -> Tensor:
        last = image.shape[axis] - 1
        columns = [
            image.index_select(
                axis, torch.tensor([min(max(0, one + step), last) for one in some], device=image.device)
            )
            for step in AROUND
        ]
        near = torch.stack([one.movedim(axis, 0) for one in columns], dim=1).float()
        here = mask.index_select(axis, torch.tensor(some, device=mask.device)).movedim(axis, 0)[:, None]
        logits: Tensor = network(torch.cat([seen(near), here.to(near)], dim=1).to(home))
        return logits.float().softmax(1)

    with torch.no_grad():
        return over_planes(inside, AXIAL if axial else THREE, len(STRUCTURES), ask)
