"""Structures made larger or smaller by a wanted factor, as age and disease do.

The boundary of a structure moves to another level of its signed distance (negative inside), a little
smoothed: its new voxels are the n with the smallest distance, n being the wanted volume. What it leaves
goes to the nearest material that yields, and what it takes was such: CSF, grey and white matter.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Bool, UInt8
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter
from torch import Tensor

from unweight.core.errors import UsageError
from unweight.synth.tissue.materials import INDEX

YIELDING = ("csf", "grey_matter", "white_matter")
SMOOTHING = 0.7
SMALLEST, LARGEST = 0.2, 3.0
MARGIN = 3


def scale_structures(
    labels: UInt8[Tensor, "x y z"],
    scales: Mapping[str, float],
    voxel_mm: tuple[float, float, float],
    *,
    yielding: Sequence[str] = YIELDING,
) -> UInt8[Tensor, "x y z"]:
    """Return labels in which some structures have another volume.

    Args:
        labels: Of a head or a part of it.
        scales: New volume over old, by material; they are changed in this order.
        voxel_mm: Size of a voxel [mm].
        yielding: Materials that make room and fill it; never one that is itself scaled.

    Returns:
        New labels. A structure that finds no more room stays smaller than wanted; one that is not
        there stays away.

    Raises:
        UsageError: A name is no material, or a factor is not between 0.2 and 3.
    """
    unknown = [name for name in (*scales, *yielding) if name not in INDEX]
    if unknown:
        raise UsageError(f"no materials: {', '.join(unknown)}")
    if any(not SMALLEST <= factor <= LARGEST for factor in scales.values()):
        raise UsageError(f"volumes change by {SMALLEST} to {LARGEST}, not {dict(scales)}")
    changed = labels.clone()
    room = [INDEX[name] for name in yielding if name not in scales]
    for name, factor in scales.items():
        mask = changed == INDEX[name]
        if factor != 1.0 and bool(mask.any()):
            box = _box(mask, factor)
            window = changed[box]
            window.copy_(_rescaled(window, INDEX[name], factor, (room, voxel_mm)))
    return changed


def _rescaled(
    window: UInt8[Tensor, "x y z"],
    label: int,
    factor: float,
    surroundings: tuple[Sequence[int], tuple[float, float, float]],
) -> UInt8[Tensor, "x y z"]:
    """Return a box of labels in which one structure has another volume."""
    room, voxel_mm = surroundings
    values = window.cpu().numpy()
    inside = values == label
    if inside.all():
        return window.clone()
    distance = signed_distance(inside, voxel_mm)
    if factor > 1:
        distance[~(inside | np.isin(values, room))] = np.inf
    else:
        distance[~inside] = np.inf
    n_wanted = min(round(factor * int(inside.sum())), int(np.isfinite(distance).sum()))
    chosen = np.argpartition(distance, n_wanted - 1, axis=None)[:n_wanted]
    result = values.copy()
    if factor < 1:
        takers = np.isin(values, room) if np.isin(values, room).any() else ~inside
        nearest = distance_transform_edt(
            ~takers, sampling=voxel_mm, return_distances=False, return_indices=True
        )
        result[inside] = values[tuple(nearest)][inside]
    result.reshape(-1)[chosen] = label
    return torch.from_numpy(result).to(window.device)


def signed_distance(inside: NDArray[np.bool_], voxel_mm: tuple[float, float, float]) -> NDArray[np.float64]:
    """Return the distance to the boundary of a mask, negative inside, slightly smoothed [mm].

    A mask that fills its box has no boundary; all its voxels are then alike.
    """
    if inside.all():
        return np.zeros(inside.shape)
    outward = distance_transform_edt(~inside, sampling=voxel_mm)
    inward = distance_transform_edt(inside, sampling=voxel_mm)
    smoothed: NDArray[np.float64] = gaussian_filter(outward - inward, SMOOTHING)
    return smoothed


def _box(mask: Bool[Tensor, "x y z"], factor: float) -> tuple[slice, slice, slice]:
    """Return the voxels around a mask, with room to grow."""
    parts = []
    for axis in range(3):
        others = [other for other in range(3) if other != axis]
        result = mask.any(others[1]).any(others[0]).nonzero()[:, 0]
        first, last = int(result[0]), int(result[-1])
        margin = MARGIN + round((last - first + 1) * max(0.0, factor - 1))
        parts.append(slice(max(0, first - margin), last + margin + 1))
    return parts[0], parts[1], parts[2]
