"""Spoiled gradient echo, single and multi-echo, magnitude or complex.

    S = PD · sin α (1 − E1)/(1 − cos α·E1) · exp(−TE·R2*) · exp(i[φ + 2π·f·TE]),    E1 = exp(−TR/T1)

α = B1·(nominal flip angle); f is the off-resonance [Hz], φ the phase at TE = 0 [rad]. Transverse
magnetisation is taken to be gone by the next excitation (perfect spoiling), and the decay within a
voxel to be exponential. With one flip angle and one TR only the product of PD and the T1 term can be
measured.

References: Ernst, Anderson, Rev Sci Instrum 37:93, 1966 (steady state); Marques et al., Magn Reson
Med 86:526, 2021 (with decay and phase).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from unweight.core.acquisition import SignalKind
from unweight.core.errors import UsageError
from unweight.core.parameter import ParameterSpec
from unweight.core.protocol import Protocol
from unweight.signals.model import SeparableModel
from unweight.signals.parameters import B1, FREQUENCY, PD, PHASE, R2STAR, T1, known_or


@final
@dataclass(frozen=True, kw_only=True)
class GradientEcho(SeparableModel):
    """Spoiled gradient echo as a function of (T1, PD, R2star), and of (frequency, phase) if complex.

    A map known as `B1` scales the flip angle.

    Attributes:
        kind: COMPLEX gives S, MAGNITUDE gives |S|, which knows neither frequency nor phase.
    """

    kind: SignalKind = SignalKind.MAGNITUDE

    def __post_init__(self) -> None:
        if self.kind is SignalKind.SIGNED:
            raise UsageError("a gradient echo gives magnitude or complex signals, not signed ones")

    @property
    def parameters(self) -> tuple[ParameterSpec, ...]:
        """T1, PD and R2star; then frequency and phase if complex."""
        if self.kind is SignalKind.COMPLEX:
            return (T1, PD, R2STAR, FREQUENCY, PHASE)
        return (T1, PD, R2STAR)

    @property
    def timings(self) -> tuple[str, ...]:
        """TR, TE and flip angle."""
        return ("repetition_time", "echo_time", "flip_angle")

    @property
    def amplitude(self) -> tuple[ParameterSpec, ...]:
        """PD; then phase if complex."""
        return (PD, PHASE) if self.kind is SignalKind.COMPLEX else (PD,)

    @property
    def before_modulus(self) -> "GradientEcho":
        """The same model."""
        return self

    def __call__(
        self,
        theta: Float[Tensor, "*voxels parameters"],
        protocol: Protocol,
        known: Mapping[str, Tensor] | None = None,
    ) -> Float[Tensor, "*voxels volumes"] | Complex[Tensor, "*voxels volumes"]:
        """Return S, or |S| for magnitude."""
        t1, pd, r2star = theta[..., 0:1], theta[..., 1:2], theta[..., 2:3]
        repetition_time = protocol.require("repetition_time", "GradientEcho").to(theta)
        echo_time = protocol.require("echo_time", "GradientEcho").to(theta)
        flip_angle = protocol.require("flip_angle", "GradientEcho").to(theta)
        angle = known_or(1.0, B1, known, theta) * flip_angle
        amplitude = pd * ernst(t1, repetition_time, angle) * torch.exp(-echo_time * r2star)
        if self.kind is SignalKind.MAGNITUDE:
            return amplitude
        frequency, phase = theta[..., 3:4], theta[..., 4:5]
        turned = phase + 2 * math.pi * frequency * echo_time
        return torch.complex(amplitude * torch.cos(turned), amplitude * torch.sin(turned))


def ernst(
    t1: Float[Tensor, "*voxels 1"],
    repetition_time: Float[Tensor, "*#voxels volumes"],
    angle: Float[Tensor, "*voxels volumes"],
) -> Float[Tensor, "*voxels volumes"]:
    """Return sin α (1 − E1)/(1 − cos α·E1), without the cancellation that TR ≪ T1 brings.

    Args:
        t1: Longitudinal relaxation time [s].
        repetition_time: TR [s].
        angle: Flip angle reached [rad].
    """
    regained = -torch.expm1(-repetition_time / t1)
    lost = regained + (1 - regained) * 2 * torch.sin(angle / 2) ** 2
    return torch.sin(angle) * regained / lost
