"""Bipolar echoes: every other one is read backwards, and its phase tells.

Delays and eddy currents move the centre of each echo against the readout gradient. The phase they
cause changes sign with the gradient:

    S_j → S_j · exp[±i·(φ + ψ·u)],    + for echoes 1, 3, 5 …

u runs from −1 to 1 along the readout axis.

"""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Complex
from torch import Tensor

from unweight.core.errors import UsageError
from unweight.synth.sampling import draw_uniform


@final
@dataclass(frozen=True, kw_only=True)
class BipolarPhase:
    """Half the phase between odd and even echoes.

    Attributes:
        offset: φ, in the middle of the field of view [rad].
        slope: ψ, from the middle to the edge [rad].
        axis: Readout axis of the volumes.
    """

    offset: float
    slope: float
    axis: int = 0


def draw_bipolar_phase(generator: torch.Generator, axis: int = 0) -> BipolarPhase:
    """Draw up to 0.3 rad in the middle and as much again at the edges."""
    offset, slope = draw_uniform((-0.3, 0.3), generator), draw_uniform((-0.3, 0.3), generator)
    return BipolarPhase(offset=offset, slope=slope, axis=axis)


def alternate(
    signal: Complex[Tensor, "*space echoes"], phase: BipolarPhase
) -> Complex[Tensor, "*space echoes"]:
    """Return the echoes as a bipolar readout gives them.

    Raises:
        UsageError: The readout axis is not an axis of space.
    """
    if not 0 <= phase.axis < signal.ndim - 1:
        raise UsageError(
            f"no readout along axis {phase.axis} of volumes {tuple(signal.shape)}",
            remedy="Give one of the spatial axes.",
        )
    real = signal.real
    n, echoes = signal.shape[phase.axis], signal.shape[-1]
    place = torch.linspace(-1, 1, n, dtype=real.dtype, device=real.device)
    sign = 1 - 2 * (torch.arange(echoes, device=real.device) % 2).to(real)
    angle = (phase.offset + phase.slope * place)[:, None] * sign
    shape = [n if axis == phase.axis else 1 for axis in range(signal.ndim - 1)]
    return signal * torch.polar(torch.ones_like(angle), angle).reshape(*shape, echoes)
