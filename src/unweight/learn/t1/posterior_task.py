"""The posterior network: what it says of ln T1, ln PD and B, and the loss it is trained with.

    mean ln T1 = Σ_k w_k · fit_k + a·scale,   w_k ∝ exp(l_k) / sd_k²   over 5 × 5 neighbours, two fits each

The two fits are that with B free and that with B held at its usual value: how far B is known is for the
network to judge. The weights sum to one, so averaging cannot shift what all agree on, and where an edge
runs the network (l) closes it (kernel prediction: S. Bako et al., ACM Trans Graph 36:97, 2017); the rest is
a correction a. ln PD and B are only corrected. Each ln sd is relative to the scale.

    L = Σ_p c_p · mean ω · [ δ²(√(1 + (z/δ)²) − 1) + ln sd ],   z = (truth − mean)/sd,   δ = 2.5

is the Gaussian negative log-likelihood with its far tails cut (Huber), so that the few voxels whose fit is
hopeless do not drown the others. ω is small where what T1 is has become a matter of definition (`slabs`).
"""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from unweight.learn.t1.features import (
    CHANNELS,
    HELD,
    HELD_SD,
    LOG_SD,
    LOG_SD_SPREAD,
    LOG_T1,
    LOG_T1_SPREAD,
    PRESENT,
)
from unweight.learn.training.task import Batch, Task
from unweight.nets.unet import UNet, UNetConfig

N_PARAMETERS = 3
REACH = 5  # voxels along each side of the neighbourhood
OUTPUTS = 2 * N_PARAMETERS + 2 * REACH**2
LOG_SD_ENDS = (-3.0, 4.0)
FARTHEST = 60.0  # corrections beyond so many steps count as so many
TAIL = 2.5
OWN, OWN_HELD = 3.0, -3.0  # what the two fits of the voxel itself have over its neighbours untrained, in l
SHUT = -30.0  # l of a neighbour without signal
SMALLEST_SCALE = 1e-3
Maps = Float[Tensor, "batch parameters height width"]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class PosteriorTask(Task):
    """The network and its loss.

    Attributes:
        unet: The network: `CHANNELS` in, `OUTPUTS` out.
        shares: c of ln T1, ln PD and B.
    """

    unet: UNet
    shares: tuple[float, float, float] = (1.0, 0.25, 0.25)

    @property
    def network(self) -> nn.Module:
        """The U-Net."""
        return self.unet

    def loss(self, network: nn.Module, batch: Batch, generator: torch.Generator) -> Float[Tensor, ""]:
        """Return the loss of a batch with `channels`, `scale`, `target` and `weight`."""
        target, weight = batch["target"], batch["weight"][:, None]
        correction, log_sd = answer(network(batch["channels"]), batch["channels"], batch["scale"])
        away = (target.nan_to_num().clamp(-FARTHEST, FARTHEST) - correction) * torch.exp(-log_sd)
        each = TAIL**2 * (torch.sqrt(1 + (away / TAIL) ** 2) - 1) + log_sd
        known = torch.isfinite(target)
        total = (each * weight * known).sum((0, 2, 3)) / known.sum((0, 2, 3)).clamp(min=1)
        return (total * torch.tensor(self.shares).to(total)).sum()


def posterior_config(widths: tuple[int, ...]) -> UNetConfig:
    """Return the network of these widths; a linear head, for averages must come easily."""
    return UNetConfig(in_channels=len(CHANNELS), out_channels=OUTPUTS, widths=widths, linear_head=True)


def answer(
    output: Float[Tensor, "batch outputs height width"],
    channels: Float[Tensor, "batch channels height width"],
    scale: Maps,
) -> tuple[Maps, Maps]:
    """Return what the network says in the frame of the features: correction and ln sd, in units of scale.

    Args:
        output: Of the network.
        channels: What it saw.
        scale: Of the frame; 0 where there is no signal.
    """
    output, scale = output.float(), scale.float().clamp(min=SMALLEST_SCALE)
    correction, log_sd, levels = torch.split(output, [N_PARAMETERS, N_PARAMETERS, 2 * REACH**2], dim=1)
    own = F.one_hot(torch.tensor(REACH**2 // 2), REACH**2).to(output)[:, None, None]
    log_t1, held, held_sd = (
        channels[:, index : index + 1].float() * spread + middle
        for index, spread, middle in (
            (0, LOG_T1_SPREAD, LOG_T1),
            (HELD, LOG_T1_SPREAD, LOG_T1),
            (HELD_SD, LOG_SD_SPREAD, LOG_SD),
        )
    )
    precision = -2 * torch.cat([neighbours(scale[:, :1].log()), neighbours(held_sd)], dim=1)
    closed = neighbours(channels[:, PRESENT : PRESENT + 1].float()) < 0.5
    levels = levels + torch.cat([OWN * own, OWN_HELD + 0 * own]) + precision
    levels = levels.masked_fill(torch.cat([closed, closed], dim=1), SHUT)
    away = torch.cat([neighbours(log_t1), neighbours(held)], dim=1) - log_t1
    pull = (torch.softmax(levels, dim=1) * away).sum(1, keepdim=True)
    moved = correction[:, :1] + pull / scale[:, :1]
    return torch.cat([moved, correction[:, 1:]], dim=1), log_sd.clamp(*LOG_SD_ENDS)


def neighbours(image: Float[Tensor, "batch 1 height width"]) -> Float[Tensor, "batch places height width"]:
    """Return the values around each voxel, itself in the middle; 0 beyond the image."""
    unfolded = F.unfold(image, REACH, padding=REACH // 2)
    return unfolded.reshape(len(image), REACH**2, *image.shape[2:])
