"""The step between stored numbers, found again in floating-point values.

Integers times a slope, plus an intercept, lie on a lattice whose step is the slope, whatever number format
they are written in afterwards. Filtering and resampling destroy the lattice; then there is no step to find.
"""

import math

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

SAME_STEP = 1e-4
FEWEST_VALUES = 32  # fewer may all be multiples of 2 or 3 by chance
MOST_STEPS = 16384  # more are another program's: receivers of these scanners store 12 bits
LOOKED_AT = 4096  # voxels of a slice
REACHES = (64.0, 1024.0, math.inf)
OFF_LATTICE = 0.2


def steps_of(data: Tensor) -> tuple[float, ...]:
    """Return the distinct steps of the slices of an image `(x, y, z, *volumes)`, ascending."""
    slices = data.reshape(data.shape[0] * data.shape[1], -1).T.numpy()
    stride = max(1, slices.shape[1] // LOOKED_AT)
    distinct: list[float] = []
    for step in sorted(step for values in slices if (step := step_of(values[::stride])) is not None):
        if not distinct or step > (1 + SAME_STEP) * distinct[-1]:
            distinct.append(step)
    return tuple(distinct)


def step_of(values: NDArray[np.floating]) -> float | None:
    """Return the step of the lattice on which all values lie; None if there is none, or it is too fine."""
    distinct = np.unique(values[np.isfinite(values)]).astype(np.float64)
    if distinct.size < FEWEST_VALUES:
        return None
    distances = distinct - distinct[0]
    step = float(np.diff(distinct).min())
    while distances[-1] <= MOST_STEPS * step:
        refined, rest = _refined(distances, step)
        if rest is None:
            return refined
        step = rest
    return None


def _refined(distances: NDArray[np.float64], step: float) -> tuple[float, float | None]:
    """Return the step as all distances have it, and the rest that one of them leaves, if one does."""
    for reach in REACHES:
        near = distances[1:][distances[1:] <= reach * step]
        if near.size == 0:
            continue
        counts = np.rint(near / step)
        rests = np.abs(near / step - counts)
        if bool((rests > OFF_LATTICE).any()):
            return step, step * float(rests[rests > OFF_LATTICE].min())
        step = float(near @ counts / (counts @ counts))
    return step, None
