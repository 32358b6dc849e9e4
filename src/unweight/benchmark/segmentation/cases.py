"""Images of heads in eight contrasts and three resolutions, with the true label of each voxel."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import final

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from unweight.benchmark.core.head_images import CONTRASTS, VOXELS_MM, averaged, head_image
from unweight.core.seeding import seeded_generator
from unweight.learn.segmentation.any_contrast import SegmentedHead
from unweight.metrics.brain_labels import BRAIN_LABELS, brain_labels
from unweight.registry import datasets

RESOLUTIONS: Mapping[str, tuple[float, float, float]] = MappingProxyType(
    dict(zip(datasets("segmentation"), VOXELS_MM, strict=True))
)
HALF = 0.5


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class SegmentationCase:
    """One image of a head.

    Attributes:
        contrast: Its name.
        resolution: Its name.
        image: Magnitude.
        affine: Voxel index to millimetres.
        voxel_mm: Size of a voxel [mm].
        labels: The label that takes up most of each voxel; 0 outside the brain.
        brain: Where the brain is.
    """

    contrast: str
    resolution: str
    image: Float[Tensor, "x y z"]
    affine: Float[Tensor, "4 4"]
    voxel_mm: tuple[float, float, float]
    labels: UInt8[Tensor, "x y z"]
    brain: Bool[Tensor, "x y z"]


def segmentation_cases(
    of: SegmentedHead, resolutions: tuple[str, ...], contrasts: tuple[str, ...]
) -> Iterator[SegmentationCase]:
    """Return the images of one head, one after the other.

    Args:
        of: With its classes.
        resolutions: Of `RESOLUTIONS`.
        contrasts: Of `CONTRASTS`.
    """
    head = of.head
    x = torch.arange(head.labels.shape[0])[:, None, None].expand(head.labels.shape)
    labels = brain_labels(of.classes, x > of.midline)
    brain = head.brain
    labels = torch.where(brain, labels, 0)
    for resolution in resolutions:
        sizes = RESOLUTIONS[resolution]
        shape = [max(1, round(n / size)) for n, size in zip(labels.shape, sizes, strict=True)]
        largest = _largest(labels, shape)
        for contrast in contrasts:
            generator = seeded_generator(0, "segmentation case", head.subject, resolution, contrast)
            yield SegmentationCase(
                contrast=contrast,
                resolution=resolution,
                image=head_image(head, CONTRASTS[contrast], shape, generator),
                affine=torch.diag(torch.tensor([*sizes, 1.0], dtype=torch.float64)),
                voxel_mm=sizes,
                labels=largest,
                brain=averaged(brain.float(), shape) > HALF,
            )


def _largest(labels: UInt8[Tensor, "x y z"], shape: list[int]) -> UInt8[Tensor, "u v w"]:
    """Return the label with the largest share of each voxel."""
    if list(labels.shape) == shape:
        return labels
    best = averaged((labels == 0).float(), shape)
    result = torch.zeros(shape, dtype=torch.uint8)
    for label in BRAIN_LABELS:
        share = averaged((labels == label.index).float(), shape)
        result[share > best] = label.index
        best = torch.maximum(best, share)
    return result
