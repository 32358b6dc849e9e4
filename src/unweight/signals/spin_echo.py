"""Spin echo and turbo spin echo: T1-, T2- and density-weighted, single and multi-echo.

    S = PD · m · sin α · exp(−TE/T2)

m is what the longitudinal magnetisation has regained when the excitation α (90° unless given) finds
it in the steady state. E(t) = exp(−t/T1).

One refocusing pulse (no `readout_time`), which inverts at TE/2 what has come back until then:

    m = [1 − 2·E(TR − TE/2) + E(TR)] / [1 + cos α·E(TR)]

exact for a 180° pulse and transverse magnetisation that is gone by the next excitation. It follows
from carrying m through one repetition; with TE ≪ TR it is the familiar 1 − E(TR).

A train of refocusing pulses that ends at t_end (`readout_time`), after which recovery is undisturbed:

    m = 1 − E(TR − t_end)

Here the train is taken to leave nothing along the field: what regrows between two 180° pulses cancels
in pairs, to second order in (echo spacing)/T1, and what a partial excitation left behind is mixed
away. No stimulated echoes: with refocusing far from 180° the apparent T2 is longer than T2.
Without a TR, m = 1 (fully relaxed) and T1 does not matter.

With `nominal_echo_time` the refocusing angles are low, and the decay is that of `variable_train`.

Reference: Bernstein, King, Zhou, Handbook of MRI Pulse Sequences (2004), spin echo and RARE.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from unweight.core.parameter import ParameterSpec
from unweight.core.protocol import Protocol
from unweight.signals.model import SeparableModel
from unweight.signals.parameters import PD, T1, T2
from unweight.signals.timing import ROUNDING, check_train, refuse_where
from unweight.signals.variable_train import ln_train_decay


@final
@dataclass(frozen=True, kw_only=True)
class SpinEcho(SeparableModel):
    """Spin-echo signal as a function of (T1, T2, PD).

    The echoes of one multi-echo train share one recovery: give `readout_time`, the time of the last
    echo, for all of them, or leave out TR.
    """

    @property
    def parameters(self) -> tuple[ParameterSpec, ...]:
        """T1, T2 and PD."""
        return (T1, T2, PD)

    @property
    def timings(self) -> tuple[str, ...]:
        """TE; TR, t_end and the excitation flip angle are optional."""
        return ("echo_time",)

    @property
    def amplitude(self) -> tuple[ParameterSpec, ...]:
        """PD."""
        return (PD,)

    @property
    def before_modulus(self) -> "SpinEcho":
        """The same model."""
        return self

    def __call__(
        self,
        theta: Float[Tensor, "*voxels parameters"],
        protocol: Protocol,
        known: Mapping[str, Tensor] | None = None,
    ) -> Float[Tensor, "*voxels volumes"]:
        """Return S, which is not negative.

        Raises:
            ProtocolError: A timing is missing or impossible, or the flip angle is a refocusing angle.
        """
        t1, t2, pd = theta[..., 0:1], theta[..., 1:2], theta[..., 2:3]
        echo_time = protocol.require("echo_time", "SpinEcho")
        check_train(protocol, "SpinEcho")
        signal = pd * decay_of(t1, t2, protocol, echo_time)
        if protocol.flip_angle is not None:
            _check_excitation(protocol.flip_angle)
            signal = signal * torch.sin(protocol.flip_angle.to(theta))
        if protocol.repetition_time is not None:
            signal = signal * _recovered(t1, protocol, protocol.repetition_time, echo_time)
        return signal


def decay_of(
    t1: Float[Tensor, "*voxels 1"],
    t2: Float[Tensor, "*voxels 1"],
    protocol: Protocol,
    echo_time: Float[Tensor, "*#voxels volumes"],
) -> Float[Tensor, "*voxels volumes"]:
    """Return exp(−TE/T2), or the decay in a train of low angles.

    Raises:
        ProtocolError: There is a nominal echo time, and not the shape of its train.
    """
    nominal = protocol.nominal_echo_time
    if nominal is None:
        return torch.exp(-echo_time.to(t2) / t2)
    shape = protocol.require("train_shape", "a train of low refocusing angles")
    return ln_train_decay(t1, t2, echo_time.to(t2), nominal.to(t2), shape.to(t2)).exp()


def _recovered(
    t1: Float[Tensor, "*voxels 1"],
    protocol: Protocol,
    repetition_time: Float[Tensor, "*#voxels volumes"],
    echo_time: Float[Tensor, "*#voxels volumes"],
) -> Float[Tensor, "*voxels volumes"]:
    """Return m of the equation."""
    if protocol.readout_time is not None:
        return -torch.expm1(-(repetition_time - protocol.readout_time).to(t1) / t1)
    flip_angle = None if protocol.flip_angle is None else protocol.flip_angle.to(t1)
    return single_echo_recovery(t1, repetition_time.to(t1), echo_time.to(t1), flip_angle)


def single_echo_recovery(
    t1: Float[Tensor, "*#batch"],
    repetition_time: Float[Tensor, "*#batch"],
    echo_time: Float[Tensor, "*#batch"],
    flip_angle: Float[Tensor, "*#batch"] | None = None,
) -> Float[Tensor, "*batch"]:
    """Return m of one refocusing pulse, element by element.

    Args:
        t1: [s].
        repetition_time: TR [s].
        echo_time: TE [s].
        flip_angle: Of the excitation [rad]; None for 90°.
    """
    repeat = torch.exp(-repetition_time / t1)
    regained = 1 - 2 * torch.exp(-(repetition_time - echo_time / 2) / t1) + repeat
    return regained if flip_angle is None else regained / (1 + torch.cos(flip_angle) * repeat)


def _check_excitation(flip_angle: Float[Tensor, "*voxels volumes"]) -> None:
    refuse_where(
        flip_angle > math.pi / 2 + ROUNDING,
        "SpinEcho: flip_angle is more than 90 degrees, which is a refocusing pulse, not an excitation",
        remedy="Scanners often write the refocusing angle there. Leave flip_angle out for 90 degrees, "
        "or give the angle of the excitation in radians.",
    )
