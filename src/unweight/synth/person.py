"""A head as one person has it: head and deep grey nuclei as large as age and sex make them.

labels of a head → nuclei of this person's volumes → a change of shape → the size of this person's head
"""

from dataclasses import replace

import torch

from unweight.synth.anatomy.labels import Anatomy, counts_of
from unweight.synth.anatomy.structure_volume import scale_structures
from unweight.synth.anatomy.warp import Warp, WarpRange, draw_warp
from unweight.synth.cohort import Subject, volumes
from unweight.synth.tissue.materials import INDEX

AGEING = ("caudate", "putamen", "pallidum", "thalamus")
LEAST_VOXELS = 50  # of a nucleus that is worth resizing


def of_person(anatomy: Anatomy, person: Subject, within: WarpRange | None = None) -> Anatomy:
    """Return the anatomy as this person has it.

    Args:
        anatomy: A head with nuclei.
        person: Age, sex and seed.
        within: How far the shape may change beside the sizes; None for not at all.
    """
    drawn = volumes(person, person.generator("volumes"))
    counts = counts_of(anatomy.labels)
    scales = {name: drawn[name] for name in AGEING if counts[INDEX[name]] > LEAST_VOXELS}
    labels = scale_structures(anatomy.labels, scales, anatomy.voxel_mm) if scales else anatomy.labels
    smaller = drawn["head"] ** (-1 / 3)
    resize = torch.diag(torch.tensor([smaller, smaller, smaller, 1.0]))
    shape = (labels.shape[0], labels.shape[1], labels.shape[2])
    if within is None:
        x, y, z = ((count - 1) * size for count, size in zip(shape, anatomy.voxel_mm, strict=True))
        warp = Warp(affine=resize, displacement=torch.zeros(3, 2, 2, 2), extent_mm=(x, y, z))
    else:
        warp = draw_warp(shape, anatomy.voxel_mm, person.generator("shape"), within=within)
        warp = replace(warp, affine=resize.to(warp.affine) @ warp.affine)
    return replace(anatomy, labels=warp.apply(labels, anatomy.voxel_mm))
