"""Inversion recovery with a spin-echo readout, any TR.

    S = PD · [1 − B·exp(−TI/T1) + (C − 1)·exp(−(TR − t_end)/T1)]

B = 1 − cos θ is the inversion efficiency of the pulse (2 is complete). t_end is the time from
excitation to the last refocused echo, after which the magnetisation recovers for the next
inversion; for a single spin echo it is about TE and may be left out. C says how complete the inversion
behind the TR term is: C = B when B is the pulse's own efficiency (Barral et al., Magn Reson Med
64:1057, 2010, in the form with equal repetition), or a constant 2 when the pulse is adiabatic and a
B that departs from 2 stands for a TI counted from the edge of the pulse instead of its middle.
Magnitude images show |S|.

For a fixed T1 the signal is linear in PD and PD·B, S = PD·(u + B·v), with (`recovery_basis`)

    C = B:      u = 1 − R,          v = R − E        E = exp(−TI/T1)
    C constant: u = 1 + (C − 1)·R,  v = −E           R = exp(−(TR − t_end)/T1)
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from unweight.core.acquisition import SignalKind
from unweight.core.errors import UsageError
from unweight.core.parameter import ParameterSpec
from unweight.core.protocol import Protocol
from unweight.signals.model import SeparableModel
from unweight.signals.parameters import PD, T1, B

__all__ = ["PD", "T1", "B", "InversionRecovery", "recovery_interval"]


@final
@dataclass(frozen=True, kw_only=True)
class InversionRecovery(SeparableModel):
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

    @property
    def amplitude(self) -> tuple[ParameterSpec, ...]:
        """PD."""
        return (PD,)

    @property
    def before_modulus(self) -> "InversionRecovery":
        """The signed signal."""
        return replace(self, kind=SignalKind.SIGNED)

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


def recovery_basis(
    rate: Float[Tensor, "..."],
    inversion_time: Float[Tensor, "..."],
    interval: Float[Tensor, "..."] | None,
    complete: float | None,
) -> tuple[Float[Tensor, "..."], Float[Tensor, "..."], Float[Tensor, "..."], Float[Tensor, "..."]]:
    """Return u, v and their derivatives in ln T1; those that no T1 changes have the shape of TI.

    Args:
        rate: 1/T1 [1/s]; broadcasts against the times.
        inversion_time: TI [s].
        interval: TR − t_end [s], or None for a complete recovery between inversions.
        complete: C; None to let it follow B.
    """
    x = inversion_time * rate
    e = torch.exp(-x)
    if interval is None:
        ones = torch.ones_like(inversion_time)
        return ones, -e, torch.zeros_like(ones), -e * x
    y = interval * rate
    r = torch.exp(-y)
    if complete is None:
        return 1 - r, r - e, -r * y, r * y - e * x
    c = complete - 1
    return 1 + c * r, -e, c * r * y, -e * x


def undisturbed_recovery(
    t1: Float[Tensor, "*#batch"],
    pd: Float[Tensor, "*#batch"],
    b: Float[Tensor, "*#batch"],
    inversion_time: Float[Tensor, "*#batch"],
) -> Float[Tensor, "*batch"]:
    """Return PD·(1 − B·E), the signal of a complete recovery between inversions, element by element."""
    return pd * (1 - b * torch.exp(-inversion_time / t1))


def undisturbed_gradient(
    pull: Float[Tensor, "*#batch"],
    t1: Float[Tensor, "*#batch"],
    pd: Float[Tensor, "*#batch"],
    b: Float[Tensor, "*#batch"],
    inversion_time: Float[Tensor, "*#batch"],
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
    """Return the derivatives by T1, PD and B of a function of `undisturbed_recovery`, each volume's part.

    Args:
        pull: Derivative of the function by the signal.
        t1: [s].
        pd: Proton density.
        b: Inversion efficiency.
        inversion_time: TI [s].
    """
    inverted = torch.exp(-inversion_time / t1)
    by_t1 = -pull * pd * b * inverted * inversion_time / t1**2
    return by_t1, pull * (1 - b * inverted), -pull * pd * inverted


def recovery_interval(protocol: Protocol) -> Float[Tensor, "*voxels volumes"] | None:
    """Return TR − t_end for each volume (t_end is `readout_time`, else 0), or None without a TR."""
    if protocol.repetition_time is None or protocol.readout_time is None:
        return protocol.repetition_time
    return protocol.repetition_time - protocol.readout_time
