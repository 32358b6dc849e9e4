"""Denoisers: prediction targets, the contract, and networks that keep it.

What a network is trained to predict, and the clean sample that follows from it.

    clean x₀     ε = noise, x₀ = (x − σ ε)/α     v = α ε − σ x₀, x₀ = α x − σ v

The three hold the same information while 0 < α < 1. At α = 0, pure noise, ε says nothing about x₀;
v is then −x₀. The error of x₀ is that of v times σ, and that of ε times σ/α, which has no bound.

References: Ho, Jain, Abbeel, NeurIPS 2020 (arXiv 2006.11239); Salimans, Ho, ICLR 2022
(arXiv 2202.00512), appendix D.

The contract of a denoiser, E[x₀ | x, level, condition], and networks that fulfil it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unweight.core.errors import UsageError
from unweight.diffusion.level import NoiseLevel


class Prediction(Enum):
    """The target of a network."""

    CLEAN = "clean"
    EPSILON = "epsilon"
    VELOCITY = "velocity"

    def target(
        self,
        clean: Float[Tensor, "batch channels *space"],
        noise: Float[Tensor, "batch channels *space"],
        level: NoiseLevel,
    ) -> Float[Tensor, "batch channels *space"]:
        """Return the target of the network."""
        if self is Prediction.CLEAN:
            return clean
        if self is Prediction.EPSILON:
            return noise
        alpha, sigma = level.along(clean)
        return (alpha * noise - sigma * clean).to(clean)

    def clean(
        self,
        predicted: Float[Tensor, "batch channels *space"],
        noisy: Float[Tensor, "batch channels *space"],
        level: NoiseLevel,
    ) -> Float[Tensor, "batch channels *space"]:
        """Return the clean sample that the prediction implies.

        Raises:
            UsageError: ε was predicted where there is nothing but noise.
        """
        if self is Prediction.CLEAN:
            return predicted
        alpha, sigma = level.along(noisy)
        if self is Prediction.VELOCITY:
            return (alpha * noisy - sigma * predicted).to(noisy)
        if bool((alpha <= 0).any()):
            raise UsageError(
                "a prediction of epsilon gives no clean sample at alpha = 0, where all is noise",
                remedy="Predict the velocity, or use a schedule that ends with alpha above 0.",
            )
        return ((noisy - sigma * predicted) / alpha).to(noisy)


Network = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""A module called with the noisy sample, the time of each item, and the condition or None."""


def concat_condition(
    network: nn.Module, *, time_unit: float | None = None, on_call: Callable[[], None] | None = None
) -> Network:
    """Return a network as denoisers call it: the condition is concatenated to the noisy sample.

    Args:
        network: Called with both as one image, and the time.
        time_unit: Factor on the time; None to pass the time on as it is.
        on_call: Called after each evaluation.
    """

    def conditioned(noisy: Tensor, time: Tensor, condition: Tensor | None) -> Tensor:
        if condition is None:
            raise UsageError("this network needs a condition, and none is given")
        scaled = time if time_unit is None else time.to(noisy) * time_unit
        predicted: Tensor = network(torch.cat([noisy, condition.to(noisy)], dim=1), scaled)
        if on_call is not None:
            on_call()
        return predicted

    return conditioned


class Denoiser(ABC):
    """Says what the clean sample is, on average, given a noisy one. Stateless."""

    @abstractmethod
    def __call__(
        self,
        noisy: Float[Tensor, "batch channels *space"],
        level: NoiseLevel,
        condition: Float[Tensor, "batch *condition"] | None,
    ) -> Float[Tensor, "batch channels *space"]:
        """Return the clean sample, in the dtype and on the device of the noisy one.

        Args:
            noisy: α x₀ + σ ε.
            level: The α and σ of each item.
            condition: What is known of each item; None where nothing is.
        """


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class NetworkDenoiser(Denoiser):
    """A network, and what it was trained to predict.

    Attributes:
        network: Called with the noisy sample, the time, and the condition.
        prediction: What it returns.
    """

    network: Network
    prediction: Prediction

    def __call__(
        self,
        noisy: Float[Tensor, "batch channels *space"],
        level: NoiseLevel,
        condition: Float[Tensor, "batch *condition"] | None,
    ) -> Float[Tensor, "batch channels *space"]:
        """Ask the network and convert its answer."""
        predicted = self.network(noisy, level.time, condition)
        if predicted.shape != noisy.shape:
            raise UsageError(
                f"the network returns shape {tuple(predicted.shape)} for a sample of {tuple(noisy.shape)}",
                remedy="A denoising network returns as many channels as the sample has.",
            )
        return self.prediction.clean(predicted, noisy, level).to(noisy)


@final
@dataclass(frozen=True, kw_only=True)
class Clipped(Denoiser):
    """A denoiser whose clean sample stays in a range, as DDPM does with images in [-1, 1].

    Attributes:
        denoiser: What to clip.
        lower: Least value.
        upper: Greatest value.
    """

    denoiser: Denoiser
    lower: float
    upper: float

    def __post_init__(self) -> None:
        if not self.lower < self.upper:
            raise UsageError(f"nothing lies between {self.lower:g} and {self.upper:g}")

    def __call__(
        self,
        noisy: Float[Tensor, "batch channels *space"],
        level: NoiseLevel,
        condition: Float[Tensor, "batch *condition"] | None,
    ) -> Float[Tensor, "batch channels *space"]:
        """Ask the denoiser and clip its answer."""
        return self.denoiser(noisy, level, condition).clamp(self.lower, self.upper)
