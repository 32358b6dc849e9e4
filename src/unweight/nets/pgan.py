"""A conditional GAN: a U-Net that makes images of images, and a critic of patches that judges them.

    generator:  min  mean (D(x, G(x)) − 1)² + λ·mean |y − G(x)|,    λ = 100
    critic:     min  ½·mean (D(x, y) − 1)² + ½·mean D(x, G(x))²

The critic sees patches of 31 pixels (pix2pix, P. Isola et al., CVPR 2017) and the losses are least squares
(X. Mao et al., ICCV 2017), as in pGAN, S. Dar et al., IEEE Trans Med Imaging 38:2375, 2019. Of pGAN the
perceptual loss is excluded: it rests on a network trained on photographs.
"""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from unweight.core.errors import UsageError
from unweight.nets.layers import check_counts, convolution
from unweight.nets.unet import UNet, UNetConfig

SLOPE = 0.2
Seen = Float[Tensor, "batch seen height width"]
Made = Float[Tensor, "batch made height width"]
Judged = Float[Tensor, "batch judged height width"]
Verdict = Float[Tensor, "batch 1 rows columns"]


@final
@dataclass(frozen=True, kw_only=True)
class PganConfig:
    """What the two networks are made of.

    Attributes:
        generator: The U-Net.
        n_judged: The first so many of its output channels are judged.
        critic: Channels of each halving of the critic.
    """

    generator: UNetConfig
    n_judged: int = 3
    critic: tuple[int, ...] = (32, 64, 128)

    def __post_init__(self) -> None:
        check_counts(self, "n_judged")
        if self.n_judged > self.generator.out_channels or not self.critic or min(self.critic) < 1:
            raise UsageError(
                f"PganConfig judges {self.n_judged} of {self.generator.out_channels} channels with critic "
                f"{self.critic}",
                remedy="Judge no more channels than are made; give the critic positive widths.",
            )


@final
class Pgan(nn.Module):
    """Generator and critic.

    Attributes:
        config: What they were built from.
        generator: Makes images.
        critic: Judges them, patch by patch.
    """

    def __init__(self, config: PganConfig, *, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        self.generator = UNet(config.generator, generator=generator)
        layers: list[nn.Module] = []
        width = config.generator.in_channels + config.n_judged
        for wider in config.critic:
            layers += [
                convolution(width, wider, size=3, stride=2, generator=generator),
                nn.LeakyReLU(SLOPE),
            ]
            width = wider
        layers.append(convolution(width, 1, generator=generator))
        self.critic = nn.Sequential(*layers)

    def forward(
        self, known: Seen, truth: Judged | None = None, counts: Judged | None = None
    ) -> tuple[Made, tuple[Verdict, Verdict, Verdict] | None]:
        """Return what the generator makes, and the critic's output for it if there is a truth.

        The verdicts are of the generator's images as it wants them judged (the critic held fixed), and
        of the true and the generator's images as the critic should judge them (the generator held fixed).

        Args:
            known: Images that the generator is given.
            truth: The images wanted.
            counts: 0 where both show nothing, so that the critic cannot tell them apart by that.
        """
        generator: Tensor = self.generator(known)
        if truth is None:
            return generator, None
        judged = generator[:, : self.config.n_judged] * (1.0 if counts is None else counts)
        held = {name: named_parameter.detach() for name, named_parameter in self.critic.named_parameters()}
        fooled = functional_call(self.critic, held, torch.cat([known, judged], dim=1))
        true = self.critic(torch.cat([known, truth], dim=1))
        false = self.critic(torch.cat([known, judged.detach()], dim=1))
        return generator, (fooled, true, false)


def adversarial_loss(verdicts: tuple[Verdict, Verdict, Verdict]) -> Float[Tensor, ""]:
    """Return what generator and critic lose; each part has a gradient for one of them only."""
    fooled, true, false = verdicts
    generator = F.mse_loss(fooled, torch.ones_like(fooled))
    critic = F.mse_loss(true, torch.ones_like(true)) + F.mse_loss(false, torch.zeros_like(false))
    return generator + critic / 2
