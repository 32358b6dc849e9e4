"""What a map holds: its name, unit, range, BIDS suffix, and its way to the real line and back."""

import math
from dataclasses import dataclass
from enum import Enum
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from unweight.core.errors import UsageError


class Scale(Enum):
    """How a parameter is carried to the real line, where fits and networks work."""

    LINEAR = "linear"
    LOG = "log"


@final
@dataclass(frozen=True, kw_only=True)
class ParameterSpec:
    """One quantitative parameter.

    Attributes:
        name: The field's own name, `T1`.
        unit: SI unit as BIDS writes it, `s`; `arbitrary` for PD; `1` for a ratio.
        lower: Smallest value that is believed [unit].
        upper: Largest value that is believed [unit].
        suffix: BIDS suffix of its map, `T1map`.
        scale: LOG for positive values that spread over decades.
        description: One sentence for sidecars and reports.
        desc: BIDS `desc` of what is no map but an image, and not measured: `synth`.
        zero_filled: Whether its file is 0 where it has no value, for programs that take images know no NaN.
    """

    name: str
    unit: str
    lower: float
    upper: float
    suffix: str
    scale: Scale = Scale.LINEAR
    description: str = ""
    desc: str = ""
    zero_filled: bool = False

    def __post_init__(self) -> None:
        if not self.lower < self.upper:
            raise UsageError(f"{self.name}: the range {self.lower:g} to {self.upper:g} is empty")
        if self.scale is Scale.LOG and self.lower <= 0:
            raise UsageError(f"{self.name}: a logarithmic scale needs a positive lower end")

    def to_free(self, value: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Carry values to the real line: ln for LOG, unchanged for LINEAR."""
        return torch.log(value) if self.scale is Scale.LOG else value

    def from_free(self, free: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Carry values back from the real line."""
        return torch.exp(free) if self.scale is Scale.LOG else free

    @property
    def free_range(self) -> tuple[float, float]:
        """The believed range on the real line."""
        if self.scale is Scale.LOG:
            return math.log(self.lower), math.log(self.upper)
        return self.lower, self.upper
