"""Segmentation of an image of any contrast by a trained network.

The image is brought to cubic voxels of 1 mm along the axes of the head. The network works on overlapping
windows of the size of its training patches; its class probabilities are averaged with weights that fall
towards the faces of a window, interpolated to the grid of the image, and the most probable class is taken
within the brain mask.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import ceil
from pathlib import Path
from typing import final

import torch
from jaxtyping import Bool, Float, UInt8
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional as F

from unweight.bids.nifti.canonical import turn_of
from unweight.core.errors import InputError
from unweight.core.estimator import Progress
from unweight.learn.labelled_heads.images import of_shape, resampled
from unweight.learn.segmentation.any_contrast import N_CLASSES
from unweight.learn.segmentation.places import FARTHEST_MM, brain_normalised, guide_channels
from unweight.learn.training.model_card import Card
from unweight.learn.training.trainable import load_network
from unweight.metrics.brain_labels import brain_labels
from unweight.prepare.brain_finder import cut_axes, voxel_mm

GRID_MM = 1.0
WINDOW, OVERLAP, MARGIN = 64, 16, 4  # voxels
Volume = Float[Tensor, "x y z"]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class SegmentedBrain:
    """Labels of a brain.

    Attributes:
        labels: Numbers of `BRAIN_LABELS`; 0 outside the brain.
        probability: Of the class of each voxel; 0 outside the brain.
    """

    labels: UInt8[Tensor, "x y z"]
    probability: Float[Tensor, "x y z"]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class BrainSegmenter:
    """The trained network.

    Attributes:
        network: Its weights are on the CPU.
    """

    network: nn.Module

    def segment(
        self,
        image: Volume,
        affine: Float[Tensor, "4 4"],
        mask: Bool[Tensor, "x y z"],
        progress: Progress | None = None,
    ) -> SegmentedBrain:
        """Return the labels on the grid of the image.

        Args:
            image: Magnitude of any contrast; NaN where there is no value.
            affine: Voxel index to millimetres (RAS+).
            mask: The brain with its fluid.
            progress: Called with the windows done and all of them.

        Raises:
            InputError: The mask is empty, or two axes run along the same direction.
        """
        if not bool(mask.any()):
            raise InputError("the brain mask is empty", remedy="Give a mask of the brain with --mask.")
        turn = turn_of(affine, image.shape)
        sizes = voxel_mm(turn.affine)
        upright = turn.apply(image.detach().cpu().float().nan_to_num().abs())
        brain = turn.apply(mask.detach().cpu())
        fine = resampled(upright, sizes, GRID_MM)
        inside = resampled(brain.float(), sizes, GRID_MM) > 0.5
        outputs, box = self._outputs(fine, inside, progress)
        classes, probability, right = _on_grid(outputs, box, fine.shape, upright.shape)
        classes = torch.where(brain, classes, 0)
        labels = brain_labels(classes, right)
        return SegmentedBrain(
            labels=turn.undo(labels),
            probability=turn.undo(torch.where(labels > 0, probability, 0.0)),
        )

    def _outputs(
        self, image: Volume, inside: Bool[Tensor, "x y z"], progress: Progress | None
    ) -> tuple[Float[Tensor, "channels u v w"], tuple[slice, ...]]:
        """Return probabilities of the classes and the logit of the side in a box around the brain."""
        if not bool(inside.any()):
            raise InputError(
                "the brain mask is smaller than a voxel of 1 mm", remedy="Give a mask of the brain."
            )
        rows = inside.nonzero()
        low = (rows.amin(0) - MARGIN).clamp(min=0).tolist()
        high = [min(int(last) + MARGIN + 1, n) for last, n in zip(rows.amax(0), inside.shape, strict=True)]
        box = tuple(slice(first, last) for first, last in zip(low, high, strict=True))
        unknown = cut_axes(inside)
        middle = rows.float().mean(0) - torch.tensor(low)
        part, distance = image[box], signed_distance(inside[box])
        total = torch.zeros(N_CLASSES + 1, *part.shape)
        weights = torch.full(part.shape, 1e-6)
        ramp = _ramp()
        windows = list(_windows(tuple(part.shape)))
        for done, window in enumerate(windows, start=1):
            near, far = _filled(part[window], 0.0), _filled(distance[window], FARTHEST_MM)
            start = torch.tensor([item.start for item in window])
            guide = guide_channels(middle - start, far, GRID_MM, unknown)
            with torch.inference_mode():
                output = self.network(brain_normalised(near, far < 0)[None, None], guide[None])[0].float()
            output = torch.cat([output[:N_CLASSES].softmax(0), output[N_CLASSES:]])
            x, y, z = part[window].shape
            weight = ramp[:x, :y, :z]
            total[(slice(None), *window)] += weight * output[:, :x, :y, :z]
            weights[window] += weight
            if progress is not None:
                progress(done, len(windows))
        return total / weights, box


def load_segmenter(name: str, folder: Path | None = None) -> tuple[BrainSegmenter, Card]:
    """Return the network with its weights, and their card.

    Args:
        name: Of the weights.
        folder: Where they lie; None for those of the package.

    Raises:
        InputError: They are absent or damaged.
    """
    network, card = load_network(name, folder)
    return BrainSegmenter(network=network.eval()), card


def signed_distance(inside: Bool[Tensor, "x y z"]) -> Volume:
    """Return the distance to the surface of a mask in voxels of 1 mm, negative inside [mm]."""
    mask = inside.numpy()
    inner = torch.from_numpy(ndimage.distance_transform_edt(mask)).float()
    outer = torch.from_numpy(ndimage.distance_transform_edt(~mask)).float()
    # The surface lies half a voxel from the middle of the voxels beside it.
    return torch.where(inside, 0.5 - inner, outer - 0.5)


def _windows(shape: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
    """Return windows that cover a box, with at least `OVERLAP` voxels in common along each axis."""
    starts: list[Sequence[int]] = []
    for size in shape:
        count = 1 if size <= WINDOW else ceil((size - WINDOW) / (WINDOW - OVERLAP)) + 1
        last = max(0, size - WINDOW)
        starts.append([round(place * last / max(1, count - 1)) for place in range(count)])
    for corner in product(*starts):
        yield tuple(
            slice(first, min(first + WINDOW, size)) for first, size in zip(corner, shape, strict=True)
        )


def _filled(volume: Volume, value: float) -> Volume:
    """Return a volume in a whole window."""
    pads = [side for n in reversed(volume.shape) for side in (0, WINDOW - n)]
    return F.pad(volume, pads, value=value)


def _ramp() -> Volume:
    """Return the weight of each voxel of a window: 1 in the middle, falling towards its faces."""
    along = (torch.arange(WINDOW) + 0.5) / OVERLAP
    weight = torch.minimum(along, along.flip(0)).clamp(max=1.0)
    return weight[:, None, None] * weight[:, None] * weight


def _on_grid(
    outputs: Float[Tensor, "channels u v w"],
    box: tuple[slice, ...],
    fine: torch.Size,
    shape: torch.Size,
) -> tuple[UInt8[Tensor, "x y z"], Float[Tensor, "x y z"], Bool[Tensor, "x y z"]]:
    """Return class, probability and side on the grid of the image, one class after the other."""

    def wide(channel: Float[Tensor, "u v w"]) -> Float[Tensor, "x y z"]:
        whole = torch.zeros(fine)
        whole[box] = channel
        return whole if fine == shape else of_shape(whole, shape)

    best = torch.zeros(shape)
    classes = torch.zeros(shape, dtype=torch.uint8)
    for place in range(N_CLASSES):
        probability = wide(outputs[place])
        classes[probability > best] = place + 1
        best = torch.maximum(best, probability)
    return classes, best, wide(outputs[N_CLASSES]) > 0
