"""The field from unwrapped echoes: a straight line through phase against echo time.

    φ_k = φ₀ + ω·TE_k,    weights m_k², for the variance of φ_k is σ²/m_k²

With t̄ the weighted mean of TE, ω = Σ m²(TE − t̄)φ / Σ m²(TE − t̄)², and its variance is
σ²/Σ m²(TE − t̄)². The weighted residual says how straight the line is: where phase was unwrapped wrongly, or
several waters share a voxel, it is large.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


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
