"""Phase without jumps: in space exactly, in time by what is expected, and by the Laplacian for comparison.

A measured phase is known up to whole turns. Exact unwrapping adds whole turns only: voxels are joined along
the most reliable edges first (Herráez et al., Appl Opt 41:7437, 2002, as scikit-image has it), so that the
result differs from the measurement by 2πn everywhere. A voxel that still stands alone, more than half a
turn from the mean of those it touches, is brought to them. Where a phase is expected from earlier echoes,

    φ' = φ + 2π·round((expected − φ)/2π).

The Laplacian of the true phase can be had without unwrapping, and is inverted in k-space (Schofield, Zhu,
Opt Lett 28:1194, 2003):

    ∇²φ' = cos φ·∇² sin φ − sin φ·∇² cos φ.

That is smooth but not exact: it changes the field, most where phase is steep.
"""

import math
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy import ndimage
from skimage import restoration
from torch import Tensor

from unweight.core.errors import InputError
from unweight.susceptibility.geometry import Triple

TURN = 2 * math.pi
RESTORATION: Any = restoration  # scikit-image's functions carry no types
Volume = Float[Tensor, "x y z"]


def wrapped(phase: Float[Tensor, "*voxels"]) -> Float[Tensor, "*voxels"]:
    """Return the phase in (−π, π]."""
    return phase - TURN * torch.round(phase / TURN)


def unwrap_in_space(phase: Volume, mask: Bool[Tensor, "x y z"]) -> Volume:
    """Return the phase without jumps inside the mask, and 0 outside; each piece has its mean nearest to 0.

    Runs on the processor: the order of joining is a chain that cannot be spread.

    Args:
        phase: Wrapped phase [rad].
        mask: Voxels whose phase means something.

    Raises:
        InputError: The mask is empty, the phase in it not finite, or the grid a single row.
    """
    inside = mask.cpu().numpy()
    if not inside.any():
        raise InputError("the mask is empty: there is no phase to unwrap", remedy="Check the mask.")
    if sorted(inside.shape)[1] == 1 and inside.size > 1:
        raise InputError("a single row of voxels cannot be unwrapped", remedy="Give an image or a volume.")
    thick = [axis for axis, size in enumerate(inside.shape) if size > 1]
    flat = tuple(inside.shape[axis] for axis in thick) or (1,)
    if not bool(torch.isfinite(phase[mask]).all()):
        raise InputError("the phase is not finite inside the mask", remedy="Check the images.")
    # Outside the mask numbers do not count, but one that is not finite would never be joined.
    values = phase.detach().cpu().double().nan_to_num(0.0, 0.0, 0.0).numpy()
    masked = np.ma.array(values.reshape(flat), mask=~inside.reshape(flat))
    filled = np.ma.filled(RESTORATION.unwrap_phase(masked, rng=0) if masked.size > 1 else masked, 0.0)
    result = _without_specks(torch.from_numpy(np.asarray(filled).reshape(inside.shape)).to(phase), mask)
    numbered, count = ndimage.label(inside)
    turns = np.zeros(count + 1)
    means = ndimage.mean(result.double().cpu().numpy(), numbered, range(1, count + 1))
    turns[1:] = TURN * np.round(np.asarray(means) / TURN)
    result = result - torch.from_numpy(turns[numbered]).to(result)
    return torch.where(mask, result, torch.zeros_like(result))


def unwrap_near(
    phase: Float[Tensor, "*voxels"], expected: Float[Tensor, "*voxels"]
) -> Float[Tensor, "*voxels"]:
    """Return the phase with the whole turns that bring it nearest to what is expected [rad]."""
    return phase + TURN * torch.round((expected - phase) / TURN)


def unwrap_by_laplacian(phase: Volume, voxel_mm: Triple) -> Volume:
    """Return the phase whose Laplacian is that of the measured one; its mean is 0.

    The grid is mirrored at its faces, so that it has none.
    """
    mirrored = phase
    for axis in range(3):
        mirrored = torch.cat([mirrored, mirrored.flip(axis)], dim=axis)
    k = [torch.fft.fftfreq(n, d=size) for n, size in zip(mirrored.shape, voxel_mm, strict=True)]
    squares = [(TURN * part.to(phase)) ** 2 for part in k]
    square = squares[0][:, None, None] + squares[1][None, :, None] + squares[2][None, None, :]

    def laplacian(values: Tensor) -> Tensor:
        result: Tensor = torch.fft.ifftn(-square * torch.fft.fftn(values)).real
        return result

    sine, cosine = torch.sin(mirrored), torch.cos(mirrored)
    source = torch.fft.fftn(cosine * laplacian(sine) - sine * laplacian(cosine))
    square[0, 0, 0] = 1.0
    outcome: Tensor = torch.fft.ifftn(-source / square).real[
        : phase.shape[0], : phase.shape[1], : phase.shape[2]
    ]
    return outcome - outcome.mean()


def _without_specks(phase: Volume, mask: Bool[Tensor, "x y z"]) -> Volume:
    """Return the phase with single voxels turned to the mean of the neighbours at their faces."""
    inside = mask.to(phase)
    total, count = torch.zeros_like(phase), torch.zeros_like(phase)
    for axis, size in enumerate(phase.shape):
        for begin, end in ((0, 1), (1, 0)):
            here = [slice(None)] * 3
            there = [slice(None)] * 3
            here[axis], there[axis] = slice(begin, size - end), slice(end, size - begin)
            weight = inside[tuple(there)]
            total[tuple(here)] += weight * phase[tuple(there)]
            count[tuple(here)] += weight
    around = total / count.clamp(min=1)
    alone = mask & (count > 0) & ((phase - around).abs() > TURN / 2)
    return torch.where(alone, unwrap_near(phase, around), phase)
