"""Which statistics a network normalises by: of one pixel, or of the whole image.

Only `PIXEL` gives estimates that do not depend on what else is in the picture. `GROUP` (Y. Wu and K. He,
Group normalization, ECCV 2018) and `BATCH` without running statistics (as in the published relaxometry
baseline of EMCqMRI) are here to reproduce published networks and to show that artefact.
"""

from enum import StrEnum
from math import gcd

from torch import nn

from unweight.nets.pixel_norm import PixelNorm

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
