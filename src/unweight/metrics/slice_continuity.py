"""Whether a volume that was made slice by slice hangs together: jumps of its error between slices.

    jumps = RMS of (d[k + 1] − d[k]) along the stack / RMS of the same within the plane,    d = x̂ − x

The anatomy changes from slice to slice and is in both volumes, so the error d is looked at. If it is as
smooth along the stack as within the plane, the ratio is 1, for white noise too; slices with offsets of
their own raise it. A ratio below 1 is an error smoother along the stack than within. Where slices have an
offset of variance s², independent of one another, on white noise of variance v, it is √(1 + s²/v).

Differences are between neighbouring voxels that are both in the mask, those of both in-plane axes pooled.
They are per voxel: thick slices raise the ratio of a smooth error, so compare methods on one grid. The
noise and the ringing of the true image are in d as well. The measure is ours; it needs no reference.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unweight.core.errors import UsageError

N_AXES = 3


def slice_jumps(
    estimate: Float[Tensor, "x y z"],
    truth: Float[Tensor, "x y z"],
    inside: Bool[Tensor, "x y z"],
    axis: int = 2,
) -> float:
    """Return how much more the error changes along the stack than within the plane; 1 is no discontinuity.

    NaN without a pair of neighbours, or if the error is the same everywhere; infinite if it changes along
    the stack alone.

    Args:
        estimate: The volume; voxels without a finite value in either volume are left out.
        truth: The true volume.
        inside: The mask.
        axis: The axis along which slices were stacked: 0, 1 or 2.

    Raises:
        UsageError: There is no such axis.
    """
    if axis not in range(N_AXES):
        raise UsageError(f"a stacking axis of {axis}", remedy="Give 0, 1 or 2.")
    known = inside & torch.isfinite(estimate) & torch.isfinite(truth)
    error = torch.where(known, estimate.double() - truth.double(), 0.0)
    steps = [_steps(error, known, index) for index in range(N_AXES)]
    along = steps.pop(axis)
    within = torch.cat(steps)
    if not len(along) or not len(within):
        return math.nan
    jump, change = (float(item.square().mean().sqrt()) for item in (along, within))
    if change == 0:
        return math.inf if jump > 0 else math.nan
    return jump / change


def _steps(
    error: Float[Tensor, "x y z"], known: Bool[Tensor, "x y z"], axis: int
) -> Float[Tensor, " pairs"]:
    """Return the differences of all known neighbours along an axis."""
    pairs = error.shape[axis] - 1
    both = known.narrow(axis, 0, pairs) & known.narrow(axis, 1, pairs)
    return error.diff(dim=axis)[both]
