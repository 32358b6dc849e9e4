"""Inversion recovery with T2 weighting (T2-FLAIR, STIR): fluid or fat nulled, long echo time.

    S = PD · [1 − B·E(TI) + (B − 1)·E(TR − t_end)] · exp(−TE/T2),    E(t) = exp(−t/T1)

TR runs from inversion to inversion. t_end (`readout_time`) is the end of the refocusing train after
its 90° excitation, which is taken to leave no longitudinal magnetisation; without it t_end is 0,
which overrates the recovery. The null is at TI = T1·ln[B / (1 + (B − 1)·E(TR − t_end))]. Stimulated
echoes are left out, as in `spin_echo`, but for trains of low angles (`nominal_echo_time`).

B = 1 − cos θ is no parameter here: one inversion time cannot tell it from PD. It is the map known as
`B`, else the field `b`. Magnitude images show |S|.

References: Hajnal et al., J Comput Assist Tomogr 16:841, 1992 (the sequence); Bernstein, King, Zhou,
Handbook of MRI Pulse Sequences (2004), inversion recovery (the steady state).
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
from unweight.signals.parameters import PD, T1, T2, B, known_or
from unweight.signals.spin_echo import decay_of
from unweight.signals.timing import check_train


@final
@dataclass(frozen=True, kw_only=True)
class Flair(SeparableModel):
    """T2-weighted signal after inversion as a function of (T1, T2, PD).

    Attributes:
        kind: MAGNITUDE gives |S|, SIGNED gives S.
        b: Inversion efficiency 1 - cos(theta) where no map `B` is known; 1.96 is an adiabatic pulse
            that inverts 96 % [1].
    """

    kind: SignalKind = SignalKind.MAGNITUDE
    b: float = 1.96

    def __post_init__(self) -> None:
        if self.kind is SignalKind.COMPLEX:
            raise UsageError("FLAIR gives magnitude or signed signals, not complex ones")
        if not 0 < self.b <= 2:
            raise UsageError(
                f"Flair: b is 1 - cos(theta) and lies between 0 and 2, not at {self.b:g}",
                remedy="2 is a perfect inversion.",
            )

    @property
    def parameters(self) -> tuple[ParameterSpec, ...]:
        """T1, T2 and PD."""
        return (T1, T2, PD)

    @property
    def timings(self) -> tuple[str, ...]:
        """TI, TR and TE; t_end is optional."""
        return ("inversion_time", "repetition_time", "echo_time")

    @property
    def amplitude(self) -> tuple[ParameterSpec, ...]:
        """PD."""
        return (PD,)

    @property
    def before_modulus(self) -> "Flair":
        """The signed signal."""
        return replace(self, kind=SignalKind.SIGNED)

    def __call__(
        self,
        theta: Float[Tensor, "*voxels parameters"],
        protocol: Protocol,
        known: Mapping[str, Tensor] | None = None,
    ) -> Float[Tensor, "*voxels volumes"]:
        """Return S, or |S| for magnitude.

        Raises:
            ProtocolError: A timing is missing or impossible.
        """
        t1, t2, pd = theta[..., 0:1], theta[..., 1:2], theta[..., 2:3]
        b = known_or(self.b, B, known, theta)
        inversion_time = protocol.require("inversion_time", "Flair").to(theta)
        interval = protocol.require("repetition_time", "Flair").to(theta)
        echo_time = protocol.require("echo_time", "Flair")
        check_train(protocol, "Flair")
        if protocol.readout_time is not None:
            interval = interval - protocol.readout_time.to(theta)
        regained = inverted_recovery(t1, inversion_time, interval, b)
        signal = pd * regained * decay_of(t1, t2, protocol, echo_time)
        return signal.abs() if self.kind is SignalKind.MAGNITUDE else signal


def inverted_recovery(
    t1: Float[Tensor, "*#batch"],
    inversion_time: Float[Tensor, "*#batch"],
    interval: Float[Tensor, "*#batch"],
    b: Float[Tensor, "*#batch"] | float,
) -> Float[Tensor, "*batch"]:
    """Return 1 − B·E(TI) + (B − 1)·E(TR − t_end), element by element; without inversion, B is 0.

    Args:
        t1: [s].
        inversion_time: TI [s].
        interval: TR − t_end [s].
        b: Inversion efficiency.
    """
    return 1 - b * torch.exp(-inversion_time / t1) + (b - 1) * torch.exp(-interval / t1)
