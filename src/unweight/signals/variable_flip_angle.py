"""Spoiled gradient echo at several flip angles: T1 from the steady state (FLASH, SPGR, DESPOT1).

    S = M0 · sin α (1 − E1)/(1 − cos α·E1),    E1 = exp(−TR/T1),    α = B1·(nominal flip angle)

All volumes have one TE, so that their decay exp(−TE·R2*) is in M0. The signal is largest at the Ernst
angle, cos α = E1.

With perfect spoiling, transverse magnetisation is gone by the next excitation. RF spoiling with gradients
leaves some, and a fit of the equation then gives an apparent T1. Simulations of it show, for one pair of
repetition times, flip angles and spoiling, the true T1 as a line over the apparent one,

    T1 = a(B1) + b(B1)·T1_app,

a and b quadratic in B1 (Preibisch and Deichmann). `ImperfectSpoiling` puts the apparent T1 of this line in
the place of T1 in the equation, so that the same model simulates and corrects. It holds for the sequence
that it was computed for, and no other.

References: Ernst, Anderson, Rev Sci Instrum 37:93, 1966; Fram et al., Magn Reson Imaging 5:201, 1987
(variable flip angle); Preibisch, Deichmann, Magn Reson Med 61:125, 2009 (imperfect spoiling).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from jaxtyping import Float
from torch import Tensor

from unweight.core.parameter import ParameterSpec
from unweight.core.protocol import Protocol
from unweight.signals.gradient_echo import ernst
from unweight.signals.model import SeparableModel
from unweight.signals.parameters import B1, M0, T1, known_or

SHORTEST = 1e-4  # apparent T1 where the line has none that is positive [s]


@final
@dataclass(frozen=True, kw_only=True)
class ImperfectSpoiling:
    """T1 over the apparent T1 of a spoiled gradient echo, for one sequence.

    Attributes:
        a: Coefficients of B1², B1 and 1 [s].
        b: Coefficients of B1², B1 and 1.
    """

    a: tuple[float, float, float]
    b: tuple[float, float, float]

    def apparent(
        self, t1: Float[Tensor, "*voxels 1"], b1: Float[Tensor, "*voxels 1"]
    ) -> Float[Tensor, "*voxels 1"]:
        """Return T1_app."""
        shift, slope = (c[0] * b1**2 + c[1] * b1 + c[2] for c in (self.a, self.b))
        return ((t1 - shift) / slope).clamp(min=SHORTEST)


# TR 25 ms, 6° and 21°, RF spoiling by 137°, from Bloch-Torrey simulations: Callaghan et al., Proc Intl Soc
# Magn Reson Med 23:1694, 2015; as the hMRI toolbox lists them (Tabelow et al., NeuroImage 194:191, 2019).
MPM_25_MS = ImperfectSpoiling(
    a=(57.427573706259864e-3, -79.300742898810441e-3, 39.218584751863879e-3),
    b=(-0.121114060111119, 0.121684347499374, 0.955987357483519),
)


@final
@dataclass(frozen=True, kw_only=True)
class VariableFlipAngle(SeparableModel):
    """Spoiled gradient echo as a function of (T1, M0).

    A map known as `B1` scales the flip angle.

    Attributes:
        spoiling: How T1 follows from the apparent one; None for perfect spoiling.
    """

    spoiling: ImperfectSpoiling | None = None

    @property
    def parameters(self) -> tuple[ParameterSpec, ...]:
        """T1 and M0."""
        return (T1, M0)

    @property
    def timings(self) -> tuple[str, ...]:
        """TR and flip angle."""
        return ("repetition_time", "flip_angle")

    @property
    def amplitude(self) -> tuple[ParameterSpec, ...]:
        """M0."""
        return (M0,)

    @property
    def before_modulus(self) -> "VariableFlipAngle":
        """The same model."""
        return self

    def __call__(
        self,
        theta: Float[Tensor, "*voxels parameters"],
        protocol: Protocol,
        known: Mapping[str, Tensor] | None = None,
    ) -> Float[Tensor, "*voxels volumes"]:
        """Return S, which is not negative for flip angles below 180°."""
        t1, m0 = theta[..., 0:1], theta[..., 1:2]
        repetition_time = protocol.require("repetition_time", "VariableFlipAngle").to(theta)
        flip_angle = protocol.require("flip_angle", "VariableFlipAngle").to(theta)
        b1 = known_or(1.0, B1, known, theta)
        if self.spoiling is not None:
            t1 = self.spoiling.apparent(t1, b1)
        return m0 * ernst(t1, repetition_time, b1 * flip_angle)


SPOILED_25_MS = VariableFlipAngle(spoiling=MPM_25_MS)
