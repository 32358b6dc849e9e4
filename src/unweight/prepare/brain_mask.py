"""The brain with its CSF in weighted images, by intensity and shape.

Each image is divided by its median deep in the head and cut off where it is very bright; of their mean,
below the skin, what lies above Otsu's threshold is brain, eyes, marrow and what else is bright. It is
eroded until thin bridges break, the largest piece is grown back, closed and filled.

Where to cut off, how high to set the threshold and whether to bridge sulci first depends on which images
there are and on what they show bright, fat or CSF; so a few settings of each are tried. A brain in pieces
has much surface A for its volume V, and a mask that has leaked through the skull fills the layer just below
the skin. The best of them has the largest

    V/A · max(0, 1 − 2·(share of that layer)).

Images in which everything but the brain is 0 already are taken as they are.

Reference: N. Otsu, IEEE Trans Syst Man Cybern 9:62, 1979.
"""

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from unweight.core.errors import InputError

COARSE_MM = 2.0
SKIN_MM = 7.0  # so thick is what lies over the brain at least
LAYER_MM = 3.0  # below the skin: bone, where the brain is inside
DEEP_MM = 12.0
BRIDGE_MM, GROOVE_MM = 4.5, 6.0
MARGIN_MM = BRIDGE_MM + GROOVE_MM
# What is tried: where intensities end, over the median; the threshold, over Otsu's; half the width of sulci
# that are bridged [mm].
ENDS, THRESHOLDS, SULCI_MM = (1.0, 1.25, 2.5), (0.8, 1.0), (0.0, 2.1)
BINS = 256
STRIPPED_EMPTY = 0.4  # share of exact zeros from which an image may be stripped of its skull
STRIPPED_AROUND = 0.25  # voxels around the largest piece that are not faint, over those in it, at most
STRIPPED_FAINT = 0.05  # of the median in it: splines leave that around a brain
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
    whole = [np.nan_to_num(image.detach().cpu().float().numpy()) for image in images]
    stripped = _stripped(whole)
    if stripped is not None:
        return torch.from_numpy(stripped)
    steps = [max(1, int(COARSE_MM / size)) for size in voxel_mm]
    sizes = [step * size for step, size in zip(steps, voxel_mm, strict=True)]
    for step, n, size in zip(steps, whole[0].shape, voxel_mm, strict=True):
        if n < step:
            raise InputError(
                f"the images are {n * size:.3g} mm thick ({n} slice{'s' * (n > 1)}), too thin to find a "
                "brain",
                remedy=REMEDY,
            )
    thin = [_thinned(item, steps) for item in whole]
    head = _head(thin)
    box = _box(head, MARGIN_MM, sizes)
    coarse = np.zeros(head.shape, dtype=bool)
    coarse[box] = _found([item[box] for item in thin], head[box], sizes)
    fine = ndimage.zoom(coarse.astype(np.float32), steps, order=1, grid_mode=True, mode="nearest") > 0.5
    mask = np.zeros(whole[0].shape, dtype=bool)
    part = tuple(slice(0, min(a, b)) for a, b in zip(mask.shape, fine.shape, strict=True))
    mask[part] = fine[part]
    return torch.from_numpy(mask)


def stripped_brain(images: Sequence[Volume]) -> Mask | None:
    """Return the brain in images in which everything else is 0; None for other images."""
    stripped = _stripped([np.nan_to_num(image.detach().cpu().float().numpy()) for image in images])
    return None if stripped is None else torch.from_numpy(stripped)


def grown(mask: Mask, margin_mm: float, voxel_mm: tuple[float, float, float]) -> Mask:
    """Return a mask with a margin around it."""
    return torch.from_numpy(_dilated(mask.cpu().numpy(), margin_mm, voxel_mm))


def _stripped(images: Sequence[NDArray[np.float32]]) -> NDArray[np.bool_] | None:
    """Return what is not 0, filled, if that is one piece in much emptiness without a dark skull in it."""
    known = np.all([image > 0 for image in images], axis=0)
    if known.mean() > 1 - STRIPPED_EMPTY:
        return None
    mask: NDArray[np.bool_] = ndimage.binary_fill_holes(_largest(ndimage.binary_opening(known)))
    if not mask.any():
        return None
    levels = [image / max(float(np.median(image[mask])), 1e-12) for image in images]
    around = np.any([level > STRIPPED_FAINT for level in levels], axis=0) & ~mask
    if around.sum() > STRIPPED_AROUND * mask.sum():
        return None
    mean = np.mean(levels, axis=0)
    return mask if float((mean[mask] < 0.15).mean()) < STRIPPED_DARK else None


def _box(mask: NDArray[np.bool_], margin_mm: float, sizes: Sequence[float]) -> tuple[slice, ...]:
    """Return what holds a mask with a margin."""
    result = ndimage.find_objects(mask.astype(np.uint8))[0]
    reach = [round(margin_mm / size) + 1 for size in sizes]
    return tuple(
        slice(max(0, item.start - n), item.stop + n) for item, n in zip(result, reach, strict=True)
    )


def _found(
    images: Sequence[NDArray[np.float32]], head: NDArray[np.bool_], sizes: Sequence[float]
) -> NDArray[np.bool_]:
    depth = np.zeros(head.shape) if head.all() else ndimage.distance_transform_edt(head, sampling=sizes)
    if float(depth.max()) <= DEEP_MM:
        raise InputError("these images contain no object of the size of a head", remedy=REMEDY)
    medians = [max(float(np.median(image[depth > DEEP_MM])), 1e-12) for image in images]
    best, most = None, 0.0
    for end in ENDS:
        mean = np.mean(
            [np.minimum(image / m, end) for image, m in zip(images, medians, strict=True)], axis=0
        )
        threshold = _otsu(mean[depth > SKIN_MM])
        for share, sulcus in itertools.product(THRESHOLDS, SULCI_MM):
            bright = (mean > share * threshold) & (depth > SKIN_MM)
            brain = _piece(_closed(bright, sulcus, sizes) & (depth > SKIN_MM), sizes)
            score = _score(brain, depth, sizes)
            if score > most:
                best, most = brain, score
    if best is None:
        raise InputError("no brain was found in these images", remedy=REMEDY)
    return best


def _piece(bright: NDArray[np.bool_], sizes: Sequence[float]) -> NDArray[np.bool_]:
    """Return the largest piece that no thin bridge joins to others, with its grooves and holes filled."""
    core = _largest(_eroded(bright, BRIDGE_MM, sizes))
    if not core.any():
        return core
    grown = ndimage.binary_fill_holes(_dilated(_dilated(core, BRIDGE_MM, sizes), GROOVE_MM, sizes))
    return np.asarray(ndimage.binary_fill_holes(_eroded(grown, GROOVE_MM, sizes)), dtype=bool)


def _score(brain: NDArray[np.bool_], depth: NDArray[np.floating], sizes: Sequence[float]) -> float:
    """Return volume over surface [mm], less where the piece fills the layer below the skin."""
    if not brain.any():
        return 0.0
    x, y, z = sizes
    faces = zip((y * z, x * z, x * y), range(3), strict=True)
    surface = sum(area * np.count_nonzero(np.diff(brain, axis=axis)) for area, axis in faces)
    layer = (depth > SKIN_MM) & (depth <= SKIN_MM + LAYER_MM)
    leak = float(brain[layer].mean()) if layer.any() else 0.0
    volume = x * y * z * np.count_nonzero(brain)
    return volume / max(surface, x * y) * max(0.0, 1 - 2 * leak)


def _head(images: Sequence[NDArray[np.float32]]) -> NDArray[np.bool_]:
    """Return everything inside the skin."""
    bright = np.zeros(images[0].shape, dtype=bool)
    for image in images:
        if not (image > 0).any():
            raise InputError(
                "an image has no positive value",
                remedy="Check that every image is a magnitude image and was converted completely.",
            )
        low, high = np.percentile(image[image > 0], [2, 98])
        bright |= image > low + 0.1 * (high - low)
    bright = ndimage.binary_dilation(ndimage.binary_erosion(bright, border_value=1))
    # First filled, then the largest: in a slab nothing joins the scalp to the brain within it.
    filled = ndimage.binary_fill_holes(bright)
    for axis in range(bright.ndim):
        for place in range(bright.shape[axis]):
            layer = tuple(place if other == axis else slice(None) for other in range(bright.ndim))
            filled[layer] |= ndimage.binary_fill_holes(bright[layer])
    head = _largest(filled)
    if not head.any():
        raise InputError("these images contain no object of the size of a head", remedy=REMEDY)
    return head


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


def _closed(mask: NDArray[np.bool_], radius: float, sizes: Sequence[float]) -> NDArray[np.bool_]:
    return _eroded(_dilated(mask, radius, sizes), radius, sizes) if radius > 0 else mask


def _eroded(mask: NDArray[np.bool_], radius: float, sizes: Sequence[float]) -> NDArray[np.bool_]:
    """Take off what lies near the surface; the end of the field of view is none."""
    if mask.all() or not mask.any():
        return mask
    result = np.zeros(mask.shape, dtype=bool)
    box = _box(mask, 0.0, sizes)
    result[box] = ndimage.distance_transform_edt(mask[box], sampling=sizes) > radius
    return result


def _dilated(mask: NDArray[np.bool_], radius: float, sizes: Sequence[float]) -> NDArray[np.bool_]:
    if not mask.any():
        return mask
    result = np.zeros(mask.shape, dtype=bool)
    box = _box(mask, radius, sizes)
    result[box] = ndimage.distance_transform_edt(~mask[box], sampling=sizes) <= radius
    return result
