"""What a denoising network is trained on: the mean square error of its prediction at a random level.

    L = E_{k, ε} mean |f(α_k x₀ + σ_k ε, t_k, condition) − target|²

The target is ε (the simple loss of DDPM), v, or x₀. Levels are drawn evenly from those of the schedule
that hold noise, so that a short schedule trains only the levels it will sample, as Fast-DDPM does.

References: Ho, Jain, Abbeel, NeurIPS 2020 (arXiv 2006.11239), equation 14; Salimans, Ho, ICLR 2022
(arXiv 2202.00512); Jiang et al., 2024 (arXiv 2405.14802).
"""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from unweight.core.errors import UsageError
from unweight.diffusion.denoiser import Network, Prediction
from unweight.diffusion.level import ItemNoise, diffuse
from unweight.diffusion.schedule import NoiseSchedule


@final
@dataclass(frozen=True, kw_only=True)
class DenoisingLoss:
    """The loss of a batch, item by item: take the mean to train.

    Attributes:
        schedule: The levels to train on.
        prediction: What the network predicts.
    """

    schedule: NoiseSchedule
    prediction: Prediction

    def __post_init__(self) -> None:
        if self.prediction is Prediction.EPSILON and float(self.schedule.alpha[-1]) == 0:
            raise UsageError(
                "a network cannot learn to sample from epsilon on a schedule that reaches pure noise",
                remedy="Predict the velocity, or use a schedule that ends with alpha above 0.",
            )

    def __call__(
        self,
        network: Network,
        clean: Float[Tensor, "batch channels *space"],
        condition: Float[Tensor, "batch *condition"] | None,
        noise: ItemNoise,
    ) -> Float[Tensor, " batch"]:
        """Draw a level and noise for each item and return its mean square error."""
        first = 1 if float(self.schedule.sigma[0]) == 0 else 0
        level = self.schedule.at(noise.integers(first, self.schedule.n_steps), clean)
        drawn = noise.normal().to(clean)
        if drawn.shape != clean.shape:
            raise UsageError(f"noise of shape {tuple(drawn.shape)} is given for {tuple(clean.shape)}")
        predicted = network(diffuse(clean, drawn, level), level.time, condition)
        square = (predicted - self.prediction.target(clean, drawn, level)) ** 2
        return torch.mean(square.flatten(1), dim=1)
