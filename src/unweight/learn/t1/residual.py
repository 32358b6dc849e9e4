"""Maps drawn from the posterior, for what one voxel's interval cannot say: how sure a whole region is.

    r = (truth − mean)/sd,   diffused in a few DDIM steps on the cosine ladder, v-prediction
    draw = mean + sd·r/c,    c = cos(π/2K)^K, the contraction of K steps (`diffusion.samplers`)

Mean and sd are those of the one-pass network, so r has unit variance by construction and what the sampler
loses of it is known and divided out. What is learned is how the errors of neighbours go together.

References: CorrDiff, M. Mardani et al., Commun Earth Environ 6:124, 2025 (regression, then diffusion of
what it leaves); T. Salimans and J. Ho, ICLR 2022 (v-prediction).
"""

import math
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unweight.core.errors import UsageError
from unweight.core.seeding import seeded_generator
from unweight.diffusion.denoiser import Network, NetworkDenoiser, Prediction
from unweight.diffusion.level import ItemNoise, diffuse
from unweight.diffusion.samplers import Ddim, variance_correction
from unweight.diffusion.schedule import cosine_ladder
from unweight.learn.t1.features import CHANNELS
from unweight.learn.t1.posterior_task import N_PARAMETERS, answer
from unweight.learn.training.task import Batch, Task
from unweight.nets.normalisation import Normalisation
from unweight.nets.time_unet import TimeUNet, TimeUNetConfig
from unweight.nets.unet import UNet

TRAINED = cosine_ladder(1000)
FARTHEST = 6.0  # residuals beyond so many sd count as so many
CONDITIONS = len(CHANNELS) + 2 * N_PARAMETERS
TIME_UNIT = 1000.0  # steps of the network's sinusoids from clean to pure noise


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class ResidualTask(Task):
    """Velocity of the whitened residual at a random level; where nothing is known, nothing counts.

    Attributes:
        unet: The network to train.
        posterior: The one-pass network, trained already.
    """

    unet: TimeUNet
    posterior: UNet

    @property
    def network(self) -> nn.Module:
        """The network to train."""
        return self.unet

    def loss(self, network: nn.Module, batch: Batch, generator: torch.Generator) -> Float[Tensor, ""]:
        """Return the loss of a batch as `PosteriorTask` takes it."""
        channels, target = batch["channels"], batch["target"]
        with torch.no_grad():
            correction, log_sd = answer(self.posterior(channels), channels, batch["scale"])
        known = torch.isfinite(target)
        clean = ((target - correction) * torch.exp(-log_sd)).nan_to_num().clamp(-FARTHEST, FARTHEST)
        clean = torch.where(known, clean, torch.zeros_like(clean))
        steps = torch.randint(1, TRAINED.n_steps + 1, (len(clean),), generator=generator)
        level = TRAINED.at(steps, clean)
        noise = torch.randn(clean.shape, generator=generator).to(clean)
        condition = conditions(channels, correction, log_sd)
        asked = told(network)(diffuse(clean, noise, level), level.time, condition)
        square = (asked - Prediction.VELOCITY.target(clean, noise, level)) ** 2
        weight = known * batch["weight"][:, None]
        return (square * weight).sum() / weight.sum().clamp(min=1)


def residual_config(widths: tuple[int, ...]) -> TimeUNetConfig:
    """Return a network of these widths, without attention and blind to what else is in the image."""
    return TimeUNetConfig(
        in_channels=N_PARAMETERS + CONDITIONS,
        out_channels=N_PARAMETERS,
        widths=widths,
        attention_levels=(),
        norm=Normalisation.PIXEL,
        space_to_depth=2,
    )


def conditions(channels: Tensor, correction: Tensor, log_sd: Tensor) -> Float[Tensor, "batch c x y"]:
    """Return what the network is told beside the noisy residual: the features and the first answer."""
    return torch.cat([channels.float(), correction.clamp(-8, 8) / 4, log_sd], dim=1)


def told(network: nn.Module) -> Network:
    """Return the network as denoisers call it: noisy residual, time, condition."""

    def asked(noisy: Tensor, time: Tensor, condition: Tensor | None) -> Tensor:
        beside = noisy if condition is None else torch.cat([noisy, condition.to(noisy)], dim=1)
        predicted: Tensor = network(beside, time.to(noisy) * TIME_UNIT)
        return predicted

    return asked


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class ResidualDraws:
    """Draws of the whitened residual of a slice.

    Attributes:
        network: The trained network.
        n_draws: How many.
        n_steps: Steps of each.
        seed: Of the noise; draw k of slice i is the same whatever else is drawn.
        spread: Factor on every draw beside the known contraction, found in calibration.
    """

    network: TimeUNet
    n_draws: int = 8
    n_steps: int = 4
    seed: int = 0
    spread: float = 1.0

    def __post_init__(self) -> None:
        if self.n_draws < 1 or self.n_steps < 2:
            raise UsageError(
                f"{self.n_draws} draws of {self.n_steps} steps have no spread",
                remedy="Give at least one draw of at least two steps; a single step ends in the mean.",
            )

    def __call__(
        self, condition: Float[Tensor, "1 c x y"], slice_index: int
    ) -> Float[Tensor, "draws parameters x y"]:
        """Draw residuals of unit variance."""
        ladder = cosine_ladder(self.n_steps)
        generators = tuple(
            seeded_generator(self.seed, "residual", slice_index, draw, device=condition.device)
            for draw in range(self.n_draws)
        )
        noise = ItemNoise(generators=generators, shape=(N_PARAMETERS, *condition.shape[2:]))
        denoiser = NetworkDenoiser(network=told(self.network), prediction=Prediction.VELOCITY)
        drawn = Ddim(ladder=ladder)(denoiser, noise, condition.expand(self.n_draws, -1, -1, -1))
        return drawn * (math.sqrt(variance_correction(ladder)) * self.spread)
