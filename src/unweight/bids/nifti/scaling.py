"""How the stored numbers of an image became its values."""

from dataclasses import dataclass
from typing import Any, final

import numpy as np


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
    """Return what a header says of the stored numbers."""
    largest = int(np.iinfo(dtype).max) if dtype.kind in "iu" else 0
    return Scaling(slope=slope, intercept=intercept, largest=largest)
