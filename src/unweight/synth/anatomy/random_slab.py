"""A slab cut out of a head and bent: cut wider than wanted, so that the warp has something to bring in."""

import torch

from unweight.synth.anatomy.crop import Plane, draw_crop
from unweight.synth.anatomy.labels import Anatomy
from unweight.synth.anatomy.warp import WarpRange, draw_warp

MARGIN = 8  # fine voxels around the slab


def draw_bent_slab(
    anatomy: Anatomy, fine: tuple[int, int, int], generator: torch.Generator, within: WarpRange
) -> Anatomy:
    """Cut an axial slab of so many fine voxels out of a head at random, and bend it in its plane."""
    wide = (fine[0] + 2 * MARGIN, fine[1] + 2 * MARGIN, fine[2])
    slab = draw_crop(anatomy, wide, generator, plane=Plane.AXIAL).apply(anatomy)
    warp = draw_warp(wide, slab.voxel_mm, generator, within=within, planar=True)
    labels = warp.apply(slab.labels, slab.voxel_mm)
    inner = labels[MARGIN : MARGIN + fine[0], MARGIN : MARGIN + fine[1]].contiguous()
    affine = slab.affine.clone()
    affine[:3, 3] += slab.affine[:3, :2].sum(-1) * MARGIN
    return Anatomy(labels=inner, voxel_mm=slab.voxel_mm, subject=slab.subject, affine=affine)
