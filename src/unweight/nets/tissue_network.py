"""Classes of voxels from their intensity, by coefficients that a U-Net predicts at half the resolution.

    logit_c(x) = a_c + b_c v + c_c v² + d_c w + e_c w²,   v = 2 (I − 0.7),   w = 2 (I_s − 0.7)

with I the image, I_s its mean over 3x3x3 voxels, and a_c … e_c predicted from the image around it and
interpolated to its voxels. A quadratic in the intensity is what a mixture of Gaussians with one mean,
variance and prior of each class gives, here with parameters that depend on the place: context decides at
the resolution of context, and the voxel itself at its own. The side comes from the same features at full
resolution.

TissueNetwork with widths (32, 48, 64, 96) has 1,608,384 parameters.
"""

from typing import final

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from unweight.core.errors import UsageError
from unweight.nets.volume_unet import VolumeUNet, VolumeUNetConfig

N_TERMS = 5
CENTRE, SCALE = 0.7, 2.0
SIDE = 8  # channels at half the resolution are one at the full


@final
class TissueNetwork(nn.Module):
    """The network.

    Attributes:
        unet: Predicts coefficients; it has 5 output channels for 8 classes and one for the side.
        n_classes: Number of classes.
    """

    def __init__(self, config: VolumeUNetConfig, n_classes: int, *, generator: torch.Generator) -> None:
        super().__init__()
        if 8 * config.out_channels != N_TERMS * n_classes + SIDE:
            raise UsageError(
                f"{config.out_channels} output channels do not fit {n_classes} classes",
                remedy=f"Eight times the channels must be {N_TERMS} times the classes and {SIDE} more.",
            )
        self.unet = VolumeUNet(config, generator=generator)
        self.n_classes = n_classes

    def forward(
        self, image: Float[Tensor, "batch 1 x y z"], guide: Float[Tensor, "batch guides u v w"]
    ) -> Float[Tensor, "batch outputs x y z"]:
        """Return the logits of the classes, then that of the side.

        Args:
            image: Of even sizes, brain at about 1.
            guide: Second input of the U-Net, at half the resolution.
        """
        coarse = self.unet.at_half_resolution(image, guide)
        n_coefficients = N_TERMS * self.n_classes
        coefficients = rearrange(coarse[:, :n_coefficients], "b (t c) x y z -> t b c x y z", t=N_TERMS)
        v = SCALE * (image - CENTRE)
        w = SCALE * (F.avg_pool3d(image, 3, 1, 1, count_include_pad=False) - CENTRE)
        logits = _wide(coefficients[0])
        for coefficient, term in zip(coefficients[1:], (v, v * v, w, w * w), strict=True):
            logits = logits + _wide(coefficient) * term
        side = rearrange(
            coarse[:, n_coefficients:], "b (i j k) x y z -> b 1 (x i) (y j) (z k)", i=2, j=2, k=2
        )
        x, y, z = image.shape[2:]
        return torch.cat([logits, side], dim=1)[..., :x, :y, :z]


def _wide(coarse: Tensor) -> Tensor:
    """Return coefficients at twice the resolution."""
    return F.interpolate(coarse, scale_factor=2, mode="trilinear", align_corners=False)
