"""Whole heads drawn from random numbers, for what needs the field of all that is in and around a head."""

from unweight.core.seeding import seeded_generator
from unweight.synth.anatomy.labels import Anatomy
from unweight.synth.anatomy.procedural_head import procedural_head

SHAPE, VOXEL_MM = (360, 432, 360), (0.5, 0.5, 0.5)
MIDDLE_MM = (0.0, -16.0, 12.0)


def whole_head(seed: int, part: str, index: int, *, coarser: int = 1) -> Anatomy:
    """Return one head; those of different parts have nothing in common.

    Args:
        seed: Of all of them.
        part: What it is for: training, validation, test.
        index: Which.
        coarser: Voxels larger by this factor, over the same field of view.
    """
    x, y, z = (count // coarser for count in SHAPE)
    a, b, c = (size * coarser for size in VOXEL_MM)
    return procedural_head(
        seeded_generator(seed, "whole head", part, index),
        shape=(x, y, z),
        voxel_mm=(a, b, c),
        centre_mm=MIDDLE_MM,
    )
