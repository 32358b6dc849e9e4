"""Quartiles of a map, as summaries show them."""

from jaxtyping import Shaped
from torch import Tensor

MOST_VALUES = 1_000_000  # an even selection of them tells quartiles as well


def quartiles(values: Shaped[Tensor, " voxels"]) -> tuple[float, float, float]:
    """Return the quartiles; NaN if there are no values."""
    if not len(values):
        return (float("nan"),) * 3
    ranked = values[:: max(1, len(values) // MOST_VALUES)].sort().values
    low, middle, high = (float(ranked[int(share * (len(ranked) - 1))]) for share in (0.25, 0.5, 0.75))
    return low, middle, high
