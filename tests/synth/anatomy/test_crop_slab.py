"""Slabs that are cut and bent: their size, their place, and that each can be drawn again."""

import torch

from unweight.core.seeding import seeded_generator
from unweight.synth.anatomy.crop import draw_bent_slab
from unweight.synth.anatomy.procedural_head import procedural_head
from unweight.synth.anatomy.warp import WarpRange

STILL = WarpRange(rotation=0.0, scale=0.0, shear=0.0, displacement_mm=0.0)


def test_without_bending_it_is_a_piece_of_the_head() -> None:
    head = procedural_head(seeded_generator(0), shape=(60, 72, 20), voxel_mm=(2.0, 2.0, 2.0))
    slab = draw_bent_slab(head, (24, 24, 2), seeded_generator(1), STILL)
    assert slab.labels.shape == (24, 24, 2) and slab.subject == head.subject
    # Each voxel of the slab is where its affine says in the head.
    index = torch.tensor([[5.0, 7.0, 1.0, 1.0], [20.0, 3.0, 0.0, 1.0]], dtype=torch.float64)
    there = (torch.linalg.inv(head.affine.double()) @ slab.affine.double() @ index.T).T.round().long()
    for (x, y, z, _), (a, b, c, _) in zip(index.long().tolist(), there.tolist(), strict=True):
        assert slab.labels[x, y, z] == head.labels[a, b, c]


def test_the_same_numbers_give_the_same_slab() -> None:
    head = procedural_head(seeded_generator(0), shape=(60, 72, 20), voxel_mm=(2.0, 2.0, 2.0))
    one, two = (draw_bent_slab(head, (24, 24, 2), seeded_generator(3), WarpRange()) for _ in range(2))
    assert torch.equal(one.labels, two.labels) and torch.equal(one.affine, two.affine)
