"""Classifier-free guidance: go further in the direction in which the condition pulls.

    x₀ = x₀(none) + w (x₀(condition) − x₀(none))

The same as guidance of ε, which is linear in x₀ at a given x; w here is 1 + w of the paper. w = 1 is
the denoiser itself. Any other w samples another distribution than the posterior: fit for pictures,
not for error bars.

Reference: Ho, Salimans, 2022 (arXiv 2207.12598), equation 6.
"""

import math
from dataclasses import dataclass
from typing import final

from jaxtyping import Float
from torch import Tensor

from unweight.core.errors import UsageError
from unweight.diffusion.denoiser import Denoiser
from unweight.diffusion.level import NoiseLevel


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Guided(Denoiser):
    """A denoiser with guidance: two evaluations instead of one.

    Attributes:
        denoiser: Trained with and without its condition.
        scale: w of the equation.
        nothing: What stands for no condition, for one item; None if the denoiser takes None.
    """

    denoiser: Denoiser
    scale: float
    nothing: Float[Tensor, "*condition"] | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.scale) and self.scale >= 0):
            raise UsageError(
                f"the scale of guidance is {self.scale:g}",
                remedy="1 is no guidance, 0 no condition; more than 1 exaggerates the condition.",
            )

    def __call__(
        self,
        noisy: Float[Tensor, "batch channels *space"],
        level: NoiseLevel,
        condition: Float[Tensor, "batch *condition"] | None,
    ) -> Float[Tensor, "batch channels *space"]:
        """Ask twice and extrapolate."""
        if condition is None:
            raise UsageError("guidance needs a condition", remedy="Use the denoiser inside without it.")
        informed = self.denoiser(noisy, level, condition)
        if self.scale == 1:
            return informed
        nothing = None if self.nothing is None else self.nothing.to(condition).expand_as(condition)
        free = self.denoiser(noisy, level, nothing)
        return free + self.scale * (informed - free)
