"""Blur by T2 decay along an echo train: later echoes fill other lines of k-space, and are weaker.

    W(k) = exp{−[t(k) − t(0)]/T2}

t(k) is the time of the echo that fills line k. The weight is 1 at the centre, whose decay
exp(−TE/T2) the signal model already holds. In centric order t grows with |k| and the image widens;
in linear order it grows with k, and the image also gains a phase at edges.

Reference: Constable, Gore, Magn Reson Med 28:9, 1992 (loss of small objects in fast spin echo).
"""

from dataclasses import dataclass
from enum import Enum
from typing import final

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from unweight.core.errors import UsageError


class EchoOrder(Enum):
    """Which lines of k-space the echoes fill."""

    CENTRIC = "centric"
    LINEAR = "linear"


@final
@dataclass(frozen=True, kw_only=True)
class EchoTrain:
    """The refocusing train of a fast spin echo.

    Attributes:
        n_echoes: Echoes after each excitation.
        echo_spacing: From one echo to the next [s].
        order: Which lines they fill.
    """

    n_echoes: int
    echo_spacing: float
    order: EchoOrder = EchoOrder.CENTRIC

    def __post_init__(self) -> None:
        if self.n_echoes < 1 or not self.echo_spacing > 0:
            raise UsageError(
                f"a train of {self.n_echoes} echoes, {self.echo_spacing:g} s apart",
                remedy="Give at least one echo and a positive spacing in seconds.",
            )

    @property
    def duration(self) -> float:
        """From excitation to the last echo [s]."""
        return self.n_echoes * self.echo_spacing


@final
@dataclass(frozen=True, kw_only=True)
class Blur:
    """T2 blur of a measurement.

    Attributes:
        train: How k-space was filled.
        t2: One effective T2 for the whole object [s].
        axis: Phase-encoding axis of the volumes.
    """

    train: EchoTrain
    t2: float
    axis: int = 1

    def __post_init__(self) -> None:
        _check_t2(self.t2)


def tse_filter(
    n_lines: int, etl: int, echo_spacing: float, t2: float, order: EchoOrder
) -> Float[Tensor, " lines"]:
    """Return W for every line, in the order of `torch.fft.fft`; double precision.

    Every shot takes its share of lines in each of `etl` bands of equal width, so the number of shots
    does not matter.

    Args:
        n_lines: Phase-encoding lines.
        etl: Echoes per train.
        echo_spacing: From one echo to the next [s].
        t2: Transverse relaxation time [s].
        order: Which band is filled first.

    Raises:
        UsageError: There are fewer lines than echoes, or a number is not positive.
    """
    train = EchoTrain(n_echoes=etl, echo_spacing=echo_spacing, order=order)
    _check_t2(t2)
    if n_lines < etl:
        raise UsageError(
            f"{etl} echoes for {n_lines} lines of k-space", remedy="A train fills one line or more an echo."
        )
    line = torch.fft.fftfreq(n_lines, d=1 / n_lines, dtype=torch.float64)
    if train.order is EchoOrder.CENTRIC:
        band = (2 * etl * line.abs() / n_lines).floor().clamp(max=etl - 1)
    else:
        band = (etl * (line + n_lines // 2) / n_lines).floor()
    return torch.exp(-(band - band[0]) * echo_spacing / t2)


def apply_filter(
    signal: Float[Tensor, "*space volumes"] | Complex[Tensor, "*space volumes"],
    weights: Float[Tensor, " lines"],
    axis: int,
) -> Complex[Tensor, "*space volumes"]:
    """Return the volumes with these weights on the lines of k-space along one axis.

    The grid is taken as periodic: filter whole slices, with air around the head, and cut patches after.

    Raises:
        UsageError: The axis is that of the volumes, or its size is not that of the weights.
    """
    if not 0 <= axis < signal.ndim - 1 or signal.shape[axis] != len(weights):
        raise UsageError(
            f"{len(weights)} weights along axis {axis} of volumes {tuple(signal.shape)}",
            remedy="Give one weight per line of a spatial axis.",
        )
    shaped = weights.to(signal.real).reshape([-1 if i == axis else 1 for i in range(signal.ndim)])
    filtered: Tensor = torch.fft.ifft(torch.fft.fft(signal, dim=axis) * shaped, dim=axis)
    return filtered


def apply_blur(
    signal: Float[Tensor, "*space volumes"] | Complex[Tensor, "*space volumes"], blur: Blur
) -> Complex[Tensor, "*space volumes"]:
    """Return the volumes blurred along the phase-encoding axis."""
    train, lines = blur.train, signal.shape[blur.axis]
    # A grid with fewer lines than echoes is a part of the scan: it holds the same bands, thinned out.
    etl = min(train.n_echoes, lines)
    weights = tse_filter(lines, etl, train.duration / etl, blur.t2, train.order)
    return apply_filter(signal, weights, blur.axis)


def _check_t2(t2: float) -> None:
    if not t2 > 0:
        raise UsageError(f"T2 must be positive, not {t2:g} s")
