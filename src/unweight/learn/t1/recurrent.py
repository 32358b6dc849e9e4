"""T1, PD and B by the recurrent inference machine, as published.

    x_{t+1} = | x_t + d_t |,   d_t from the cell, given x_t and grad Σ_i ( |S_i(x_t)| − y_i )²
    S_i = PD (1 − B e^(−TI_i/T1)),   x_0 = (T1 = 1 s, PD = max_i y_i, B = 2)

The state is in raw units: seconds, relative to the reference intensity, and one. The gradient is of the
plain sum of squares, no sigma and no Rician law; here in closed form, with NaN and infinity as 0. It spans
many decades where T1 is short, so each component g enters as sign(g) ln(1 + |g|): that keeps the order and
the sign and keeps training stable. It is an input, as published: nothing is differentiated through it.

The loss is the mean square error of every step in raw units, all steps and all maps alike. That weighs
50 ms of T1 the same at 60 ms as at 4 s, and is why its short T1 are poor.

References: E. R. Sabidussi et al., Medical Image Analysis 74:102220, 2021 (arXiv 2106.07379), and its
implementation EMCqMRI 1.1.17; nine steps as in S. Wang et al., arXiv 2407.16477.
"""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unweight.core.errors import UsageError
from unweight.core.estimator import Progress
from unweight.learn.t1.network_t1 import (
    SPECS,
    Estimate,
    NormalisedSlices,
    SliceInference,
    check_relative_sd,
    masked_square_error,
    point_estimate,
)
from unweight.learn.training.trainable import Batch, Task
from unweight.nets.recurrent import RecurrentConfig, RecurrentInference
from unweight.signals.inversion_recovery import undisturbed_gradient, undisturbed_recovery

START_T1, START_B = 1.0, 2.0
PUBLISHED = RecurrentConfig(state_channels=3, gradient_channels=3, n_steps=9)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class SquaredResiduals:
    """The misfit of inversion recovery without a TR term, and its gradient.

    Attributes:
        signal: Magnitude volumes.
        inversion_time: TI of each [s].
    """

    signal: Float[Tensor, "batch volumes x y"]
    inversion_time: Float[Tensor, " volumes"]

    def start(self) -> Float[Tensor, "batch 3 x y"]:
        """Return T1 = 1 s, the strongest volume for PD, B = 2."""
        pd = self.signal.amax(1, keepdim=True)
        return torch.cat([torch.full_like(pd, START_T1), pd, torch.full_like(pd, START_B)], dim=1)

    def value(self, state: Float[Tensor, "batch 3 x y"]) -> Float[Tensor, "batch x y"]:
        """Return the sum of squares at (T1, PD, B)."""
        t1, pd, b = state[:, 0:1], state[:, 1:2], state[:, 2:3]
        model = undisturbed_recovery(t1, pd, b, self._times(t1))
        return torch.sum((model.abs() - self.signal) ** 2, dim=1)

    def gradient(self, state: Float[Tensor, "batch 3 x y"]) -> Float[Tensor, "batch 3 x y"]:
        """Return its derivative by (T1, PD, B); where it has none, 0."""
        t1, pd, b = (state.detach()[:, at : at + 1] for at in range(3))
        times = self._times(t1)
        model = undisturbed_recovery(t1, pd, b, times)
        pull = 2 * (model.abs() - self.signal) * model.sign()
        parts = undisturbed_gradient(pull, t1, pd, b, times)
        return torch.stack([part.sum(1) for part in parts], dim=1).nan_to_num(0.0, 0.0, 0.0)

    def compressed_gradient(self, state: Float[Tensor, "batch 3 x y"]) -> Float[Tensor, "batch 3 x y"]:
        """Return sign(g) ln(1 + |g|) of the gradient."""
        gradient = self.gradient(state)
        return gradient.sign() * torch.log1p(gradient.abs())

    def _times(self, like: Tensor) -> Float[Tensor, "volumes 1 1"]:
        return self.inversion_time.to(like)[:, None, None]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class RecurrentTask(Task):
    """Mean square error of every step. A batch holds `signal` and `truth`, channels first.

    Attributes:
        machine: The network to train.
        inversion_time: TI of the volumes of every batch [s].
    """

    machine: RecurrentInference
    inversion_time: tuple[float, ...]

    @property
    def network(self) -> nn.Module:
        """The recurrent inference machine."""
        return self.machine

    def loss(self, network: nn.Module, batch: Batch, generator: torch.Generator) -> Float[Tensor, ""]:
        """Return the loss; voxels whose truth is NaN do not count."""
        states = unroll(network, batch["signal"], torch.tensor(self.inversion_time))
        return masked_square_error(states, batch["truth"].to(states))


@final
@dataclass(frozen=True, kw_only=True)
class UnrolledInference(SliceInference):
    """The state after the last step of a recurrent inference machine.

    Attributes:
        relative_sd: Standard deviation of (T1, PD, B) over their value, from validation.
    """

    relative_sd: tuple[float, float, float]

    def __post_init__(self) -> None:
        check_relative_sd(self.relative_sd)

    def check(self, network: nn.Module, n_images: int) -> None:
        """Return if state and gradient have three maps."""
        config = _machine(network).config
        if (config.state_channels, config.gradient_channels) != (len(SPECS), len(SPECS)):
            raise UsageError(
                f"state_channels is {config.state_channels} and gradient_channels is "
                f"{config.gradient_channels}; both must be {len(SPECS)}",
                remedy=f"Use {len(SPECS)} channels for each: T1, PD and B.",
            )

    def __call__(
        self,
        network: nn.Module,
        slices: NormalisedSlices,
        inversion_time: Float[Tensor, " channels"],
        progress: Progress | None,
    ) -> Estimate:
        """Run the machine on one slice at a time."""

        def infer(images: Tensor) -> Tensor:
            return unroll(network, images, inversion_time)[-1, 0]

        return point_estimate(network, slices, self.relative_sd, infer, progress)

    def n_evaluations(self, network: nn.Module) -> int:
        """Return the steps of the machine."""
        return _machine(network).config.n_steps

    def drawing(self, n_draws: int | None, n_steps: int | None) -> SliceInference:
        """Return itself: there is nothing to draw."""
        return self

    def notes(self) -> dict[str, str | float | int]:
        """Return nothing."""
        return {}


def _machine(network: nn.Module) -> RecurrentInference:
    if not isinstance(network, RecurrentInference):
        raise UsageError(
            f"the network is a {type(network).__name__}, not a recurrent inference machine",
            remedy="Use weights of the method rim.",
        )
    return network


def unroll(
    network: nn.Module, signal: Float[Tensor, "batch volumes x y"], times: Float[Tensor, " volumes"]
) -> Float[Tensor, "steps batch 3 x y"]:
    """Return (T1, PD, B) after each step.

    Args:
        network: A `RecurrentInference`, or what wraps it.
        signal: Volumes over the reference intensity.
        times: TI of each [s].
    """
    misfit = SquaredResiduals(signal=signal, inversion_time=times.to(signal))
    states: Tensor = network(misfit.start(), misfit.compressed_gradient, torch.abs)
    return states
