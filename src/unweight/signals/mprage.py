"""MPRAGE: one inversion, then a train of n small excitations, in its exact steady state.

    TA = TI − n_b·τ,  TB = TR − TA − n·τ,  E(t) = exp(−t/T1),  r = E(τ)·cos α,  M = (1 − E(τ))/(1 − r)

    inversion and TA:   m → −η·E(TA)·m + 1 − E(TA)
    j excitations:      m → r^j·m + M·(1 − r^j)
    TB:                 m → E(TB)·m + 1 − E(TB)

The state before the inversion that these three steps with j = n return to itself is

    m_ss = [E(TB)·(r^n·(1 − E(TA)) + M·(1 − r^n)) + 1 − E(TB)] / [1 + η·E(TA)·r^n·E(TB)]

and the excitation that fills the centre of k-space finds m_k, the state after TA and j = n_b:

    S = PD · m_k · sin α · exp(−TE·R2*)

n is `train_length`, τ `echo_spacing`, n_b `centre_index` (excitations before the centre), TI runs from
inversion to the centre, α = B1·(nominal flip angle). η = B − 1 is the inversion efficiency; an
adiabatic pulse does not feel B1. Perfect spoiling; the blur by magnetisation that changes along the
train is left out. Magnitude images show |S|.

References: Marques et al., NeuroImage 49:1271, 2010 (the same steps with two trains); Deichmann et
al., NeuroImage 12:112, 2000 (MPRAGE contrast).
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
from unweight.signals.parameters import B1, PD, R2STAR, T1, B, known_or
from unweight.signals.timing import ROUNDING, refuse_where


@final
@dataclass(frozen=True, kw_only=True)
class Mprage(SeparableModel):
    """MPRAGE signal as a function of (T1, PD, R2star).

    A map known as `B1` scales the flip angle, one known as `B` is the inversion efficiency.

    Attributes:
        kind: MAGNITUDE gives |S|, SIGNED gives S.
        b: Inversion efficiency 1 - cos(theta) where no map `B` is known; 1.96 is an adiabatic pulse
            that inverts 96 % (η = 0.96) [1].
    """

    kind: SignalKind = SignalKind.MAGNITUDE
    b: float = 1.96

    def __post_init__(self) -> None:
        if self.kind is SignalKind.COMPLEX:
            raise UsageError("MPRAGE gives magnitude or signed signals, not complex ones")
        if not 0 < self.b <= 2:
            raise UsageError(
                f"Mprage: b is 1 - cos(theta) and lies between 0 and 2, not at {self.b:g}",
                remedy="2 is a perfect inversion, 1.96 an efficiency of 96 %.",
            )

    @property
    def parameters(self) -> tuple[ParameterSpec, ...]:
        """T1, PD and R2star."""
        return (T1, PD, R2STAR)

    @property
    def timings(self) -> tuple[str, ...]:
        """All that describes the inversion and the train."""
        return (
            "repetition_time",
            "echo_time",
            "inversion_time",
            "flip_angle",
            "echo_spacing",
            "train_length",
            "centre_index",
        )

    @property
    def amplitude(self) -> tuple[ParameterSpec, ...]:
        """PD."""
        return (PD,)

    @property
    def before_modulus(self) -> "Mprage":
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
            ProtocolError: A timing is missing, or the train does not fit between the inversions.
        """
        t1, pd, r2star = theta[..., 0:1], theta[..., 1:2], theta[..., 2:3]
        before, after = _pauses(protocol)
        spacing, pulses, centre, flip_angle, echo_time = (
            protocol.require(name, "Mprage").to(theta)
            for name in ("echo_spacing", "train_length", "centre_index", "flip_angle", "echo_time")
        )
        efficiency = known_or(self.b, B, known, theta) - 1
        angle = known_or(1.0, B1, known, theta) * flip_angle
        train = Train(
            before=before.to(theta),
            spacing=spacing,
            pulses=pulses,
            centre=centre,
            after=after.to(theta),
            angle=angle,
        )
        central = central_magnetisation(t1, train, efficiency)
        signal = pd * central * torch.sin(angle) * torch.exp(-echo_time * r2star)
        return signal.abs() if self.kind is SignalKind.MAGNITUDE else signal


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Train:
    """The steps between two inversions; shapes broadcast.

    Attributes:
        before: TA, from the inversion to the train [s].
        spacing: τ [s].
        pulses: n.
        centre: n_b.
        after: TB, from the train to the next inversion [s].
        angle: Flip angle reached [rad].
    """

    before: Float[Tensor, "*#batch"]
    spacing: Float[Tensor, "*#batch"]
    pulses: Float[Tensor, "*#batch"]
    centre: Float[Tensor, "*#batch"]
    after: Float[Tensor, "*#batch"]
    angle: Float[Tensor, "*#batch"]


def central_magnetisation(
    t1: Float[Tensor, "*#batch"], train: Train, efficiency: Float[Tensor, "*#batch"] | float
) -> Float[Tensor, "*batch"]:
    """Return m_k, element by element.

    Args:
        t1: [s].
        train: The steps between two inversions.
        efficiency: η of the inversion.
    """
    keep_before, keep_after = torch.exp(-train.before / t1), torch.exp(-train.after / t1)
    keep, driven = _train(t1, train.spacing, train.angle)
    through, midway = keep**train.pulses, keep**train.centre

    regained = through * (1 - keep_before) + driven * (1 - through)
    steady = (keep_after * regained + 1 - keep_after) / (
        1 + efficiency * keep_before * through * keep_after
    )
    started = 1 - keep_before - efficiency * keep_before * steady
    return midway * started + driven * (1 - midway)


def _train(
    t1: Float[Tensor, "*#batch"],
    spacing: Float[Tensor, "*#batch"],
    angle: Float[Tensor, "*#batch"],
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
    """Return r and M; 1 − E and 1 − cos α are formed without cancellation, for single precision."""
    regained = -torch.expm1(-spacing / t1)
    keep = (1 - regained) * torch.cos(angle)
    lost = regained + (1 - regained) * 2 * torch.sin(angle / 2) ** 2
    return keep, regained / lost


def _pauses(
    protocol: Protocol,
) -> tuple[Float[Tensor, "*voxels volumes"], Float[Tensor, "*voxels volumes"]]:
    """Return TA and TB: from inversion to the train, and from the train to the next inversion.

    Raises:
        ProtocolError: One of them is negative, or the centre lies outside the train.
    """
    repetition_time, inversion_time, spacing, pulses, centre = (
        protocol.require(name, "Mprage")
        for name in ("repetition_time", "inversion_time", "echo_spacing", "train_length", "centre_index")
    )
    refuse_where(
        centre >= pulses,
        "Mprage: centre_index lies beyond the train",
        remedy="It counts the excitations before the centre of k-space, from 0 to train_length - 1.",
    )
    before = inversion_time - centre * spacing
    refuse_where(
        before < -ROUNDING,
        "Mprage: the train would have to start before the inversion; "
        "inversion_time is shorter than centre_index x echo_spacing",
        remedy="inversion_time runs from the inversion to the centre of k-space. Check the three, in "
        "seconds; echo_spacing is from one excitation to the next.",
    )
    after = repetition_time - before - pulses * spacing
    refuse_where(
        after < -ROUNDING,
        "Mprage: the train is not over when the next inversion comes; repetition_time is shorter than "
        "inversion_time + (train_length - centre_index) x echo_spacing",
        remedy="repetition_time runs from inversion to inversion, not from excitation to excitation. "
        "Check the timings, in seconds.",
    )
    return before.clamp(min=0), after.clamp(min=0)
