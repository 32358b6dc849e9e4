"""Gradient echoes of a head whose field, offset and decay are known."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from tests.susceptibility.scenes import places
from unweight.core.seeding import seeded_generator

SHAPE = (32, 30, 24)
VOXEL = (2.0, 2.0, 2.5)
TIMES = (0.004, 0.009, 0.016, 0.025)  # not evenly spaced


class Echoes(NamedTuple):
    """What was measured, and what is true."""

    signal: Tensor
    time: Tensor
    mask: Tensor
    rate: Tensor
    offset: Tensor


def echoes(times: tuple[float, ...] = TIMES, sigma: float = 0.0, seed: int = 1) -> Echoes:
    """Return echoes of 1 at TE = 0, with a field of some ±130 Hz and an offset of some ±1.5 rad."""
    x, y, z = places(SHAPE, VOXEL)
    mask = (x / 28) ** 2 + (y / 26) ** 2 + (z / 26) ** 2 < 1
    bump = torch.exp(-((x - 6) ** 2 + (y + 10) ** 2 + (z + 8) ** 2) / (2 * 9.0**2))
    rate = 2 * math.pi * (150 * bump + 2.5 * x - 0.06 * (y**2 - z**2) - 25)
    offset = 0.6 + 0.025 * x - 0.02 * y + 0.0006 * z**2
    time = torch.tensor(times, dtype=torch.float64)
    decay = 15 + 20 * torch.sigmoid(y / 10)
    magnitude = torch.where(mask, 1.0, 0.0)[..., None] * torch.exp(-decay[..., None] * time)
    signal = torch.polar(magnitude, offset[..., None] + rate[..., None] * time)
    if sigma:
        parts = torch.randn(
            (2, *signal.shape), generator=seeded_generator(seed, "noise"), dtype=torch.float64
        )
        signal = signal + sigma * torch.complex(parts[0], parts[1])
    return Echoes(signal, time, mask, rate, offset)


def nrmse(found: Tensor, true: Tensor) -> float:
    """Return the error over the spread of the truth."""
    return float((found - true).square().mean().sqrt() / true.std())
