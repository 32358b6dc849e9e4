"""Sampling of the middle of k-space, and padding to a periodic image.

Resolution: the scanner samples the middle of k-space, and the image has as many voxels as samples.

Only the complex (or signed) signal may be cropped. A field or a susceptibility map cropped in k-space
rings at every boundary with air, which no scanner does; average those over the larger voxels instead.

A seam for patches: k-space takes a grid as periodic, but a patch of a head does not end in air.

Before a patch goes to k-space, each axis is continued by a few voxels that lead from its last values,
mirrored, to its first ones. What wraps around then meets no step, and nothing rings; the seam is cut
off afterwards.
"""

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from unweight.core.errors import UsageError


def crop_kspace(
    signal: Float[Tensor, "*space volumes"] | Complex[Tensor, "*space volumes"], shape: tuple[int, ...]
) -> Complex[Tensor, "*coarse volumes"]:
    """Return the volumes on a coarser grid that covers the same field of view.

    The edges of the field of view stay where they are: the new voxel j along an axis lies at
    (j + 1/2)·n/m − 1/2 in old voxels. Intensities keep their scale. The grid is taken as periodic.

    Args:
        signal: Complex or signed volumes; magnitudes hide the signs that must cancel.
        shape: New size of each spatial axis, at most the old one.

    Raises:
        UsageError: The new grid is finer, empty, or has another number of axes.
    """
    old = tuple(signal.shape[:-1])
    if len(shape) != len(old) or any(not 1 <= m <= n for m, n in zip(shape, old, strict=True)):
        raise UsageError(
            f"volumes of {old} voxels cannot be cropped to {shape}",
            remedy="Give one size per spatial axis, none larger than before.",
        )
    result: Tensor = signal if signal.is_complex() else torch.complex(signal, torch.zeros_like(signal))
    changed = [axis for axis, (m, n) in enumerate(zip(shape, old, strict=True)) if m != n]
    if not changed:
        return result
    spectrum = torch.fft.fftn(result, dim=changed)
    for axis in changed:
        spectrum = _crop_axis(spectrum, axis, shape[axis])
    coarse: Tensor = torch.fft.ifftn(spectrum, dim=changed)
    return coarse


def _crop_axis(
    spectrum: Complex[Tensor, "*space volumes"], axis: int, m: int
) -> Complex[Tensor, "*coarse volumes"]:
    """Keep the m lowest frequencies of one axis, and move the samples to the new voxel centres."""
    n = spectrum.shape[axis]
    upper = (m + 1) // 2
    kept = torch.cat((spectrum.narrow(axis, 0, upper), spectrum.narrow(axis, n - m // 2, m // 2)), axis)
    line = torch.fft.fftfreq(m, d=1 / m, device=spectrum.device, dtype=spectrum.real.dtype)
    angle = torch.pi * line * (1 / m - 1 / n)
    ramp = torch.polar(torch.full_like(angle, m / n), angle)
    return kept * ramp.reshape([-1 if i == axis else 1 for i in range(spectrum.ndim)])


def pad_periodic(
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


def crop_padding(
    signal: Float[Tensor, "*wider volumes"] | Complex[Tensor, "*wider volumes"],
    axes: tuple[int, ...],
    margin: int,
) -> Float[Tensor, "*space volumes"] | Complex[Tensor, "*space volumes"]:
    """Cut off what `sew` added."""
    for axis in axes:
        signal = signal.narrow(axis, margin, signal.shape[axis] - 2 * margin)
    return signal
