"""Differences between neighbours, per millimetre, on a periodic grid; and their transpose."""

import torch
from jaxtyping import Float
from torch import Tensor

from unweight.susceptibility.geometry import Triple


def differences(values: Float[Tensor, "x y z"], voxel_mm: Triple) -> Float[Tensor, "3 x y z"]:
    """Return (v(r + e) − v(r))/size along each axis."""
    parts = [(values.roll(-1, axis) - values) / size for axis, size in enumerate(voxel_mm)]
    return torch.stack(parts)


def differences_back(parts: Float[Tensor, "3 x y z"], voxel_mm: Triple) -> Float[Tensor, "x y z"]:
    """Return the transpose of `differences`, minus the divergence."""
    back = [(parts[axis].roll(1, axis) - parts[axis]) / size for axis, size in enumerate(voxel_mm)]
    return back[0] + back[1] + back[2]


def laplacian_kernel(shape: tuple[int, int, int], voxel_mm: Triple) -> Float[Tensor, "x y half"]:
    """Return the half spectrum of `differences_back` after `differences`, Σ 4 sin²(πk·size)/size²."""
    squares = []
    for axis, (n, size) in enumerate(zip(shape, voxel_mm, strict=True)):
        share = torch.fft.rfftfreq(n) if axis == 2 else torch.fft.fftfreq(n)
        squares.append((2 * torch.sin(torch.pi * share) / size) ** 2)
    return squares[0][:, None, None] + squares[1][None, :, None] + squares[2][None, None, :]
