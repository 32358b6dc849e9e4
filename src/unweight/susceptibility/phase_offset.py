"""What phase there is at TE = 0: that of the coils, taken out after MCPC-3D-S.

The phase that grows between two echoes, θ = arg(S₂·S₁*), is free of any offset and is unwrapped exactly.
The offset follows, and is smooth, because coils are:

    φ₀ = arg smooth( m₁m₂ · exp[i(φ₁ − θ·TE₁/(TE₂ − TE₁))] ).

Reference: Eckstein et al., Magn Reson Med 79:2996, 2018.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from unweight.susceptibility.geometry import Triple
from unweight.susceptibility.smooth import smooth_complex
from unweight.susceptibility.unwrap import TURN, unwrap_in_space

SMOOTHING_MM = 8.0


class PhaseOffset(NamedTuple):
    """What the two echoes tell.

    Attributes:
        offset: Phase at TE = 0 [rad], smooth, wrapped.
        rate: Angular frequency from the two echoes [rad/s], without jumps; 0 outside the mask.
    """

    offset: Float[Tensor, "x y z"]
    rate: Float[Tensor, "x y z"]


def phase_offset(
    echoes: Complex[Tensor, "x y z 2"],
    echo_time: tuple[float, float],
    mask: Bool[Tensor, "x y z"],
    voxel_mm: Triple,
    turns: int = 0,
) -> PhaseOffset:
    """Return the phase at TE = 0, and how fast the phase grows.

    Args:
        echoes: Two echoes read with the same polarity, the first ones.
        echo_time: Their TE [s].
        mask: Voxels whose phase means something, one piece.
        voxel_mm: Voxel size along each axis [mm].
        turns: Whole turns that phase grew more between the echoes than unwrapping says, everywhere.
    """
    first, second = echoes[..., 0], echoes[..., 1]
    growth = unwrap_in_space(torch.angle(second * first.conj()), mask)
    growth = growth + turns * TURN * mask
    rate = growth / (echo_time[1] - echo_time[0])
    turned = first * second.abs() * torch.polar(torch.ones_like(rate), -rate * echo_time[0])
    inside = torch.where(mask, turned, torch.zeros_like(turned))
    return PhaseOffset(torch.angle(smooth_complex(inside, SMOOTHING_MM, voxel_mm)), rate)
