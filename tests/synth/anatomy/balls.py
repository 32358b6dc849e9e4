"""Heads of concentric balls, whose distances are known."""

from functools import cache

import torch
from torch import Tensor

from unweight.synth.anatomy.head_parts import PART, LabelledHead
from unweight.synth.anatomy.labels import Anatomy, centred_affine
from unweight.synth.tissue.materials import INDEX

BRAIN_MM, SKULL_MM, HEAD_MM = 40.0, 46.0, 52.0
SHAPE = (120, 120, 120)


def radius(shape: tuple[int, int, int] = SHAPE, voxel_mm: float = 1.0) -> Tensor:
    """How far each voxel of a centred grid is from the middle [mm]."""
    axes = [(torch.arange(n) - (n - 1) / 2) * voxel_mm for n in shape]
    x, y, z = torch.meshgrid(*axes, indexing="ij")
    return (x**2 + y**2 + z**2).sqrt()


def ball_anatomy() -> Anatomy:
    """A brain of white matter in skull and skin."""
    r = radius()
    labels = torch.zeros(SHAPE, dtype=torch.uint8)
    labels[r < HEAD_MM] = INDEX["skin"]
    labels[r < SKULL_MM] = INDEX["skull"]
    labels[r < BRAIN_MM] = INDEX["white_matter"]
    return Anatomy(
        labels=labels,
        voxel_mm=(1.0, 1.0, 1.0),
        subject="ball",
        affine=centred_affine(SHAPE, (1.0, 1.0, 1.0)),
    )


@cache
def ball_head(eyes: bool = False) -> LabelledHead:
    """The same as a labelled head; with two balls of vitreous in its skin."""
    anatomy = ball_anatomy()
    labels = anatomy.labels.clone()
    if eyes:
        labels[50:56, 108:112, 55:65] = PART["vitreous"]
        labels[64:70, 108:112, 55:65] = PART["vitreous"]
    coarse = radius((60, 60, 60), 2.0) - BRAIN_MM
    return LabelledHead(
        labels=labels, distance=coarse.clamp(-20, 20), affine=anatomy.affine, subject="ball"
    )
