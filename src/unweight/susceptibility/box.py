"""The smallest box around a mask, so that convolutions do not work on air."""

from dataclasses import dataclass
from typing import final

from jaxtyping import Bool, Shaped
from torch import Tensor

from unweight.core.errors import InputError


@final
@dataclass(frozen=True, kw_only=True)
class Box:
    """A box of voxels in a grid.

    Attributes:
        ranges: First and one past the last voxel along each axis.
    """

    ranges: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]

    def cut(self, values: Shaped[Tensor, "x y z *rest"]) -> Shaped[Tensor, "a b c *rest"]:
        """Return what lies in the box."""
        (a, b), (c, d), (e, f) = self.ranges
        return values[a:b, c:d, e:f].contiguous()

    def fill(
        self, whole: Shaped[Tensor, "x y z"], values: Shaped[Tensor, "a b c"]
    ) -> Shaped[Tensor, "x y z"]:
        """Return a volume with what lies in the box replaced."""
        (a, b), (c, d), (e, f) = self.ranges
        result = whole.clone()
        result[a:b, c:d, e:f] = values
        return result


def box_around(mask: Bool[Tensor, "x y z"], margin: int = 1) -> Box:
    """Return the smallest box that holds a mask and a margin, within the grid.

    Raises:
        InputError: The mask is empty.
    """
    if not bool(mask.any()):
        raise InputError("the mask is empty", remedy="Check the mask.")
    ends = []
    for axis in range(3):
        others = [one for one in range(3) if one != axis]
        along = mask.any(others[1]).any(others[0]).nonzero()[:, 0]
        ends.append((max(0, int(along[0]) - margin), min(mask.shape[axis], int(along[-1]) + 1 + margin)))
    return Box(ranges=(ends[0], ends[1], ends[2]))
