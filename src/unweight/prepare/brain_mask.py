"""The brain with its CSF in weighted images, by intensity and shape.

Each image is divided by its median deep in the head and cut off where it is very bright; of their mean,
deep in the head, what lies above Otsu's threshold is brain, eyes and what else is bright. It is eroded
until thin bridges break, the largest piece is grown back, closed and filled. Images in which everything but
the brain is 0 already are taken as they are.

Reference: N. Otsu, IEEE Trans Syst Man Cybern 9:62, 1979.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from unweight.core.errors import InputError

COARSE_MM = 2.0
SKIN_MM = 6.0  # so thick is what lies over the brain at least
DEEP_MM = 12.0
BRIDGE_MM, GROOVE_MM = 4.5, 6.0
# Where the intensities of an image end, over its median, and the threshold over Otsu's: of three images the
# mean is bright in CSF and tissue alike; of fewer, bright fat or CSF would rule if it were not cut off.
THREE, FEWER = (2.5, 1.0), (1.0, 0.8)
BINS = 256
STRIPPED_EMPTY = 0.4  # share of exact zeros from which an image may be stripped of its skull
STRIPPED_DARK = 0.02  # share of voxels in the largest piece that may be dark in one that is stripped
REMEDY = "Give a brain mask with --mask."
Volume = Float[Tensor, "x y z"]
Mask = Bool[Tensor, "x y z"]


def find_brain(images: Sequence[Volume], voxel_mm: tuple[float, float, float]) -> Mask:
    """Return the brain with its CSF.

    Args:
        images: Weighted images on one grid, T1w, T2w and FLAIR best; NaN where there is no value.
        voxel_mm: Size of a voxel [mm].

    Raises:
        InputError: There are no images, or nothing like a brain is in them.
    """
    if not images:
        raise InputError("no images to find a brain in")
    whole = [np.nan_to_num(one.detach().cpu().float().numpy()) for one in images]
    stripped = _stripped(whole)
    if stripped is not None:
        return torch.from_numpy(stripped)
    steps = [max(1, int(COARSE_MM / size)) for size in voxel_mm]
    sizes = [step * size for step, size in zip(steps, voxel_mm, strict=True)]
    coarse = _found([_thinned(one, steps) for one in whole], sizes)
    fine = ndimage.zoom(coarse.astype(np.float32), steps, order=1, grid_mode=True, mode="nearest") > 0.5
    mask = np.zeros(whole[0].shape, dtype=bool)
    part = tuple(slice(0, min(a, b)) for a, b in zip(mask.shape, fine.shape, strict=True))
    mask[part] = fine[part]
    return torch.from_numpy(mask)


def grown(mask: Mask, margin_mm: float, voxel_mm: tuple[float, float, float]) -> Mask:
    """Return a mask with a margin around it."""
    return torch.from_numpy(_dilated(mask.cpu().numpy(), margin_mm, voxel_mm))


def _stripped(images: Sequence[NDArray[np.float32]]) -> NDArray[np.bool_] | None:
    """Return what is not 0, filled, if that is one piece in much emptiness without a dark skull in it."""
    seen = np.all([one > 0 for one in images], axis=0)
    if seen.mean() > 1 - STRIPPED_EMPTY:
        return None
    mask: NDArray[np.bool_] = ndimage.binary_fill_holes(_largest(ndimage.binary_opening(seen)))
    if not mask.any():
        return None
    mean = np.mean([one / max(float(np.median(one[mask])), 1e-12) for one in images], axis=0)
    return mask if float((mean[mask] < 0.15).mean()) < STRIPPED_DARK else None


def _found(images: Sequence[NDArray[np.float32]], sizes: Sequence[float]) -> NDArray[np.bool_]:
    cut, share = THREE if len(images) >= 3 else FEWER
    depth = ndimage.distance_transform_edt(_head(images), sampling=sizes)
    if float(depth.max()) <= DEEP_MM:
        raise InputError("there is nothing as large as a head in these images", remedy=REMEDY)
    medians = [max(float(np.median(one[depth > DEEP_MM])), 1e-12) for one in images]
    mean = np.mean([np.minimum(one / m, cut) for one, m in zip(images, medians, strict=True)], axis=0)
    deep = depth > SKIN_MM
    bright = (mean > share * _otsu(mean[deep])) & deep
    core = _largest(ndimage.distance_transform_edt(bright, sampling=sizes) > BRIDGE_MM)
    if not core.any():
        raise InputError("no brain is found in these images", remedy=REMEDY)
    grown = _dilated(_dilated(core, BRIDGE_MM, sizes), GROOVE_MM, sizes)
    filled = ndimage.binary_fill_holes(grown)
    closed: NDArray[np.bool_] = ndimage.distance_transform_edt(filled, sampling=sizes) > GROOVE_MM
    return np.asarray(ndimage.binary_fill_holes(closed), dtype=bool)


def _head(images: Sequence[NDArray[np.float32]]) -> NDArray[np.bool_]:
    """Return everything inside the skin."""
    bright = np.zeros(images[0].shape, dtype=bool)
    for one in images:
        if not (one > 0).any():
            raise InputError("an image is empty", remedy="Check the files.")
        low, high = np.percentile(one[one > 0], [2, 98])
        bright |= one > low + 0.1 * (high - low)
    head = _largest(ndimage.binary_opening(bright))
    filled = head.copy()
    for axis in range(head.ndim):
        for place in range(head.shape[axis]):
            layer = tuple(place if other == axis else slice(None) for other in range(head.ndim))
            filled[layer] |= ndimage.binary_fill_holes(head[layer])
    return filled


def _thinned(image: NDArray[np.float32], steps: Sequence[int]) -> NDArray[np.float32]:
    """Return means over blocks."""
    shape = [n // step for n, step in zip(image.shape, steps, strict=True)]
    cut = image[tuple(slice(0, n * step) for n, step in zip(shape, steps, strict=True))]
    blocks = cut.reshape(shape[0], steps[0], shape[1], steps[1], shape[2], steps[2])
    return np.asarray(blocks.mean((1, 3, 5)), dtype=np.float32)


def _otsu(values: NDArray[np.floating]) -> float:
    """Return the threshold with the largest variance between what lies below and above."""
    counts, edges = np.histogram(values, bins=BINS)
    middle = (edges[1:] + edges[:-1]) / 2
    below, moment = np.cumsum(counts), np.cumsum(counts * middle)
    above = below[-1] - below
    valid = (below > 0) & (above > 0)
    between = np.zeros(BINS)
    away = moment[-1] * below[valid] / below[-1] - moment[valid]
    between[valid] = away**2 / (below[valid] * above[valid])
    return float(middle[int(between.argmax())])


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    labels, count = ndimage.label(mask)
    if count == 0:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return np.asarray(labels == int(sizes.argmax()), dtype=bool)


def _dilated(mask: NDArray[np.bool_], radius: float, sizes: Sequence[float]) -> NDArray[np.bool_]:
    return np.asarray(ndimage.distance_transform_edt(~mask, sampling=sizes) <= radius, dtype=bool)
