"""Small rigid motion in the plane between volumes, by Fourier interpolation.

A rotation is three shears, each a shift of every line by a phase ramp along it:

    R(θ) = X(−tan θ/2) · Y(sin θ) · X(−tan θ/2)

Nothing is smoothed, as nothing is in a patient who moved between two scans; sharp edges ring as they
do in a scanner. The grid is taken as periodic.

Reference: Unser, Thevenaz, Yaroslavsky, IEEE Trans Image Process 4:1371, 1995.
"""

import math
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from unweight.core.errors import UsageError


@final
@dataclass(frozen=True, kw_only=True)
class Motion:
    """Where the head was in one volume, relative to the truth; about the middle of the grid.

    Attributes:
        shift: Along the first and second axis [voxel].
        rotation: From the first towards the second axis [rad].
    """

    shift: tuple[float, float] = (0.0, 0.0)
    rotation: float = 0.0

    def __post_init__(self) -> None:
        if abs(self.rotation) > math.pi / 4:
            raise UsageError(
                f"a rotation by {self.rotation:g} rad is no small motion", remedy="Give less than 0.78 rad."
            )


def move(
    signal: Float[Tensor, "*space volumes"] | Complex[Tensor, "*space volumes"],
    motions: tuple[Motion, ...],
) -> Complex[Tensor, "*space volumes"]:
    """Return the volumes with each head rotated, then shifted, in the first two axes.

    Voxels are taken as square in that plane.

    Args:
        signal: Complex or signed volumes.
        motions: One per volume.

    Raises:
        UsageError: There is another number of motions than volumes, or no plane.
    """
    if signal.ndim < 3 or len(motions) != signal.shape[-1]:
        raise UsageError(
            f"{len(motions)} motions for volumes {tuple(signal.shape)}",
            remedy="Give one motion per volume, and volumes of at least two axes.",
        )
    moved = signal if signal.is_complex() else torch.complex(signal, torch.zeros_like(signal))
    real = moved.real
    turn = real.new_tensor([motion.rotation for motion in motions])
    shift = real.new_tensor([motion.shift for motion in motions])
    if any(motion.rotation != 0 for motion in motions):
        half, full = -torch.tan(turn / 2), torch.sin(turn)
        moved = _shear(moved, 0, half, torch.zeros_like(turn))
        moved = _shear(moved, 1, full, shift[:, 1])
        # The last shear acts on lines that are already shifted along the other axis.
        return _shear(moved, 0, half, shift[:, 0] - half * shift[:, 1])
    if bool((shift != 0).any()):
        still = torch.zeros_like(turn)
        moved = _shear(_shear(moved, 0, still, shift[:, 0]), 1, still, shift[:, 1])
    return moved


def _shear(
    signal: Complex[Tensor, "x y *rest"],
    axis: int,
    slope: Float[Tensor, " volumes"],
    shift: Float[Tensor, " volumes"],
) -> Complex[Tensor, "x y *rest"]:
    """Shift every line along an axis by slope · (place on the other axis) + shift, in voxels."""
    other, n = 1 - axis, signal.shape[axis]
    place = torch.arange(signal.shape[other]).to(slope) - (signal.shape[other] - 1) / 2
    by = place[:, None] * slope + shift
    frequency = torch.fft.fftfreq(n, dtype=slope.dtype, device=slope.device)
    angle = -2 * torch.pi * frequency[:, None, None] * by
    ramp = torch.polar(torch.ones_like(angle), angle)
    if n % 2 == 0:
        # The highest frequency stands for both signs; a real line must stay real.
        ramp[n // 2] = torch.complex(ramp[n // 2].real, torch.zeros_like(by))
    if axis == 1:
        ramp = ramp.transpose(0, 1)
    ramp = ramp.reshape(*ramp.shape[:2], *([1] * (signal.ndim - 3)), ramp.shape[2])
    moved: Tensor = torch.fft.ifft(torch.fft.fft(signal, dim=axis) * ramp, dim=axis)
    return moved
