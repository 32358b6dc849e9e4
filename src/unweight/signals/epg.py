"""Echoes of a multi-echo spin-echo train by extended phase graphs, stimulated echoes included.

A pulse of the refocusing angle α on the axis of the transverse magnetisation (CPMG: Carr, Purcell, Meiboom,
Gill) mixes the states of each order of dephasing, which then are real,

    F+' = c·F+ + s·F− + sin α·Z,    F−' = s·F+ + c·F− − sin α·Z,    Z' = cos α·Z − ½ sin α·(F+ − F−),

c = cos²(α/2), s = sin²(α/2). Between two pulses, an echo spacing τ apart, F+ is dephased by one order, F−
is rephased by one, F± decay with exp(−τ/T2) and Z with exp(−τ/T1). The echo is the F− that is in phase
again, S0·sin(α_ex) at echo time zero. Crushers are taken to be complete and equal on both sides of each
pulse, so that what recovers along the field between pulses does not reach an echo. With α = 180° what is
left is one exponential.

The angles that a voxel sees are the nominal ones times B1 (ratio of reached to nominal angle) times a
factor for each part of the slice: a selective pulse has no sharp edges. A `SliceProfile` holds these
factors, and the signal is the mean over the parts. Equal angles of 180° give the same echoes for B1 and
2 − B1.

References: Hennig, Concepts Magn Reson 3:125, 1991; Weigel, J Magn Reson Imaging 41:266, 2015 (phase
graphs); Lebel, Wilman, Magn Reson Med 64:1005, 2010 (T2 with slice profiles).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unweight.core.errors import ProtocolError, UsageError
from unweight.core.parameter import ParameterSpec
from unweight.core.protocol import Protocol
from unweight.signals.model import SeparableModel
from unweight.signals.parameters import B1, S0, T1, T2

UNEVEN = 0.05  # of the spacing: echoes further off its multiples are of no such train
PULSE_SAMPLES = 256  # of a selective pulse, each a rotation
SLICE_PARTS = 12  # that integrate over half a slice; more change no echo by more than 0.6 % of the first
SLICE_REACH = 0.8  # thicknesses from the middle of the slice, beyond which hardly anything is excited


@final
@dataclass(frozen=True, kw_only=True)
class SliceProfile:
    """What share of the nominal angles the parts of a slice see.

    Attributes:
        excitation: Excitation angle of each part over the nominal one.
        refocusing: Refocusing angle of each part over the nominal one.
        weights: Extent of each part; they are divided by their sum.
    """

    excitation: tuple[float, ...] = (1.0,)
    refocusing: tuple[float, ...] = (1.0,)
    weights: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        if not len(self.excitation) == len(self.refocusing) == len(self.weights) > 0:
            raise UsageError(
                f"a slice profile of {len(self.excitation)} excitation and {len(self.refocusing)} "
                f"refocusing factors and {len(self.weights)} weights",
                remedy="Give one of each for every part of the slice.",
            )
        if min(self.weights) < 0 or sum(self.weights) <= 0:
            raise UsageError("weights of a slice profile must not be negative, nor all 0")

    @property
    def is_uniform(self) -> bool:
        """Whether the whole slice sees one pair of angles."""
        return len(self.weights) == 1


UNIFORM = SliceProfile()


@cache
def sinc_profile(
    refocusing_width: float, time_bandwidth: float = 4.0, apodisation: float = 0.5
) -> SliceProfile:
    """Return the profile of selective sinc pulses of 90° and 180°, each with a raised-cosine window.

    Rotations of the Bloch equation through the pulse give the angle between the field and the magnetisation
    that was along it, at Gauss-Legendre points from the middle of the slice outwards.

    Args:
        refocusing_width: Thickness that the refocusing pulse selects, over that of the excitation.
        time_bandwidth: Duration of the pulses times their bandwidth.
        apodisation: Share of the cosine in the window: 0 for none, 0.5 for a Hann window.

    Raises:
        UsageError: A width or the time-bandwidth product is not positive.
    """
    if not (0 < refocusing_width < math.inf and 0 < time_bandwidth < math.inf):
        raise UsageError(
            f"a refocusing width of {refocusing_width:g}, a time-bandwidth product of {time_bandwidth:g}",
            remedy="Give positive numbers; 1 is a refocusing slice as thick as the excited one.",
        )
    points, weights = np.polynomial.legendre.leggauss(SLICE_PARTS)
    places = SLICE_REACH / 2 * (points + 1)
    excitation = _selected(math.pi / 2, places, time_bandwidth, apodisation)
    refocusing = _selected(math.pi, places / refocusing_width, time_bandwidth, apodisation)
    return SliceProfile(
        excitation=tuple(excitation.tolist()),
        refocusing=tuple(refocusing.tolist()),
        weights=tuple(weights.tolist()),
    )


def _selected(angle: float, places: np.ndarray, time_bandwidth: float, apodisation: float) -> np.ndarray:
    """Return the angle at places across a slice over the nominal one [thicknesses from its middle].

    With Cayley-Klein parameters (a, b) of the whole pulse, b imaginary since the pulse is even, it is
    2·arcsin(i·b); a negative angle is a rotation about the opposite axis.
    """
    time = (np.arange(PULSE_SAMPLES) + 0.5) / PULSE_SAMPLES - 0.5
    window = 1 - apodisation + apodisation * np.cos(2 * np.pi * time)
    envelope = np.sinc(time_bandwidth * time) * window
    precession = 2 * np.pi * time_bandwidth * places / PULSE_SAMPLES
    a, b = np.ones_like(places, dtype=complex), np.zeros_like(places, dtype=complex)
    for nutation in angle * envelope / envelope.sum():
        turn = np.hypot(nutation, precession)
        share = 0.5 * np.sinc(turn / (2 * np.pi))  # sin(turn/2)/turn
        alpha = np.cos(turn / 2) - 1j * precession * share
        beta = np.full_like(alpha, -1j * nutation) * share
        a, b = alpha * a - beta.conj() * b, beta * a + alpha.conj() * b
    selected: np.ndarray = 2 * np.arcsin((-b.imag).clip(-1.0, 1.0)) / angle
    return selected


class EchoSpacing(NamedTuple):
    """How the echo times lie in a train.

    Attributes:
        spacing: From one refocusing pulse to the next [s], once per voxel if the echo times are.
        numbers: Of the echo of each volume; 1 for the first of the train.
    """

    spacing: Float[Tensor, "*voxels 1"]
    numbers: tuple[int, ...]


def echo_train(echo_time: Float[Tensor, "*voxels volumes"]) -> EchoSpacing:
    """Return the train that echo times belong to; its first echoes may be missing.

    Args:
        echo_time: One per volume, in any order [s].

    Raises:
        ProtocolError: They are no multiples of one spacing.
    """
    times = echo_time.double()
    rising = times.sort(dim=-1).values
    gaps = torch.cat((rising[..., :1], rising.diff(dim=-1)), dim=-1)
    shortest = torch.where(gaps > UNEVEN * rising[..., :1], gaps, torch.inf).amin(-1, keepdim=True)
    counts = (times / shortest).round()
    spacing = (counts * times).sum(-1, keepdim=True) / counts.square().sum(-1, keepdim=True)
    uneven = (times - counts * spacing).abs() > UNEVEN * spacing
    first = counts.reshape(-1, counts.shape[-1])[0]
    if bool(uneven.any()) or bool((counts != first).any()) or not bool((first > 0).all()):
        listed = ", ".join(f"{1e3 * time:g}" for time in times.reshape(-1, times.shape[-1])[0].tolist())
        raise ProtocolError(
            f"echo times of {listed} ms are not those of one train of evenly spaced refocusing pulses",
            remedy="Fit one exponential, which accepts any echo times: `unweight t2 --method nonlinear`.",
        )
    return EchoSpacing(spacing, tuple(int(number) for number in first.tolist()))


def echo_amplitudes(
    t1: Float[Tensor, "*batch"],
    t2: Float[Tensor, "*batch"],
    excitation: Float[Tensor, "*batch"],
    refocusing: Float[Tensor, "*batch echoes"],
    spacing: Float[Tensor, "*#batch"],
) -> Float[Tensor, "*batch echoes"]:
    """Return the echoes of a train over the equilibrium magnetisation.

    Args:
        t1: [s].
        t2: [s].
        excitation: Angle of the excitation [rad].
        refocusing: Angle of each refocusing pulse [rad].
        spacing: From pulse to pulse [s].
    """
    half, decay, regain = (torch.exp(-spacing / time) for time in (2 * t2, t2, t1))
    n_echoes = refocusing.shape[-1]
    plus = (torch.sin(excitation) * half)[None]
    minus, along = torch.zeros_like(plus), torch.zeros_like(plus)
    nothing = torch.zeros_like(plus)
    echoes = []
    for pulse, angle in enumerate(refocusing.unbind(-1)):
        sine, cosine = torch.sin(angle), torch.cos(angle)
        keeps, inverts = (1 + cosine) / 2, (1 - cosine) / 2
        stored = sine * along
        plus, minus, along = (
            keeps * plus + inverts * minus + stored,
            inverts * plus + keeps * minus - stored,
            cosine * along - 0.5 * sine * (plus - minus),
        )
        echoes.append(minus[0] * half)
        left = n_echoes - pulse - 1  # orders that can still be rephased
        plus = torch.cat((minus[:1], plus))[:left] * decay
        minus = torch.cat((minus[1:], nothing, nothing))[:left] * decay
        along = torch.cat((along, nothing))[:left] * regain
    return torch.stack(echoes, dim=-1)


@final
@dataclass(frozen=True, kw_only=True)
class MultiEchoSpinEcho(SeparableModel):
    """Echoes of a multi-echo spin-echo train as a function of (T2, S0, B1, T1).

    S0 holds what all echoes share: proton density, saturation by TR, receive sensitivity. T1 acts through
    stimulated echoes only, and weakly. Both angles scale with B1.

    Attributes:
        refocusing: Nominal refocusing angle [rad], of each pulse from the first on, or one for all.
        excitation: Nominal excitation angle [rad].
        profile: Of the slice.
    """

    refocusing: tuple[float, ...] = (math.pi,)
    excitation: float = math.pi / 2
    profile: SliceProfile = field(default_factory=lambda: UNIFORM)

    def __post_init__(self) -> None:
        angles = (*self.refocusing, self.excitation)
        if not self.refocusing or not all(0 < angle <= math.pi * (1 + 1e-9) for angle in angles):
            raise UsageError(
                f"angles of {', '.join(f'{angle:g}' for angle in angles)} rad are not those of a spin echo",
                remedy="Give angles above 0 up to pi, in radians.",
            )

    @property
    def parameters(self) -> tuple[ParameterSpec, ...]:
        """T2, S0, B1 and T1."""
        return (T2, S0, B1, T1)

    @property
    def timings(self) -> tuple[str, ...]:
        """TE."""
        return ("echo_time",)

    @property
    def amplitude(self) -> tuple[ParameterSpec, ...]:
        """S0."""
        return (S0,)

    @property
    def folds(self) -> bool:
        """Whether B1 and 2 − B1 give the same echoes, so that only one of them can be found."""
        straight = all(math.isclose(angle, math.pi) for angle in self.refocusing)
        return straight and self.profile.is_uniform and math.isclose(self.excitation, math.pi / 2)

    @property
    def before_modulus(self) -> "MultiEchoSpinEcho":
        """Itself: its signal has a sign."""
        return self

    def __call__(
        self,
        theta: Float[Tensor, "*voxels parameters"],
        protocol: Protocol,
        known: Mapping[str, Tensor] | None = None,
    ) -> Float[Tensor, "*voxels volumes"]:
        """Return S. S0 is the signal at echo time zero of a whole slice excited by 90°.

        Raises:
            ProtocolError: The echo times are those of no train, or there are more pulses than angles.
        """
        t2, s0, b1, t1 = theta.unbind(-1)
        train = echo_train(protocol.require("echo_time", "MultiEchoSpinEcho"))
        angles = self._angles(max(train.numbers)).to(theta)
        spacing = train.spacing.squeeze(-1).to(theta)
        total = sum(self.profile.weights)
        echoes = torch.zeros((), dtype=theta.dtype, device=theta.device)
        parts = zip(self.profile.excitation, self.profile.refocusing, self.profile.weights, strict=True)
        for excites, refocuses, weight in parts:
            excitation, refocusing = excites * self.excitation * b1, refocuses * angles * b1[..., None]
            part = echo_amplitudes(t1, t2, excitation, refocusing, spacing)
            echoes = echoes + weight / total * part
        index = torch.tensor([number - 1 for number in train.numbers], device=theta.device)
        return s0[..., None] * echoes[..., index]

    def _angles(self, n_pulses: int) -> Float[Tensor, " pulses"]:
        """Return the nominal angle of each refocusing pulse."""
        if len(self.refocusing) == 1:
            return torch.full((n_pulses,), self.refocusing[0], dtype=torch.float64)
        if len(self.refocusing) < n_pulses:
            raise ProtocolError(
                f"{len(self.refocusing)} refocusing angles for {n_pulses} pulses",
                remedy="Give the angle of every pulse up to the last echo, or one for all.",
            )
        return torch.tensor(self.refocusing[:n_pulses], dtype=torch.float64)


MULTI_ECHO_SPIN_ECHO = MultiEchoSpinEcho()
