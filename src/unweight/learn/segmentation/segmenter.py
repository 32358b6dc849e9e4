"""Segmentation of an image of any contrast by a trained network.

The image is brought to cubic voxels of 2 mm along the axes of the head, where the network predicts, for
each class, the coefficients of a quadratic in the intensity. They are interpolated to the grid of the image
and evaluated there, with the intensity averaged over 2 mm as in training; the most probable class is
taken within the brain mask.
"""

from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Protocol, cast, final, runtime_checkable

import torch
from jaxtyping import Bool, Float, UInt8
from scipy import ndimage
from torch import Tensor

from unweight.bids.nifti.canonical import turn_of
from unweight.core.errors import InputError
from unweight.core.estimator import Progress
from unweight.learn.labelled_heads.images import resampled
from unweight.learn.segmentation.any_contrast import GRID_MM
from unweight.learn.segmentation.places import FARTHEST_MM, BrainBox, brain_normalised, guide_channels
from unweight.learn.training.model_card import Card
from unweight.learn.training.trainable import load_network
from unweight.metrics.brain_labels import brain_labels
from unweight.nets.tissue_network import CENTRE, SCALE, quadratic
from unweight.prepare.brain_finder import cut_axes, voxel_mm

SMOOTH_MM = 3 * GRID_MM
REACH = 8  # voxels
N_PARTS = 4  # of the work, for progress
Volume = Float[Tensor, "x y z"]


@runtime_checkable
class PredictsCoefficients(Protocol):
    """What is asked of a network; `nets.tissue_network.TissueNetwork` is one."""

    @property
    def stride(self) -> int:
        """Of what the sizes of its images are multiples."""

    def coefficients(
        self, image: Float[Tensor, "batch 1 x y z"], guide: Float[Tensor, "batch guides u v w"]
    ) -> tuple[Float[Tensor, "terms batch classes x y z"], Float[Tensor, "batch 1 x y z"]]:
        """Return what the logits of the classes are made from, and the logit of the side."""


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

    network: PredictsCoefficients

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
            progress: Called with the steps done and all of them.

        Raises:
            InputError: The mask is empty, or two axes run along the same direction.
        """
        if not bool(mask.any()):
            raise InputError("the brain mask is empty", remedy="Give a mask of the brain with --mask.")
        turn = turn_of(affine, image.shape)
        sizes = voxel_mm(turn.affine)
        upright = turn.apply(image.detach().cpu().float().nan_to_num().abs())
        brain = turn.apply(mask.detach().cpu())
        coarse = resampled(upright, sizes, GRID_MM)
        inside = resampled(brain.float(), sizes, GRID_MM) > 0.5
        if not bool(inside.any()):
            raise InputError(
                f"the brain mask is smaller than a voxel of {GRID_MM:g} mm",
                remedy="Give a mask of the brain.",
            )
        box = BrainBox.around(inside, self.network.stride)
        distance = box.cut(signed_distance(inside), FARTHEST_MM)
        scaled = box.cut(brain_normalised(coarse, inside), 0.0)
        guide = guide_channels(distance, cut_axes(inside))
        tell = progress or (lambda done, of: None)
        tell(1, N_PARTS)
        terms, side = self._predicted(scaled[None, None], guide[None])
        tell(2, N_PARTS)
        near = _around(brain)
        wide = _Widening(box=box, coarse=coarse.shape, fine=upright.shape, part=near)
        part, within = upright[near], brain[near]
        v = SCALE * (brain_normalised(averaged(part, sizes, GRID_MM), within) - CENTRE)
        smooth = SCALE * (brain_normalised(averaged(part, sizes, SMOOTH_MM), within) - CENTRE)
        tell(3, N_PARTS)
        logits = [
            quadratic(torch.stack([wide(term[0, place].float()) for term in terms]), v, smooth)
            for place in range(terms.shape[2])
        ]
        classes, best = _most_probable(logits)
        labels = torch.zeros(upright.shape, dtype=torch.uint8)
        labels[near] = brain_labels(torch.where(within, classes, 0), wide(side[0, 0].float()) > 0)
        probability = torch.zeros(upright.shape)
        probability[near] = torch.where(labels[near] > 0, best, 0.0)
        tell(N_PARTS, N_PARTS)
        return SegmentedBrain(
            labels=turn.undo(labels),
            probability=turn.undo(probability),
        )

    def _predicted(
        self, image: Float[Tensor, "1 1 x y z"], guide: Float[Tensor, "1 guides u v w"]
    ) -> tuple[Float[Tensor, "terms 1 classes x y z"], Float[Tensor, "1 1 x y z"]]:
        """Return coefficients and side, averaged over the head and its mirror image."""
        other = guide.flip(2)
        other[:, 0] *= -1
        with torch.inference_mode():
            terms, side = self.network.coefficients(image, guide)
            mirrored, other_side = self.network.coefficients(image.flip(2), other)
        return (terms + mirrored.flip(3)) / 2, (side - other_side.flip(2)) / 2


def load_segmenter(name: str, folder: Path | None = None) -> tuple[BrainSegmenter, Card]:
    """Return the network with its weights, and their card.

    Args:
        name: Of the weights.
        folder: Where they lie; None for those of the package.

    Raises:
        InputError: They are absent or damaged.
    """
    network, card = load_network(name, folder)
    return BrainSegmenter(network=cast(PredictsCoefficients, network.eval())), card


def averaged(image: Volume, sizes: tuple[float, float, float], width_mm: float) -> Volume:
    """Return an image as smooth as cubic voxels of a width, by a Gaussian of the variance that is missing.

    Args:
        image: On any grid.
        sizes: Of its voxels [mm]; along coarser ones nothing is done.
        width_mm: Of the voxels [mm].
    """
    sigmas = [sqrt(max(0.0, width_mm**2 - size**2) / 12) / size for size in sizes]
    return torch.from_numpy(ndimage.gaussian_filter(image.numpy(), sigmas, mode="nearest", truncate=3.0))


def signed_distance(inside: Bool[Tensor, "x y z"]) -> Volume:
    """Return the distance to the surface of a mask in voxels of `GRID_MM`, negative inside [mm]."""
    mask = inside.numpy()
    inner = torch.from_numpy(ndimage.distance_transform_edt(mask)).float()
    outer = torch.from_numpy(ndimage.distance_transform_edt(~mask)).float()
    # The surface lies half a voxel from the middle of the voxels beside it.
    return GRID_MM * torch.where(inside, 0.5 - inner, outer - 0.5)


@final
@dataclass(frozen=True, kw_only=True)
class _Widening:
    """From the box on the coarse grid to the grid of the image.

    Attributes:
        box: What the network got.
        coarse: Shape of its grid.
        fine: Shape of the image.
        part: Of the image, where values are wanted.
    """

    box: BrainBox
    coarse: torch.Size
    fine: torch.Size
    part: tuple[slice, ...]

    def __call__(self, channel: Float[Tensor, "u v w"]) -> Volume:
        """Return a channel in the part of the image, by linear interpolation."""
        values = self.box.kept(channel)
        for axis, (size, wanted) in enumerate(zip(self.coarse, self.fine, strict=True)):
            part, box = self.part[axis], self.box.part[axis]
            places = (torch.arange(part.start, part.stop) + 0.5) * (size / wanted) - 0.5 - box.start
            places = places.clamp(0, values.shape[axis] - 1)
            below = places.floor().long().clamp(max=max(0, values.shape[axis] - 2))
            above = (below + 1).clamp(max=values.shape[axis] - 1)
            weight = (places - below).reshape([-1 if at == axis else 1 for at in range(3)])
            values = torch.lerp(values.index_select(axis, below), values.index_select(axis, above), weight)
        return values


def _around(brain: Bool[Tensor, "x y z"]) -> tuple[slice, ...]:
    """Return the part of a grid around a brain, as far as averages reach."""
    rows = brain.nonzero()
    return tuple(
        slice(max(0, low - REACH), min(size, high + REACH + 1))
        for low, high, size in zip(rows.amin(0).tolist(), rows.amax(0).tolist(), brain.shape, strict=True)
    )


def _most_probable(logits: list[Volume]) -> tuple[UInt8[Tensor, "x y z"], Volume]:
    """Return the class of each voxel, from 1 on, and its probability."""
    best, total = logits[0].clone(), torch.zeros_like(logits[0])
    classes = torch.ones(logits[0].shape, dtype=torch.uint8)
    for place, values in enumerate(logits[1:], start=2):
        classes[values > best] = place
        best = torch.maximum(best, values)
    for values in logits:
        total += (values - best).exp()
    return classes, 1 / total
