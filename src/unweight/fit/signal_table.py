"""Signals of a model on a grid of its parameters, and their cubic spline between the points.

A train of 32 echoes takes a few thousand operations for each voxel and each step of a fit; between points
of a table it takes a few hundred, and the slopes come with it. Cubic B-splines are smooth to the second
derivative, so that a descent does not see the grid.

Reference: Unser, IEEE Signal Process Mag 16(6):22, 1999 (spline interpolation).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from scipy.ndimage import spline_filter1d
from torch import Tensor

from unweight.core.errors import UsageError

MARGIN = 6  # points beyond both ends, where the spline has no given slope


@final
@dataclass(frozen=True, kw_only=True)
class TableAxis:
    """Evenly spaced points of one parameter; a single point holds it.

    Attributes:
        start: First point within the range.
        step: Between points.
        count: Of the points within the range.
    """

    start: float
    step: float = 1.0
    count: int = 1

    def __post_init__(self) -> None:
        if self.count < 1 or not self.step > 0:
            raise UsageError(f"an axis of {self.count} points {self.step:g} apart")

    @property
    def end(self) -> float:
        """Last point within the range."""
        return self.start + self.step * (self.count - 1)

    @property
    def points(self) -> Float[Tensor, " points"]:
        """The points, with those of the margins; one if it is held."""
        margin = MARGIN if self.count > 1 else 0
        places = torch.arange(-margin, self.count + margin, dtype=torch.float64)
        return self.start + self.step * places


def axis_between(low: float, high: float, step: float) -> TableAxis:
    """Return the axis from one end to the other, with steps no longer than `step`."""
    count = max(1, int(np.ceil((high - low) / step))) + 1
    return TableAxis(start=low, step=(high - low) / (count - 1), count=count)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class SignalTable:
    """Signals over a grid.

    Attributes:
        axes: Of the grid.
        values: Signal at each point.
        coefficients: Of the splines, at the same points.
    """

    axes: tuple[TableAxis, ...]
    values: Float[Tensor, "*points volumes"]
    coefficients: Float[Tensor, "*points volumes"]

    def at(
        self, places: Float[Tensor, "voxels axes"]
    ) -> tuple[Float[Tensor, "voxels volumes"], Float[Tensor, "voxels volumes axes"]]:
        """Return the signal at each place, and its slope along each axis; 0 along those that are held.

        Args:
            places: Within the range of each axis.
        """
        shape = self.coefficients.shape
        stencils = [
            _stencil(axis, column) for axis, column in zip(self.axes, places.unbind(-1), strict=True)
        ]
        index = torch.zeros_like(places[:, :1], dtype=torch.long)
        for size, (first, weights, _) in zip(shape[:-1], stencils, strict=True):
            nodes = first[:, None] + torch.arange(weights.shape[1], device=places.device)
            index = (index[:, :, None] * size + nodes[:, None, :]).flatten(1)
        rows = [_joint([weights for _, weights, _ in stencils])]
        for axis in range(len(self.axes)):
            rows.append(
                _joint(
                    [
                        slopes if own == axis else weights
                        for own, (_, weights, slopes) in enumerate(stencils)
                    ]
                )
            )
        around = self.coefficients.reshape(-1, shape[-1])[index]
        mixed = torch.bmm(torch.stack(rows, dim=1), around)
        return mixed[:, 0], mixed[:, 1:].mT


def signal_table(
    axes: Sequence[TableAxis], signal: Callable[[Float[Tensor, "points axes"]], Tensor]
) -> SignalTable:
    """Return the table of a function.

    Args:
        axes: Of the grid.
        signal: From places to signals, volumes last.
    """
    mesh = torch.meshgrid(*(axis.points for axis in axes), indexing="ij")
    places = torch.stack([axis.flatten() for axis in mesh], dim=-1)
    values = signal(places).reshape(*mesh[0].shape, -1)
    coefficients = values.numpy()
    for place, axis in enumerate(axes):
        if axis.count > 1:
            coefficients = spline_filter1d(coefficients, order=3, axis=place, mode="mirror")
    return SignalTable(axes=tuple(axes), values=values, coefficients=torch.from_numpy(coefficients))


def _stencil(axis: TableAxis, places: Float[Tensor, " voxels"]) -> tuple[Tensor, Tensor, Tensor]:
    """Return the first of the points around each place, and the weights of all for value and slope."""
    if axis.count == 1:
        unit = torch.ones_like(places)[:, None]
        return torch.zeros_like(places, dtype=torch.long), unit, torch.zeros_like(unit)
    position = (places - axis.start) / axis.step + MARGIN
    first = position.floor().long().clamp(1, axis.count + 2 * MARGIN - 3)
    t = position - first
    rest = 1 - t
    weights = (rest**3, 3 * t**3 - 6 * t**2 + 4, 3 * rest**3 - 6 * rest**2 + 4, t**3)
    slopes = (-3 * rest**2, 9 * t**2 - 12 * t, -9 * rest**2 + 12 * rest, 3 * t**2)
    return first - 1, torch.stack(weights, -1) / 6, torch.stack(slopes, -1) / (6 * axis.step)


def _joint(weights: Sequence[Float[Tensor, "voxels nodes"]]) -> Float[Tensor, "voxels all_nodes"]:
    """Return the weights of all combinations of nodes."""
    joint = weights[0]
    for other in weights[1:]:
        joint = (joint[:, :, None] * other[:, None, :]).flatten(1)
    return joint
