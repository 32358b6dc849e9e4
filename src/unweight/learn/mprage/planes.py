"""A volume through a network of slices: in one plane or in three, and then their mean.

What a network of slices says of neighbouring slices need not fit together. In another plane it is the rows
that need not; the mean over three planes is smooth in all directions, and each error counts a third.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unweight.core.errors import UsageError

Ask = Callable[[int, list[int]], Tensor]
"""Given an axis and slices across it, returns (slices, outputs, rows, columns)."""
AXIAL, THREE = (2,), (0, 1, 2)
PIXELS_AT_ONCE = 2**16


def over_planes(
    mask: Bool[Tensor, "x y z"], axes: Sequence[int], n_outputs: int, ask: Ask
) -> Float[Tensor, "outputs x y z"]:
    """Return the mean over the planes of what a network says of each slice that holds some of the mask.

    Args:
        mask: The voxels wanted; what is returned outside it is 0.
        axes: Across the slices of each plane.
        n_outputs: Channels that `ask` returns.
        ask: The network.

    Raises:
        UsageError: There is no plane.
    """
    if not axes or not set(axes) <= {0, 1, 2}:
        raise UsageError(f"no planes: {axes}", remedy="Give some of 0, 1 and 2.")
    total = torch.zeros(n_outputs, *mask.shape, device=mask.device)
    for axis in axes:
        across = total.movedim(axis + 1, 1)  # a view: what is added here is added there
        for some in chunks(mask, axis):
            said = ask(axis, some)
            across[:, some] += said.movedim(0, 1).to(total)
    return total * mask / len(axes)


def chunks(mask: Bool[Tensor, "x y z"], axis: int) -> list[list[int]]:
    """Return the slices across an axis that hold some of the mask, as many together as fit."""
    others = [one for one in range(3) if one != axis]
    wanted = mask.any(others[1]).any(others[0]).nonzero()[:, 0].tolist()
    pixels = mask.shape[others[0]] * mask.shape[others[1]]
    size = max(1, PIXELS_AT_ONCE // max(1, pixels))
    return [wanted[first : first + size] for first in range(0, len(wanted), size)]


def n_batches(mask: Bool[Tensor, "x y z"], axes: Sequence[int]) -> int:
    """Return how many times `over_planes` asks."""
    return sum(len(chunks(mask, axis)) for axis in axes)
