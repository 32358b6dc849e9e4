"""Normalisation over the channels of one pixel, or over the whole image.

Layer normalisation over the channels of each pixel, blind to every other pixel.

    y_c = gamma_c (x_c − mean_c x) / sqrt(var_c x + eps) + beta_c        at each pixel separately

J. L. Ba et al., Layer normalization, arXiv 1607.06450; over channels only, as in Z. Liu et al., A ConvNet
for the 2020s (ConvNeXt), CVPR 2022. Group, instance and batch statistics are averages over the image: more
empty background changes them, and with them every estimate in the brain. These do not change.

Which statistics a network normalises by: of one pixel, or of the whole image.

Only `PIXEL` gives estimates that do not depend on what else is in the picture. `GROUP` (Y. Wu and K. He,
Group normalization, ECCV 2018) and `BATCH` without running statistics (as in the published relaxometry
baseline of EMCqMRI) are here to reproduce published networks and to show that artefact.
"""

from enum import StrEnum
from math import gcd
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


@final
class PixelNorm(nn.Module):
    """Normalise the channels of each pixel, then scale and shift each channel.

    Attributes:
        gain: Scale of each channel, one at first.
        bias: Shift of each channel, zero at first.
        eps: Added to the variance, so that an empty pixel stays finite.
    """

    def __init__(self, channels: int, *, eps: float = 1e-6) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(
        self, image: Float[Tensor, "batch channels *space"]
    ) -> Float[Tensor, "batch channels *space"]:
        """Return the normalised image; a channels-last image stays channels-last, without a copy."""
        last = image.movedim(1, -1)
        normal = F.layer_norm(last, (last.shape[-1],), self.gain, self.bias, self.eps)
        return normal.movedim(-1, 1)


GROUPS = 32
EPS = 1e-6


class Normalisation(StrEnum):
    """What the mean and variance are taken over.

    Attributes:
        PIXEL: The channels of one pixel.
        GROUP: A group of channels over the whole image; 32 groups, fewer if 32 does not divide it.
        BATCH: One channel over all images of the batch, at test time too (no running statistics).
    """

    PIXEL = "pixel"
    GROUP = "group"
    BATCH = "batch"


def normalisation_layer(kind: Normalisation, channels: int) -> nn.Module:
    """Return the layer, with unit gain and no shift."""
    match kind:
        case Normalisation.PIXEL:
            return PixelNorm(channels, eps=EPS)
        case Normalisation.GROUP:
            return nn.GroupNorm(gcd(GROUPS, channels), channels, eps=EPS)
        case Normalisation.BATCH:
            return nn.BatchNorm2d(channels, track_running_stats=False)
