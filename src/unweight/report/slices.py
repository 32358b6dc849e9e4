"""Slices of a volume the way a radiologist looks at them: patient right on the left, up is up."""

from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

WORLD = ("R", "A", "S")


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Plane:
    """How to lay a volume's slices on a page.

    Attributes:
        slice_axis: Voxel axis that counts the slices.
        row_axis: Voxel axis that runs down the page.
        flip_rows: Whether it must be reversed first.
        flip_columns: Whether the remaining axis must be reversed first.
        left: World direction on the left edge, `R`.
        top: World direction on the upper edge, `S`.
        aspect: Height of a voxel over its width.
    """

    slice_axis: int
    row_axis: int
    flip_rows: bool
    flip_columns: bool
    left: str
    top: str
    aspect: float


def plane_of(shape: tuple[int, ...], affine: NDArray[np.floating[Any]]) -> Plane:
    """Return the plane the volume was acquired in: slices are fewest, or thickest; else the axial one."""
    direction = affine[:3, :3]
    size = np.linalg.norm(direction, axis=0)
    upward = [-abs(float(direction[2, axis])) / size[axis] for axis in range(3)]
    order = sorted(range(3), key=lambda axis: (-round(float(size[axis]), 3), upward[axis], shape[axis]))
    fewest = int(np.argmin(shape[:3]))
    slice_axis = fewest if shape[fewest] * 2 < sorted(shape[:3])[1] else order[0]
    first, second = (axis for axis in range(3) if axis != slice_axis)
    dominant = [int(np.argmax(np.abs(direction[:, axis]))) for axis in range(3)]
    row_axis, column_axis = (first, second) if dominant[first] > dominant[second] else (second, first)
    up, right = direction[:, row_axis], direction[:, column_axis]
    row_positive = up[dominant[row_axis]] > 0
    column_positive = right[dominant[column_axis]] > 0
    column_name = WORLD[dominant[column_axis]]
    # Rows run down the page, so the positive (A or S) direction has to come first. Columns run to
    # the right: patient right (R+) on the left edge, and anterior on the left for sagittal slices.
    return Plane(
        slice_axis=slice_axis,
        row_axis=row_axis,
        flip_rows=bool(row_positive),
        flip_columns=bool(column_positive),
        left=column_name,
        top=WORLD[dominant[row_axis]],
        aspect=float(size[row_axis] / size[column_axis]),
    )


def lay_out(volume: NDArray[np.floating[Any]], plane: Plane, index: int) -> NDArray[np.floating[Any]]:
    """Return one slice as rows and columns of the page."""
    image: NDArray[np.floating[Any]] = np.take(volume, index, axis=plane.slice_axis)
    rows_first = plane.row_axis < 3 - plane.slice_axis - plane.row_axis
    image = image if rows_first else image.T
    image = image[::-1] if plane.flip_rows else image
    return image[:, ::-1] if plane.flip_columns else image


def place(voxel: NDArray[np.floating[Any]], plane: Plane, shape: tuple[int, ...]) -> tuple[float, float]:
    """Return where a voxel index lands on the page, as (column, row)."""
    column_axis = 3 - plane.slice_axis - plane.row_axis
    row, column = float(voxel[plane.row_axis]), float(voxel[column_axis])
    row = shape[plane.row_axis] - 1 - row if plane.flip_rows else row
    column = shape[column_axis] - 1 - column if plane.flip_columns else column
    return column, row


def busiest_slices(inside: NDArray[np.bool_], plane: Plane, count: int) -> list[int]:
    """Return the indices of slices to show: evenly spaced among those that hold voxels."""
    others = tuple(axis for axis in range(3) if axis != plane.slice_axis)
    held = np.flatnonzero(inside.any(axis=others))
    if not held.size:
        return [inside.shape[plane.slice_axis] // 2]
    if held.size <= count:
        return [int(index) for index in held]
    picks = np.linspace(0, held.size - 1, count + 2)[1:-1]
    return [int(held[round(pick)]) for pick in picks]
