"""Stored numbers of an image: scaling, saturation and quantisation.

How the stored numbers of an image became its values.

Voxels clipped at the top of their stored number format.

A clipped image piles up on its highest number. A number format has few such tops: 4095 (12 bits,
what most receivers store), or the largest number of the stored type. Voxels there are flagged when
there are at least four, and more than twice as many as the next numbers below have on average: an
image merely scaled to fill its format has a thin tail there.

The step between stored numbers, found again in floating-point values.

Integers times a slope, plus an intercept, lie on a lattice whose step is the slope, whatever number format
they are written in afterwards. Filtering and resampling destroy the lattice; then there is no step to find.
"""

import math
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


@final
@dataclass(frozen=True, kw_only=True)
class Scaling:
    """Values are slope · stored + intercept.

    Attributes:
        slope: Of the header, 1 where it gives none.
        intercept: Of the header, 0 where it gives no slope.
        largest: What the stored type can hold; 0 if it holds no integers.
    """

    slope: float = 1.0
    intercept: float = 0.0
    largest: int = 0

    @property
    def is_integer(self) -> bool:
        """Whether integers are stored."""
        return self.largest > 0


AS_STORED = Scaling()


def scaling_of(dtype: np.dtype[Any], slope: float, intercept: float) -> Scaling:
    """Return the description of the stored numbers in a header."""
    largest = int(np.iinfo(dtype).max) if dtype.kind in "iu" else 0
    return Scaling(slope=slope, intercept=intercept, largest=largest)


TOP_OF_12_BITS = 4095
MIDDLE_OF_12_BITS = 2048
FEWEST = 4
NEIGHBOURS = 8
PILE_UP = 2.0


def at_ceiling(stored: NDArray[Any], *, zero: float = 0.0) -> NDArray[np.bool_]:
    """Return which voxels of one volume were clipped, at the top or at the bottom.

    Args:
        stored: The integers of the file, unscaled.
        zero: The stored number that means no signal; where it is far from 0, stored 0 is a bottom.
    """
    limits = np.iinfo(stored.dtype)
    flags = np.zeros(stored.shape, dtype=bool)
    highest, lowest = int(stored.max()), int(stored.min())
    if highest in (TOP_OF_12_BITS, int(limits.max)):
        flags |= _pile(stored, highest, -1)
    if lowest == int(limits.min) < 0 or (lowest == 0 and zero >= MIDDLE_OF_12_BITS):
        flags |= _pile(stored, lowest, 1)
    return flags


def _pile(stored: NDArray[Any], end: int, step: int) -> NDArray[np.bool_]:
    """Return the voxels at one end if they are too many to be a tail."""
    at_end: NDArray[np.bool_] = stored == end
    near = sorted((end + step, end + NEIGHBOURS * step))
    n_near = np.count_nonzero((stored >= near[0]) & (stored <= near[1]))
    n_end = np.count_nonzero(at_end)
    piled = n_end >= FEWEST and n_end > PILE_UP * n_near / NEIGHBOURS
    return at_end if piled else np.zeros(stored.shape, dtype=bool)


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
