"""Statistics of a map in each region of a label image: count, mean, spread and quartiles."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Bool, Float, Integer
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, generate_binary_structure
from torch import Tensor

from unweight.core.errors import UsageError
from unweight.metrics.accuracy import quartiles


@final
@dataclass(frozen=True, kw_only=True)
class RegionRow:
    """One region of one map, in the unit of the map; NaN where there is no value.

    Attributes:
        name: Of the region.
        index: Its number in the label image.
        n_voxels: Voxels of the region, those without a value included.
        n_missing: Of them, those without a finite value; they are in none of the following.
        mean: Arithmetic mean.
        sd: Standard deviation, with n − 1; NaN of a single value.
        median: Median.
        lower_quartile: Between values by linear interpolation.
        upper_quartile: Likewise.
    """

    name: str
    index: int
    n_voxels: int
    n_missing: int
    mean: float
    sd: float
    median: float
    lower_quartile: float
    upper_quartile: float


def region_table(
    values: Float[Tensor, "x y z"],
    labels: Integer[Tensor, "x y z"],
    names: Mapping[int, str],
    mask: Bool[Tensor, "x y z"] | None = None,
    erode: int = 0,
) -> tuple[RegionRow, ...]:
    """Return a row for each named region, in the order of the names; one without voxels has its row too.

    Args:
        values: The map; voxels without a finite value are counted as missing.
        labels: Number of the region of each voxel.
        names: Which regions, by number.
        mask: Voxels outside are in no region.
        erode: Layers of voxels taken off each region, before the mask: a voxel goes if one that shares a
            face with it is outside the region or the grid. Axes of a single voxel have no such faces.

    Raises:
        UsageError: `erode` is negative.
    """
    if erode < 0:
        raise UsageError(f"a region cannot be eroded {erode} times", remedy="Give 0 or more.")
    numbers, places = (item.detach().cpu().numpy() for item in (values, labels))
    kept = np.ones(places.shape, dtype=bool) if mask is None else mask.cpu().numpy()
    return tuple(
        _row(name, index, numbers[_eroded(places == index, erode) & kept]) for index, name in names.items()
    )


def _row(name: str, index: int, values: NDArray[np.floating]) -> RegionRow:
    valued = values[np.isfinite(values)].astype(np.float64)
    n = len(valued)
    lower, middle, upper = quartiles(valued)
    return RegionRow(
        name=name,
        index=index,
        n_voxels=len(values),
        n_missing=len(values) - n,
        mean=float(valued.mean()) if n else math.nan,
        sd=float(valued.std(ddof=1)) if n > 1 else math.nan,
        median=middle,
        lower_quartile=lower,
        upper_quartile=upper,
    )


def _eroded(region: NDArray[np.bool_], times: int) -> NDArray[np.bool_]:
    """Take layers off a region, in the box that holds it: beyond that there is nothing of it."""
    if times == 0 or not region.any():
        return region
    box = tuple(slice(along.min(), along.max() + 1) for along in np.nonzero(region))
    cross = generate_binary_structure(3, 1)
    for axis, size in enumerate(region.shape):
        if size == 1:
            cross[tuple(slice(None) if other != axis else [0, 2] for other in range(3))] = False
    eroded = np.zeros_like(region)
    eroded[box] = binary_erosion(region[box], cross, iterations=times)
    return eroded
