"""Images of heads in eight contrasts and three resolutions, with the true brain, eyes and other tissue."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unweight.benchmark.core.head_images import CONTRASTS, VOXELS_MM, averaged, head_image
from unweight.core.seeding import seeded_generator
from unweight.registry import datasets
from unweight.synth.anatomy.head_parts import EYE, PART, LabelledHead

RESOLUTIONS: Mapping[str, tuple[float, float, float]] = MappingProxyType(
    dict(zip(datasets("mask"), VOXELS_MM, strict=False))
)
HALF = 0.5


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class MaskCase:
    """One image of a head.

    Attributes:
        contrast: Its name.
        resolution: Its name.
        image: Magnitude.
        affine: Voxel index to millimetres.
        voxel_mm: Size of a voxel [mm].
        brain: Where the brain is.
        eyes: Where the eyes are.
        other: Where other tissue is.
    """

    contrast: str
    resolution: str
    image: Float[Tensor, "x y z"]
    affine: Float[Tensor, "4 4"]
    voxel_mm: tuple[float, float, float]
    brain: Bool[Tensor, "x y z"]
    eyes: Bool[Tensor, "x y z"]
    other: Bool[Tensor, "x y z"]


def mask_cases(
    head: LabelledHead, resolutions: tuple[str, ...], contrasts: tuple[str, ...]
) -> Iterator[MaskCase]:
    """Return the images of one head, one after the other.

    Args:
        head: With eyes and neck.
        resolutions: Of `RESOLUTIONS`.
        contrasts: Of `CONTRASTS`.
    """
    brain = head.brain
    eyes = torch.isin(head.labels, torch.tensor([PART[name] for name in EYE], dtype=torch.uint8))
    other = (head.labels > 0) & ~brain & ~eyes
    for resolution in resolutions:
        sizes = RESOLUTIONS[resolution]
        shape = [max(1, round(n / size)) for n, size in zip(head.labels.shape, sizes, strict=True)]
        masks = [averaged(part.float(), shape) > HALF for part in (brain, eyes, other)]
        for contrast in contrasts:
            generator = seeded_generator(0, "mask case", head.subject, resolution, contrast)
            yield MaskCase(
                contrast=contrast,
                resolution=resolution,
                image=head_image(head, CONTRASTS[contrast], shape, generator),
                affine=torch.diag(torch.tensor([*sizes, 1.0], dtype=torch.float64)),
                voxel_mm=sizes,
                brain=masks[0],
                eyes=masks[1],
                other=masks[2],
            )
