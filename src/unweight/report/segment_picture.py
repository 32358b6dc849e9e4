"""A picture of a segmented brain: the image, and the labels in colour over it, in three planes."""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from unweight.bids.nifti.canonical import turn_of
from unweight.metrics.brain_labels import BRAIN_LABELS
from unweight.report.figures import PAPER, png

AXIAL, CORONAL, SAGITTAL = 2, 1, 0
SHARES = ((AXIAL, 0.35), (AXIAL, 0.5), (AXIAL, 0.65), (CORONAL, 0.55), (SAGITTAL, 0.42))
OPAQUE, TOP = 0.55, 0.995
MARGIN = 8


def segment_picture(
    image: Float[Tensor, "x y z"],
    labels: UInt8[Tensor, "x y z"],
    affine: Float[Tensor, "4 4"],
    title: str,
) -> bytes:
    """Return a PNG: slices of the image above the same slices with labels.

    Args:
        image: Magnitude.
        labels: Numbers of `BRAIN_LABELS` on the same grid.
        affine: Voxel index to millimetres (RAS+).
        title: Of the picture.
    """
    turn = turn_of(affine, image.shape)
    grey, numbers = turn.apply(image.cpu().float().nan_to_num().abs()), turn.apply(labels.cpu())
    box = _box(numbers > 0)
    sizes = turn.affine[:3, :3].norm(dim=0).tolist()
    inside = grey[grey > 0]
    top = float(torch.quantile(inside[:: max(1, len(inside) // 100_000)], TOP)) if len(inside) else 1.0
    table = np.zeros((256, 4))
    for label in BRAIN_LABELS:
        red, green, blue = (int(label.colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
        table[label.index] = (red, green, blue, OPAQUE)
    figure = Figure(figsize=(13.0, 5.6), facecolor=PAPER, layout="constrained")
    axes = figure.subplots(2, len(SHARES))
    for column, (axis, share) in enumerate(SHARES):
        part = box[axis]
        index = part.start + int(share * (part.stop - part.start))
        first, second = (other for other in range(3) if other != axis)
        aspect = sizes[second] / sizes[first]
        for row in range(2):
            panel = axes[row, column]
            panel.imshow(
                _slice(grey, box, axis, index), cmap="gray", vmin=0, vmax=top, aspect=aspect, origin="upper"
            )
            if row == 1:
                panel.imshow(
                    table[_slice(numbers, box, axis, index).astype(int)], aspect=aspect, origin="upper"
                )
            panel.set_axis_off()
    figure.suptitle(title, fontsize=11)
    return png(figure)


def _box(inside: Tensor) -> tuple[slice, slice, slice]:
    """Return the voxels around a mask; all of them if it is empty."""
    rows = inside.nonzero()
    if not len(rows):
        rows = torch.tensor([[0, 0, 0], [n - 1 for n in inside.shape]])
    x, y, z = (
        slice(max(0, int(low) - MARGIN), min(n, int(high) + MARGIN + 1))
        for low, high, n in zip(rows.amin(0), rows.amax(0), inside.shape, strict=True)
    )
    return x, y, z


def _slice(volume: Tensor, box: tuple[slice, slice, slice], axis: int, index: int) -> NDArray[np.generic]:
    """Return a slice with patient right on the left, front on the left of sagittal planes, and top up."""
    index = min(index, volume.shape[axis] - 1)
    others = tuple(part for other, part in enumerate(box) if other != axis)
    values: NDArray[np.generic] = volume.select(axis, index)[others].numpy()
    return values[::-1, ::-1].T
