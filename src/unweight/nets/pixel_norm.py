"""Layer normalisation over the channels of each pixel, blind to every other pixel.

    y_c = gamma_c (x_c − mean_c x) / sqrt(var_c x + eps) + beta_c        at each pixel separately

J. L. Ba et al., Layer normalization, arXiv 1607.06450; over channels only, as in Z. Liu et al., A ConvNet
for the 2020s (ConvNeXt), CVPR 2022. Group, instance and batch statistics are averages over the image: more
empty background changes them, and with them every estimate in the brain. These do not change.
"""

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
