"""Draws of maps with spatially correlated errors: task, sampler and validation.

Maps drawn from the posterior, for what one voxel's interval cannot say: how sure a whole region is.

    r = (truth − mean)/sd,   diffused in a few DDIM steps on the cosine schedule, v-prediction
    draw = mean + sd·r/c,    c = cos(π/2K)^K, the contraction of K steps (`diffusion.samplers`)

Mean and sd are those of the one-pass network, so r has unit variance by construction and what the sampler
loses of it is known and divided out. What is learned is how the errors of neighbours go together.

References: CorrDiff, M. Mardani et al., Commun Earth Environ 6:124, 2025 (regression, then diffusion of
what it leaves); T. Salimans and J. Ho, ICLR 2022 (v-prediction).

How well drawn maps know the error of a region: the mean of ln T1 over a square of voxels.

    ratio = rms(error of the square's mean) / rms(sd of the square's mean over draws)

1 is right. With errors that were independent from voxel to voxel, the sd of the mean would be that of the
voxels over √n; its error is reported beside it.
"""

import math
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from unweight.core.errors import UsageError
from unweight.core.seeding import seeded_generator
from unweight.diffusion.denoiser import NetworkDenoiser, Prediction, concat_condition
from unweight.diffusion.level import ItemNoise, diffuse
from unweight.diffusion.samplers import Ddim, variance_correction
from unweight.diffusion.schedule import cosine_schedule
from unweight.learn.t1.features import CHANNELS
from unweight.learn.t1.posterior_task import N_PARAMETERS, split_output
from unweight.learn.training.trainable import Assessment, Batch, Calibration, Samples, Task, Validator
from unweight.nets.normalisation import Normalisation
from unweight.nets.time_unet import TimeUNet, TimeUNetConfig
from unweight.nets.unet import UNet

TRAINED = cosine_schedule(1000)
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
            correction, log_sd = split_output(self.posterior(channels), channels, batch["scale"])
        known = torch.isfinite(target)
        clean = ((target - correction) * torch.exp(-log_sd)).nan_to_num().clamp(-FARTHEST, FARTHEST)
        clean = torch.where(known, clean, torch.zeros_like(clean))
        steps = torch.randint(1, TRAINED.n_steps + 1, (len(clean),), generator=generator)
        level = TRAINED.at(steps, clean)
        noise = torch.randn(clean.shape, generator=generator).to(clean)
        condition = residual_inputs(channels, correction, log_sd)
        asked = concat_condition(network, time_unit=TIME_UNIT)(
            diffuse(clean, noise, level), level.time, condition
        )
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


def residual_inputs(channels: Tensor, correction: Tensor, log_sd: Tensor) -> Float[Tensor, "batch c x y"]:
    """Return the conditions of the network beside the noisy residual: the features and the first answer."""
    return torch.cat([channels.float(), correction.clamp(-8, 8) / 4, log_sd], dim=1)


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
                f"{self.n_draws} draws of {self.n_steps} steps cannot give random samples",
                remedy="Give at least one draw of at least two steps; a single step gives the mean.",
            )

    def __call__(
        self, condition: Float[Tensor, "1 c x y"], slice_index: int
    ) -> Float[Tensor, "draws parameters x y"]:
        """Draw residuals of unit variance."""
        schedule = cosine_schedule(self.n_steps)
        generators = tuple(
            seeded_generator(self.seed, "residual", slice_index, draw, device=condition.device)
            for draw in range(self.n_draws)
        )
        noise = ItemNoise(generators=generators, shape=(N_PARAMETERS, *condition.shape[2:]))
        denoiser = NetworkDenoiser(
            network=concat_condition(self.network, time_unit=TIME_UNIT), prediction=Prediction.VELOCITY
        )
        drawn = Ddim(schedule=schedule)(denoiser, noise, condition.expand(self.n_draws, -1, -1, -1))
        return drawn * (math.sqrt(variance_correction(schedule)) * self.spread)


SQUARE = 8  # voxels along each side of a region
N_DRAWS, N_STEPS = 8, 4
MANY = 16  # draws by which a region is judged
SPREAD_ENDS = (0.5, 2.0)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class ResidualValidator(Validator):
    """Scores a network of `learn.t1.residual`.

    Attributes:
        slabs: For validation, as `learn.t1.slabs` makes them.
        posterior: The one-pass network.
    """

    slabs: Samples
    posterior: UNet

    def check(self, network: nn.Module) -> dict[str, float]:
        """Return the scores of a network in training."""
        return self.score(network, {"n_steps": N_STEPS, "spread": 1.0})

    def assess(self, network: nn.Module, calibration: Samples | None) -> Assessment:
        """Find the factor on the spread, and score with it."""
        calibrated = self.calibrate(network, calibration)
        return Assessment(calibration=calibrated, metrics=self.score(network, calibrated))

    def calibrate(self, network: nn.Module, slabs: Samples | None) -> Calibration:
        """Return draws, steps, and the factor by which regions must spread more than they do."""
        plain: Calibration = {"n_draws": N_DRAWS, "n_steps": N_STEPS, "spread": 1.0}
        judged = self if slabs is None else ResidualValidator(slabs=slabs, posterior=self.posterior)
        score = judged.score(network, plain)
        low, high = SPREAD_ENDS
        return {**plain, "spread": min(max(score["voxel_ratio"], low), high)}

    def score(self, network: nn.Module, calibration: Calibration) -> dict[str, float]:
        """Return error over spread of squares and of voxels, and of squares with independent voxels."""
        if not isinstance(network, TimeUNet):
            raise TypeError(f"nothing examines a {type(network).__name__}")
        draws = ResidualDraws(
            network=network,
            n_draws=MANY,
            n_steps=int(calibration["n_steps"]),
            spread=float(calibration["spread"]),
        )
        squares: list[Tensor] = []
        voxels: list[Tensor] = []
        for index in range(len(self.slabs["channels"])):
            item = {name: slab[index : index + 1].float() for name, slab in self.slabs.items()}
            square, voxel = self._judge(draws, item, index)
            squares.append(square)
            voxels.append(voxel)
        error, spread, alone = _rms(torch.cat(squares))
        voxel_error, voxel_spread, _ = _rms(torch.cat(voxels))
        return {
            "region_ratio": error / spread,
            "region_ratio_independent": error / alone,
            "voxel_ratio": voxel_error / voxel_spread,
        }

    def _judge(self, draws: ResidualDraws, samples: Samples, index: int) -> tuple[Tensor, Tensor]:
        """Return error, spread over draws, and spread of independent voxels, for squares and voxels."""
        channels, scale, target = samples["channels"], samples["scale"], samples["target"]
        with torch.no_grad():
            correction, log_sd = split_output(self.posterior(channels), channels, scale)
        sd = log_sd[:, :1].exp()
        drawn = draws(residual_inputs(channels, correction, log_sd), index)[:, :1] * sd * scale[:, :1]
        counts = (torch.isfinite(target[:, :1]) & (samples["weight"][:, None] > 0.5)).float()
        error = (target[:, :1].nan_to_num() - correction[:, :1]) * scale[:, :1]
        full = F.avg_pool2d(counts, SQUARE) > 1 - 1e-6
        mean = F.avg_pool2d(error, SQUARE)
        spread = F.avg_pool2d(drawn, SQUARE).std(0, keepdim=True)
        alone = F.avg_pool2d((sd * scale[:, :1]) ** 2, SQUARE).sqrt() / SQUARE
        inside = counts > 0
        own = sd * scale[:, :1]
        return (
            torch.stack([part[full] for part in (mean, spread, alone)], dim=1),
            torch.stack([part[inside] for part in (error, drawn.std(0, keepdim=True), own)], dim=1),
        )


def _rms(rows: Float[Tensor, "rows 3"]) -> tuple[float, float, float]:
    """Return the medians of the squares as root: a few hopeless regions do not decide."""
    if not len(rows):
        return math.nan, math.nan, math.nan
    relative = rows / rows[:, 1:2].clamp(min=1e-9)
    error, alone = (float(relative[:, column].abs().quantile(0.6827)) for column in (0, 2))
    return error, 1.0, alone
