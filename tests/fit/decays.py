"""Echoes of known decay, as coils measure them."""

import math

import torch
from torch import Tensor

from unweight.core.seeding import seeded_generator

BRAIN = tuple(0.004 * (echo + 1) for echo in range(8))  # at 3 T, docs/qsm.md


def decays(rates: tuple[float, ...], snr: float, times: tuple[float, ...] = BRAIN, n: int = 2000) -> Tensor:
    """Return noiseless decays for a noise of one, n voxels of each rate after another."""
    rate = torch.tensor(rates, dtype=torch.float64).repeat_interleave(n)
    return snr * torch.exp(-rate[:, None] * torch.tensor(times, dtype=torch.float64))


def magnitudes(signal: Tensor, n_channels: int = 1, seed: int = 0) -> Tensor:
    """Return the root of the sum of squares over channels that share the signal, each with noise of one."""
    parts = torch.randn(
        (2, *signal.shape, n_channels), generator=seeded_generator(seed, "coils"), dtype=signal.dtype
    )
    parts[0] += signal[..., None] / math.sqrt(n_channels)
    return parts.square().sum((0, -1)).sqrt()
