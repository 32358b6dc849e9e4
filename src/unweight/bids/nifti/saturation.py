"""Voxels clipped at the top of their stored number format.

A clipped image piles up on its highest number. A number format has few such tops: 4095 (12 bits,
what most receivers store), or the largest number of the stored type. Voxels there are flagged when
there are at least four, and more than twice as many as the next numbers below have on average: an
image merely scaled to fill its format has a thin tail there.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

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
