"""Images of heads in eight contrasts and three resolutions, with the true brain, eyes and other tissue."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from unweight.core.seeding import seeded_generator
from unweight.synth.anatomy.head_parts import EYE, PART, LabelledHead
from unweight.synth.any_contrast import Timings, tissue_table

CONTRASTS: Mapping[str, Timings] = MappingProxyType(
    {
        "MPRAGE": Timings(tr=2.3, te=0.003, ti=0.9),
        "T1w spin echo": Timings(tr=0.55, te=0.012),
        "T2w": Timings(tr=5.0, te=0.09),
        "PDw": Timings(tr=4.0, te=0.02),
        "FLAIR": Timings(tr=9.0, te=0.11, ti=2.5),
        "GRE, early echo": Timings(tr=0.036, te=0.004, angle=0.26),
        "GRE, late echo": Timings(tr=0.036, te=0.028, angle=0.26),
        "inversion recovery": Timings(tr=4.0, te=0.012, ti=0.4),
    }
)
RESOLUTIONS: Mapping[str, tuple[float, float, float]] = MappingProxyType(
    {"isotropic": (1.0, 1.0, 1.0), "coarse": (2.0, 2.0, 2.0), "thick": (1.0, 1.0, 5.0)}
)
NOISE, BIAS, BIAS_KNOTS = 0.03, 0.2, 4
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
    brain = F.interpolate(head.distance[None, None], size=head.labels.shape, mode="trilinear")[0, 0] < 0
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
                image=_image(head, CONTRASTS[contrast], shape, generator),
                affine=torch.diag(torch.tensor([*sizes, 1.0], dtype=torch.float64)),
                voxel_mm=sizes,
                brain=masks[0],
                eyes=masks[1],
                other=masks[2],
            )


def averaged(volume: Float[Tensor, "x y z"], shape: list[int]) -> Float[Tensor, "u v w"]:
    """Return means over larger voxels."""
    return F.interpolate(volume[None, None], size=shape, mode="area")[0, 0]


def _image(
    head: LabelledHead, timings: Timings, shape: list[int], generator: torch.Generator
) -> Float[Tensor, "x y z"]:
    levels = timings.signal(tissue_table()).abs()
    levels = levels / levels.max()
    image = averaged(torch.from_numpy(levels.numpy()[head.labels.numpy()]), shape)
    knots = torch.randn(1, 1, BIAS_KNOTS, BIAS_KNOTS, BIAS_KNOTS, generator=generator)
    image = image * torch.exp(BIAS * F.interpolate(knots, size=shape, mode="trilinear")[0, 0])
    noise = NOISE * torch.randn((2, *shape), generator=generator)
    return ((image + noise[0]) ** 2 + noise[1] ** 2).sqrt()
