"""Turbo spin echo with long trains of varying low refocusing angles, as in 3D images (SPACE, CUBE, VISTA).

Below 180° part of the magnetisation lies along the field for part of the train, where it decays with T1
instead of T2. Every path of magnetisation that ends in the echo at the nominal time T spends some time t
across the field and T − t along it, so that with s = 1/T2 − 1/T1 and the distribution p(t) of these times

    A(T1, T2) = exp(−T/T1) · ∫ p(t)·exp(−t·s) dt ≈ A(∞, ∞) · exp(−T/T1) · (1 + θ·s)^(−k),

exact for pulses without duration, then with a Gamma distribution of scale θ and shape k for p(t), which
agrees with extended phase graphs (`epg`) within 1 % from white matter to CSF. The contrast-equivalent echo
time TE is that of a spin echo with the same A(T1, T2)/A(∞, ∞) = exp(−TE/T2). In white and in grey matter it
is the same within 4 %, about a fourth of T; in CSF it is longer. `echo_time` of a protocol is that of water
with T1 1.1 s and T2 0.085 s, `nominal_echo_time` is T and `train_shape` is k, from which

    θ = [exp((TE/T2 − T/T1)/k) − 1] / s    at that water.

Headers give T and no angles. Trains are designed for a prescribed signal: for grey matter (T1 0.94 s, T2
0.1 s) the echoes fall over the first six to a plateau that decays exponentially, to a share d at the end of
the train, and the plateau is as high as it can be with the last angle at 120°. The centre of k-space, half
way through the train, is brightest for d near 0.2; from 0.5 to 0.08 TE changes by a quarter of itself.

References: Mugler, Proc ISMRM 8:687, 2000 (prescribed signals); Busse et al., Magn Reson Med 55:1030, 2006
(design, contrast-equivalent echo time); Mugler, J Magn Reson Imaging 39:745, 2014 (review).
"""

import math
from dataclasses import dataclass
from functools import cache
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unweight.core.errors import UsageError
from unweight.signals.epg import echo_amplitudes

SPACING = 0.0034  # between refocusing pulses, which headers seldom give [s]
DECAY, STRONGEST_DECAY, WEAKEST_DECAY = 0.2, 0.08, 0.5
LAST_ANGLE = 2 * math.pi / 3
PRESCRIBED_T1, PRESCRIBED_T2 = 0.94, 0.10
N_FALLING = 6  # pulses until the plateau
SEARCHES = 16  # halvings of the interval of the plateau
REFERENCE_T1, REFERENCE_T2 = REFERENCE = (1.10, 0.085)
# T1 and T2 [s] of white and grey matter, a lesion, partial volume and CSF.
WATERS = ((0.85, 0.070), (1.40, 0.095), (1.30, 0.130), (2.20, 0.250), (4.30, 1.90))
UNRELAXED = (1e6, 1e6)
LN_SHAPES = (-2.0, 3.0)
N_SHAPES, N_ROUNDS = 41, 6
LEAST = 1e-3  # of 1 + θ·s, where T2 is longer than T1


@final
@dataclass(frozen=True, kw_only=True)
class EquivalentTrain:
    """A train of low angles as its signal depends on it.

    Attributes:
        echo_time: Contrast-equivalent echo time TE [s].
        nominal_echo_time: T [s].
        shape: k of the times across the field [1].
        lowest: TE if the train were designed for a plateau that decays least [s].
        highest: TE if it were designed for one that decays most [s].
    """

    echo_time: float
    nominal_echo_time: float
    shape: float
    lowest: float
    highest: float


def equivalent_train(nominal_echo_time: float, spacing: float = SPACING) -> EquivalentTrain:
    """Return the train whose centre of k-space, half way through, has a nominal echo time.

    Args:
        nominal_echo_time: [s]
        spacing: From one refocusing pulse to the next [s].

    Raises:
        UsageError: The train has too few pulses for a plateau, or more than 1000.
    """
    centre = round(nominal_echo_time / spacing)
    if not 3 * N_FALLING <= centre <= 500:
        raise UsageError(
            f"an echo time of {nominal_echo_time:g} s is not that of a long train with pulses every "
            f"{spacing:g} s",
            remedy=f"Give {3 * N_FALLING * spacing:.3g} to {500 * spacing:.3g} s.",
        )
    echo_time, shape = _fitted(centre, spacing, DECAY)
    lowest, highest = (_fitted(centre, spacing, decay)[0] for decay in (WEAKEST_DECAY, STRONGEST_DECAY))
    return EquivalentTrain(
        echo_time=echo_time,
        nominal_echo_time=nominal_echo_time,
        shape=shape,
        lowest=lowest,
        highest=highest,
    )


def ln_train_decay(
    t1: Float[Tensor, "*#batch"],
    t2: Float[Tensor, "*#batch"],
    echo_time: Float[Tensor, "*#batch"],
    nominal_echo_time: Float[Tensor, "*#batch"],
    shape: Float[Tensor, "*#batch"],
) -> Float[Tensor, "*batch"]:
    """Return ln A(T1, T2) − ln A(∞, ∞), element by element.

    Args:
        t1: [s]
        t2: [s]
        echo_time: TE, contrast-equivalent [s].
        nominal_echo_time: T [s].
        shape: k [1].
    """
    scale = train_scale(echo_time, nominal_echo_time, shape)
    inner = (1 + scale * (1 / t2 - 1 / t1)).clamp(min=LEAST)
    return -nominal_echo_time / t1 - shape * inner.log()


def train_scale(
    echo_time: Float[Tensor, "*#batch"],
    nominal_echo_time: Float[Tensor, "*#batch"],
    shape: Float[Tensor, "*#batch"],
) -> Float[Tensor, "*batch"]:
    """Return θ of a train [s]."""
    at_reference = echo_time / REFERENCE_T2 - nominal_echo_time / REFERENCE_T1
    return torch.expm1(at_reference / shape) / (1 / REFERENCE_T2 - 1 / REFERENCE_T1)


@cache
def refocusing_angles(n_pulses: int, spacing: float, decay: float = DECAY) -> tuple[float, ...]:
    """Return the angles of a train designed for a prescribed signal [rad].

    Args:
        n_pulses: How many.
        spacing: From one to the next [s].
        decay: Share of the plateau that is left at the end.
    """
    low, high = 0.0, 1.0
    for _ in range(SEARCHES):
        level = (low + high) / 2
        angles = _designed(_prescribed(n_pulses, level, decay), spacing)
        if angles is None or angles[-1] > LAST_ANGLE:
            high = level
        else:
            low = level
    angles = _designed(_prescribed(n_pulses, low, decay), spacing)
    if angles is None:
        raise UsageError(f"no train of {n_pulses} pulses {spacing:g} s apart has a plateau")
    return angles


@cache
def _fitted(centre: int, spacing: float, decay: float) -> tuple[float, float]:
    """Return TE [s] and k of the echo with this number, from 1, of a train of twice that length."""
    angles = torch.tensor(refocusing_angles(2 * centre, spacing, decay)[:centre], dtype=torch.float64)
    t1, t2 = torch.tensor((*WATERS, REFERENCE, UNRELAXED), dtype=torch.float64).unbind(-1)
    ln_signal = train_amplitude(t1, t2, angles, spacing).log()
    ln_signal = ln_signal - ln_signal[-1]
    echo_time = -REFERENCE_T2 * ln_signal[-2]
    nominal = torch.tensor(centre * spacing, dtype=torch.float64)

    low, high = LN_SHAPES
    for _ in range(N_ROUNDS):  # scipy.optimize would take longer to import than this takes
        grid = torch.linspace(low, high, N_SHAPES, dtype=torch.float64)
        model = ln_train_decay(t1[:-2], t2[:-2], echo_time, nominal, grid.exp()[:, None])
        best = float(grid[(model - ln_signal[:-2]).square().sum(-1).argmin()])
        step = (high - low) / (N_SHAPES - 1)
        low, high = best - step, best + step
    return float(echo_time), math.exp(best)


def train_amplitude(
    t1: Float[Tensor, "*batch"],
    t2: Float[Tensor, "*batch"],
    angles: Float[Tensor, " pulses"],
    spacing: float,
) -> Float[Tensor, "*batch"]:
    """Return the last echo of a train over the magnetisation that its excitation by 90° found.

    Args:
        t1: [s]
        t2: [s]
        angles: Of the refocusing pulses [rad].
        spacing: From one to the next [s].
    """
    flat = torch.full_like(t1, math.pi / 2)
    echoes = echo_amplitudes(
        t1, t2, flat, angles.to(t1).expand(*t1.shape, -1), torch.full_like(t1, spacing)
    )
    return echoes[..., -1]


def _prescribed(n_pulses: int, level: float, decay: float) -> np.ndarray:
    """Return the echoes that a train is designed for, over equilibrium."""
    pulse = np.arange(n_pulses)
    falling = level + (1 - level) * 0.5 ** (pulse + 1)
    plateau = level * decay ** ((pulse - N_FALLING) / max(1, n_pulses - N_FALLING))
    result: np.ndarray = np.where(pulse < N_FALLING, falling, plateau)
    return result


def _designed(echoes: np.ndarray, spacing: float) -> tuple[float, ...] | None:
    """Return the angles with these echoes in grey matter; None if some echo is out of reach.

    The echo after a pulse of α is p·sin²(α/2) + m·cos²(α/2) − z·sin α, with p, m and z the states that the
    pulse finds: a constant minus r·cos(α − φ), which is solved for the larger α.
    """
    half, decay, regain = (
        math.exp(-spacing / time) for time in (2 * PRESCRIBED_T2, PRESCRIBED_T2, PRESCRIBED_T1)
    )
    n = len(echoes)
    plus, minus, along = np.zeros(n + 2), np.zeros(n + 2), np.zeros(n + 2)
    plus[0] = half
    angles = []
    for number, wanted in enumerate(echoes / half):
        some = slice(0, number + 1)
        middle, across, stored = (plus[0] + minus[0]) / 2, (plus[0] - minus[0]) / 2, along[0]
        ratio = (middle - wanted) / max(math.hypot(across, stored), 1e-30)
        if not -1 <= ratio <= 1:
            return None
        angle = math.atan2(stored, across) + math.acos(ratio)
        if not 0 < angle <= math.pi:
            return None
        angles.append(angle)
        cosine, sine = math.cos(angle), math.sin(angle)
        p, m, z = plus[some].copy(), minus[some].copy(), along[some].copy()
        new_plus = (1 + cosine) / 2 * p + (1 - cosine) / 2 * m + sine * z
        new_minus = (1 - cosine) / 2 * p + (1 + cosine) / 2 * m - sine * z
        plus[1 : number + 2], plus[0] = new_plus * decay, new_minus[0] * decay
        minus[:number], minus[number] = new_minus[1:] * decay, 0.0
        along[some] = (cosine * z - 0.5 * sine * (p - m)) * regain
    return tuple(angles)
