"""The field map from complex echoes.

The field from unwrapped echoes: a straight line through phase against echo time.

    φ_k = φ₀ + ω·TE_k,    weights m_k², for the variance of φ_k is σ²/m_k²

With t̄ the weighted mean of TE, ω = Σ m²(TE − t̄)φ / Σ m²(TE − t̄)², and its variance is
σ²/Σ m²(TE − t̄)². The weighted residual says how straight the line is: where phase was unwrapped wrongly, or
several waters share a voxel, it is large.

Whether the phase of an image is more than noise: neighbours agree.

    C = max over axes of |Σ s(r + e)·s*(r)| / Σ |s(r + e)·s(r)|

over the voxels of a mask, s the first echo, or the growth S₂·S₁* of two, free of the phase of coils. It is
1 for a phase that is flat or a ramp, and of the order of 1/√N for N voxels of noise.

From complex echoes to the field, in the order of events.

1. Even echoes of a bipolar readout lose the phase that they have too much (`bipolar_phase`).
2. The phase of the coils is taken out (`phase_offset`); what is left begins near 0 at TE = 0.
3. The growth between two echoes, unwrapped exactly in space, says what phase to expect of the first echo;
   each later one is unwrapped next to what the echoes before it expect.
4. A line is fitted with an intercept, which takes what the smooth offset left.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple, final

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from unweight.core.errors import ProtocolError
from unweight.susceptibility.geometry import Triple
from unweight.susceptibility.phase_offset import bipolar_phase, even_turned_back, phase_offset
from unweight.susceptibility.unwrap import unwrap_in_space, unwrap_near


class LineFit(NamedTuple):
    """A line per voxel.

    Attributes:
        rate: ω [rad/s].
        offset: φ₀ [rad].
        residual: Weighted root mean square of what is left [rad]; 0 for one or two echoes.
        leverage: Σ m²(TE − t̄)²; σ² over it is the variance of ω.
        scatter: Σ m²·(φ − line)² [unit²].
    """

    rate: Float[Tensor, "*voxels"]
    offset: Float[Tensor, "*voxels"]
    residual: Float[Tensor, "*voxels"]
    leverage: Float[Tensor, "*voxels"]
    scatter: Float[Tensor, "*voxels"]


def fit_line(
    phase: Float[Tensor, "*voxels echoes"],
    magnitude: Float[Tensor, "*voxels echoes"],
    echo_time: Float[Tensor, " echoes"],
) -> LineFit:
    """Fit the line in every voxel; a single echo is divided by its TE.

    Args:
        phase: Unwrapped [rad].
        magnitude: Of the echoes.
        echo_time: TE [s].
    """
    tiny = torch.finfo(phase.dtype).tiny
    if len(echo_time) == 1:
        rate = phase[..., 0] / echo_time
        leverage = (magnitude[..., 0] * echo_time).square()
        nothing = torch.zeros_like(rate)
        return LineFit(rate, nothing, nothing, leverage, nothing)
    top = magnitude.amax(-1, keepdim=True).clamp(min=tiny)
    weight = (magnitude / top).square()
    total = weight.sum(-1, keepdim=True).clamp(min=tiny)
    centre = (weight * echo_time).sum(-1, keepdim=True) / total
    middle = (weight * phase).sum(-1, keepdim=True) / total
    time, swing = echo_time - centre, phase - middle
    leverage = (weight * time.square()).sum(-1)
    rate = (weight * time * swing).sum(-1) / leverage.clamp(min=tiny)
    left = swing - rate[..., None] * time
    scatter = (weight * left.square()).sum(-1)
    residual = (scatter / total[..., 0]).sqrt()
    offset = (middle - rate[..., None] * centre)[..., 0]
    unit = top[..., 0].square()
    return LineFit(rate, offset, residual, leverage * unit, scatter * unit)


def phase_coherence(signal: Complex[Tensor, "x y z echoes"], mask: Bool[Tensor, "x y z"]) -> float:
    """Return how far neighbours agree in phase, 0 to 1; 1 where no voxel has a neighbour.

    Args:
        signal: The echoes, in the order of their echo times.
        mask: Voxels that count.
    """
    growth = signal[..., 1] * signal[..., 0].conj() if signal.shape[-1] > 1 else signal[..., 0]
    growth = torch.where(mask, growth, torch.zeros_like(growth))
    # Products of four magnitudes leave the range of single precision.
    growth = growth / growth.abs().max().clamp(min=torch.finfo(growth.real.dtype).tiny)
    result: list[float] = []
    for axis, size in enumerate(mask.shape):
        product = growth.narrow(axis, 1, size - 1) * growth.narrow(axis, 0, size - 1).conj()
        total = float(product.abs().sum())
        if total > 0:
            result.append(float(product.sum().abs()) / total)
    return max(result, default=1.0)


Volume = Float[Tensor, "x y z"]
POOR = 0.2  # median residual that is more than noise [rad]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class FieldMap:
    """How fast the phase grows in each voxel.

    Attributes:
        rate: Angular frequency [rad/s]; 0 outside the mask.
        residual: How far the phase is from a line [rad]; 0 for one or two echoes.
        leverage: σ² over it is the variance of the rate, σ the noise of one channel [unit² s²].
        unwrapped: Phase of each echo without jumps, offset and alternation taken out [rad].
        scatter: What is left about the line, Σ m²·(φ − line)² [unit²].
        alternation: Largest phase that even echoes have too much [rad]; None where it was not looked for.
        turned: Whether it was taken out.
    """

    rate: Volume
    residual: Volume
    leverage: Volume
    unwrapped: Float[Tensor, "x y z echoes"]
    scatter: Volume
    alternation: float | None = None
    turned: bool = False


def field_map(
    signal: Complex[Tensor, "x y z echoes"],
    echo_time: Float[Tensor, " echoes"],
    mask: Bool[Tensor, "x y z"],
    voxel_mm: Triple,
    bipolar: bool | None = None,
) -> FieldMap:
    """Return the field of one gradient-echo series.

    Args:
        signal: The echoes.
        echo_time: TE, rising [s].
        mask: Voxels whose phase means something, one piece.
        voxel_mm: Voxel size along each axis [mm].
        bipolar: Whether every other echo was read backwards; None to see it in the data.

    Raises:
        ProtocolError: The echo times do not rise, or a bipolar readout has fewer than three echoes.
    """
    if bool((echo_time[1:] <= echo_time[:-1]).any()):
        raise ProtocolError("echo times that do not rise", remedy="Sort the echoes, and give each once.")
    if len(echo_time) == 1 and not bipolar:
        phase = unwrap_in_space(torch.angle(signal[..., 0]), mask)[..., None]
        return _fitted(phase, signal, echo_time, mask)
    signal, alternation, turned = _one_polarity(signal, echo_time, mask, bipolar)
    best = _with_turns(0, (signal, echo_time, mask), voxel_mm)
    if _typical(best, mask) > POOR:
        # Unevenly spaced echoes tell a mean field that is whole turns away; evenly spaced ones cannot.
        others = [_with_turns(turns, (signal, echo_time, mask), voxel_mm) for turns in (-1, 1)]
        best = min((best, *others), key=lambda item: _typical(item, mask))
    return replace(best, alternation=alternation, turned=turned)


def _typical(has_offset: FieldMap, mask: Bool[Tensor, "x y z"]) -> float:
    """Return the median residual in a mask [rad]."""
    return float(has_offset.residual[mask].median())


def _with_turns(
    turns: int,
    measured: tuple[Complex[Tensor, "x y z echoes"], Float[Tensor, " echoes"], Bool[Tensor, "x y z"]],
    voxel_mm: Triple,
) -> FieldMap:
    """Return the field if phase grew by so many whole turns more than the smallest between two echoes."""
    signal, echo_time, mask = measured
    times = (float(echo_time[0]), float(echo_time[1]))
    offset, rate = phase_offset(signal[..., :2], times, mask, voxel_mm, turns)
    back = torch.polar(torch.ones_like(offset), -offset)
    unwrapped: list[Tensor] = []
    for index, time in enumerate(echo_time.tolist()):
        phase = torch.angle(signal[..., index] * back)
        unwrapped.append(unwrap_near(phase, rate * time))
        before = slice(0, index + 1)
        rate = _through_origin(unwrapped, signal[..., before].abs(), echo_time[before].to(rate))
    return _fitted(torch.stack(unwrapped, dim=-1), signal, echo_time, mask)


def _one_polarity(
    signal: Complex[Tensor, "x y z echoes"],
    echo_time: Float[Tensor, " echoes"],
    mask: Bool[Tensor, "x y z"],
    bipolar: bool | None,
) -> tuple[Complex[Tensor, "x y z echoes"], float | None, bool]:
    if bipolar is False:
        return signal, None, False
    fit = bipolar_phase(signal, echo_time, mask)
    if fit is None:
        if bipolar:
            count = "one echo" if len(echo_time) == 1 else f"{len(echo_time)} echoes"
            raise ProtocolError(
                f"{count} of a bipolar readout: its phase cannot be separated from the field",
                remedy="Acquire three echoes or more, or read them all in one direction.",
            )
        return signal, None, False
    if bipolar or fit.has_offset:
        return even_turned_back(signal, fit.phase), fit.largest, True
    return signal, fit.largest, False


def _through_origin(
    unwrapped: list[Volume], magnitude: Float[Tensor, "x y z echoes"], echo_time: Float[Tensor, " echoes"]
) -> Volume:
    """Return the rate of a line through 0 at TE = 0, for the next echo to be expected from."""
    weight = (magnitude * echo_time).square()
    rates = torch.stack(unwrapped, dim=-1) / echo_time
    return (weight * rates).sum(-1) / weight.sum(-1).clamp(min=torch.finfo(weight.dtype).tiny)


def _fitted(
    unwrapped: Float[Tensor, "x y z echoes"],
    signal: Complex[Tensor, "x y z echoes"],
    echo_time: Float[Tensor, " echoes"],
    mask: Bool[Tensor, "x y z"],
) -> FieldMap:
    line = fit_line(unwrapped, signal.abs(), echo_time.to(unwrapped))
    nothing = torch.zeros_like(line.rate)
    return FieldMap(
        rate=torch.where(mask, line.rate, nothing),
        residual=torch.where(mask, line.residual, nothing),
        leverage=torch.where(mask, line.leverage, nothing),
        unwrapped=unwrapped,
        scatter=torch.where(mask, line.scatter, nothing),
    )
