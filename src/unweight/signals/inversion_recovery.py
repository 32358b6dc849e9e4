"""Inversion recovery with a spin-echo readout, any TR.

    S = PD · [1 − B·exp(−TI/T1) + (C − 1)·exp(−(TR − t_end)/T1)]

B = 1 − cos θ is the inversion efficiency of the pulse (2 is complete). t_end is the time from
excitation to the last refocused echo, after which the magnetisation recovers for the next
inversion; for a single spin echo it is about TE and may be left out. C says how complete the inversion
behind the TR term is: C = B when B is the pulse's own efficiency (Barral et al., Magn Reson Med
64:1057, 2010, in the form with equal repetition), or a constant 2 when the pulse is adiabatic and a
B that departs from 2 stands for a TI counted from the edge of the pulse instead of its middle.
Magnitude images show |S|.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from unweight.core.acquisition import SignalKind
from unweight.core.errors import UsageError
from unweight.core.parameter import ParameterSpec
from unweight.core.protocol import Protocol
from unweight.signals.model import SignalModel
from unweight.signals.parameters import PD, T1, B

__all__ = ["PD", "T1", "B", "InversionRecovery", "recovery_interval"]


@final
@dataclass(frozen=True, kw_only=True)
class InversionRecovery(SignalModel):
    """Signal after inversion as a function of (T1, PD, B).

    Attributes:
        kind: MAGNITUDE gives |S|, SIGNED gives S.
        complete: C of the equation, 2 for a complete inversion behind the TR term; None to let it
            follow B.
    """

    kind: SignalKind = SignalKind.MAGNITUDE
    complete: float | None = None

    def __post_init__(self) -> None:
        if self.kind is SignalKind.COMPLEX:
            raise UsageError("inversion recovery gives magnitude or signed signals, not complex ones")

    @property
    def parameters(self) -> tuple[ParameterSpec, ...]:
        """T1, PD and B."""
        return (T1, PD, B)

    @property
    def timings(self) -> tuple[str, ...]:
        """TI; TR is optional, and without it the recovery between inversions is taken as complete."""
        return ("inversion_time",)

    def __call__(
        self,
        theta: Float[Tensor, "*voxels parameters"],
        protocol: Protocol,
        known: Mapping[str, Tensor] | None = None,
    ) -> Float[Tensor, "*voxels volumes"]:
        """Return S, or |S| for magnitude."""
        t1, pd, b = theta[..., 0:1], theta[..., 1:2], theta[..., 2:3]
        inverted = torch.exp(-protocol.require("inversion_time", "InversionRecovery").to(theta) / t1)
        signal = pd * (1 - b * inverted)
        interval = recovery_interval(protocol)
        if interval is not None:
            behind = b if self.complete is None else torch.full_like(b, self.complete)
            signal = signal + pd * (behind - 1) * torch.exp(-interval.to(theta) / t1)
        return signal.abs() if self.kind is SignalKind.MAGNITUDE else signal


def recovery_interval(protocol: Protocol) -> Float[Tensor, " volumes"] | None:
    """Return TR − t_end for each volume (t_end is `readout_time`, else 0), or None without a TR."""
    if protocol.repetition_time is None or protocol.readout_time is None:
        return protocol.repetition_time
    return protocol.repetition_time - protocol.readout_time
