"""A seam for patches: k-space takes a grid as periodic, but a patch of a head does not end in air.

Before a patch goes to k-space, each axis is continued by a few voxels that lead from its last values,
mirrored, to its first ones. What wraps around then meets no step, and nothing rings; the seam is cut
off afterwards.
"""

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from unweight.core.errors import UsageError


def sew(
    signal: Float[Tensor, "*space volumes"] | Complex[Tensor, "*space volumes"],
    axes: tuple[int, ...],
    margin: int,
) -> Float[Tensor, "*wider volumes"] | Complex[Tensor, "*wider volumes"]:
    """Continue the volumes by `margin` voxels at both ends of each axis.

    Args:
        signal: A patch.
        axes: Spatial axes that go to k-space.
        margin: Width of half the seam [voxel]; twice this must fit into the patch.

    Raises:
        UsageError: It does not, or an axis is not one of space.
    """
    for axis in axes:
        n, width = signal.shape[axis], 2 * margin
        if not 0 <= axis < signal.ndim - 1 or not 0 < width <= n:
            raise UsageError(
                f"no seam of {margin} voxels along axis {axis} of volumes {tuple(signal.shape)}",
                remedy="Twice the margin must fit into the patch.",
            )
        place = (torch.arange(width, device=signal.device) + 0.5) / width
        fade = ((1 + torch.cos(torch.pi * place)) / 2).to(signal.real)
        fade = fade.reshape([-1 if i == axis else 1 for i in range(signal.ndim)])
        last, first = signal.narrow(axis, n - width, width), signal.narrow(axis, 0, width)
        bridge = fade * last.flip(axis) + (1 - fade) * first.flip(axis)
        after, before = bridge.narrow(axis, 0, margin), bridge.narrow(axis, margin, margin)
        signal = torch.cat((before, signal, after), axis)
    return signal


def unpick(
    signal: Float[Tensor, "*wider volumes"] | Complex[Tensor, "*wider volumes"],
    axes: tuple[int, ...],
    margin: int,
) -> Float[Tensor, "*space volumes"] | Complex[Tensor, "*space volumes"]:
    """Cut off what `sew` added."""
    for axis in axes:
        signal = signal.narrow(axis, margin, signal.shape[axis] - 2 * margin)
    return signal
