"""A thin part of a procedural head, so that a test of what is done with heads takes a second."""

from functools import cache

from unweight.benchmark.weighted.datasets import SlicedHead
from unweight.core.seeding import seeded_generator
from unweight.synth.anatomy.procedural_head import procedural_head

SHAPE = (330, 360, 24)  # voxels of 0.5 mm; smaller than a slice of the stack, which is filled up


@cache
def small_head() -> SlicedHead:
    """Return 12 mm of a head, at the height of the ventricles."""
    anatomy = procedural_head(
        seeded_generator(0, "small head"), shape=SHAPE, voxel_mm=(0.5,) * 3, centre_mm=(0.0, -16.0, 16.0)
    )
    return SlicedHead(anatomy=anatomy, layers=(0, SHAPE[2] - 1))
