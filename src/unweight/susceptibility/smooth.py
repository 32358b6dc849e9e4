"""Smoothing with a Gaussian; beyond the grid there is nothing, so edges lose."""

import math

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from unweight.susceptibility.geometry import Triple

REACH = 3.0  # standard deviations


def smooth_complex(
    values: Complex[Tensor, "x y z"], sd_mm: float, voxel_mm: Triple
) -> Complex[Tensor, "x y z"]:
    """Return values smoothed with a Gaussian, 0 beyond the grid.

    Args:
        values: A complex image; the phase of its smooth is a mean phase weighted by magnitude.
        sd_mm: Standard deviation of the Gaussian [mm].
        voxel_mm: Voxel size along each axis [mm].
    """
    parts = torch.stack([values.real, values.imag])
    for axis, size in enumerate(voxel_mm):
        parts = _along(parts, axis + 1, sd_mm / size)
    return torch.complex(parts[0].contiguous(), parts[1].contiguous())


def _along(parts: Float[Tensor, "two x y z"], axis: int, sd: float) -> Float[Tensor, "two x y z"]:
    """Smooth along one axis by a product with a band matrix: fast, and the same on every device."""
    n = parts.shape[axis]
    if n == 1:
        return parts
    place = torch.arange(n, device=parts.device, dtype=parts.dtype)
    distance = (place[:, None] - place[None, :]) / max(sd, 1e-6)
    weight = torch.exp(-distance.square() / 2)
    weight = torch.where(distance.abs() <= REACH, weight, torch.zeros_like(weight))
    reach = math.floor(REACH * sd)
    whole = sum(math.exp(-((step / max(sd, 1e-6)) ** 2) / 2) for step in range(-reach, reach + 1))
    weight = weight / whole
    return torch.movedim(torch.movedim(parts, axis, -1) @ weight, -1, axis)
