"""One exponential through echoes that share excitation and recovery.

    S = S0·exp(−TE/T)    or    S = S0·exp(−TE·R)

for a time T [s], as T2 of a multi-echo spin echo, or a rate R [1/s], as R2* of a multi-echo gradient
echo. Whatever the echoes have in common is in S0.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from unweight.core.errors import UsageError
from unweight.core.parameter import ParameterSpec
from unweight.core.protocol import Protocol
from unweight.signals.model import SeparableModel
from unweight.signals.parameters import R2STAR, S0, T2


@final
@dataclass(frozen=True, kw_only=True)
class ExponentialDecay(SeparableModel):
    """Signal of echoes as a function of (T2, S0), or of another time or rate and S0.

    Attributes:
        quantity: A relaxation time [s] or rate [1/s].
    """

    quantity: ParameterSpec = T2

    def __post_init__(self) -> None:
        if self.quantity.unit not in ("s", "1/s"):
            raise UsageError(
                f"{self.quantity.name} [{self.quantity.unit}] is not a relaxation rate or time",
                remedy="Give a quantity in 1/s or s.",
            )

    @property
    def parameters(self) -> tuple[ParameterSpec, ...]:
        """The quantity and S0."""
        return (self.quantity, S0)

    @property
    def timings(self) -> tuple[str, ...]:
        """TE."""
        return ("echo_time",)

    @property
    def amplitude(self) -> tuple[ParameterSpec, ...]:
        """S0."""
        return (S0,)

    @property
    def before_modulus(self) -> "ExponentialDecay":
        """The same model."""
        return self

    def __call__(
        self,
        theta: Float[Tensor, "*voxels parameters"],
        protocol: Protocol,
        known: Mapping[str, Tensor] | None = None,
    ) -> Float[Tensor, "*voxels volumes"]:
        """Return S, which is not negative."""
        quantity, s0 = theta[..., 0:1], theta[..., 1:2]
        echo_time = protocol.require("echo_time", "ExponentialDecay").to(theta)
        exponent = echo_time / quantity if self.quantity.unit == "s" else echo_time * quantity
        return s0 * torch.exp(-exponent)


T2_DECAY = ExponentialDecay()
R2STAR_DECAY = ExponentialDecay(quantity=R2STAR)
