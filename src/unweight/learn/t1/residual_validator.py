"""How well drawn maps know the error of a region: the mean of ln T1 over a square of voxels.

    ratio = rms(error of the square's mean) / rms(sd of the square's mean over draws)

1 is right. With errors that were independent from voxel to voxel, the sd of the mean would be that of the
voxels over √n; how far that is off is told beside it.
"""

import math
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from unweight.learn.t1.posterior_task import answer
from unweight.learn.t1.residual import ResidualDraws, conditions
from unweight.learn.training.validator import Calibration, Examination, Slabs
from unweight.nets.time_unet import TimeUNet
from unweight.nets.unet import UNet

SQUARE = 8  # voxels along each side of a region
N_DRAWS, N_STEPS = 8, 4
MANY = 16  # draws by which a region is judged
SPREAD_ENDS = (0.5, 2.0)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class ResidualExamination(Examination):
    """Examines a network of `learn.t1.residual`.

    Attributes:
        slabs: For validation, as `learn.t1.slabs` makes them.
        posterior: The one-pass network.
    """

    slabs: Slabs
    posterior: UNet

    def check(self, network: nn.Module) -> dict[str, float]:
        """Return the scores of a network in training."""
        return self.score(network, {"n_steps": N_STEPS, "spread": 1.0})

    def calibrate(self, network: nn.Module, slabs: Slabs | None) -> Calibration:
        """Return draws, steps, and the factor by which regions must spread more than they do."""
        plain: Calibration = {"n_draws": N_DRAWS, "n_steps": N_STEPS, "spread": 1.0}
        judged = self if slabs is None else ResidualExamination(slabs=slabs, posterior=self.posterior)
        found = judged.score(network, plain)
        low, high = SPREAD_ENDS
        return {**plain, "spread": min(max(found["voxel_ratio"], low), high)}

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
            one = {name: slab[index : index + 1].float() for name, slab in self.slabs.items()}
            square, voxel = self._judge(draws, one, index)
            squares.append(square)
            voxels.append(voxel)
        error, spread, alone = _rms(torch.cat(squares))
        voxel_error, voxel_spread, _ = _rms(torch.cat(voxels))
        return {
            "region_ratio": error / spread,
            "region_ratio_independent": error / alone,
            "voxel_ratio": voxel_error / voxel_spread,
        }

    def _judge(self, draws: ResidualDraws, one: Slabs, index: int) -> tuple[Tensor, Tensor]:
        """Return error, spread over draws, and spread of independent voxels, for squares and voxels."""
        channels, scale, target = one["channels"], one["scale"], one["target"]
        with torch.no_grad():
            correction, log_sd = answer(self.posterior(channels), channels, scale)
        sd = log_sd[:, :1].exp()
        drawn = draws(conditions(channels, correction, log_sd), index)[:, :1] * sd * scale[:, :1]
        counts = (torch.isfinite(target[:, :1]) & (one["weight"][:, None] > 0.5)).float()
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
