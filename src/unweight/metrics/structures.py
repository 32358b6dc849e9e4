"""The structures of a brain that label maps are compared by: one list, whose order is the label.

A segmenter and the simulated head speak of different things. Here the materials of the head become
structures: the nuclei of midbrain and cerebellum, and what lesions and tumours take up, count as the
white matter they lie in; what is no tissue of the brain (vessels, dura, calcification, bone, fat, air) is
background.
"""

import torch
from jaxtyping import Integer, UInt8
from torch import Tensor

from unweight.core.errors import InputError
from unweight.synth.tissue.materials import MATERIALS

TISSUES = ("csf", "grey_matter", "white_matter")
DEEP = ("caudate", "putamen", "pallidum", "thalamus")
STRUCTURES = ("background", *TISSUES, *DEEP)
VENTRICLE = "lateral_ventricle"
BRAIN_CLASSES = (*STRUCTURES, VENTRICLE)  # of the segmentation of any contrast
LABELS = {name: label for label, name in enumerate(STRUCTURES)}
WITHIN_WHITE = ("red_nucleus", "substantia_nigra", "dentate", "ms_lesion", "tumour", "oedema")


def from_materials(materials: Integer[Tensor, "*voxels"]) -> UInt8[Tensor, "*voxels"]:
    """Return the structure of each voxel from its dominant material.

    Args:
        materials: Index into `MATERIALS`.

    Raises:
        InputError: A number is no material.
    """
    if materials.numel():
        lowest, highest = int(materials.min()), int(materials.max())
        if lowest < 0 or highest >= len(MATERIALS):
            raise InputError(
                f"materials go from {lowest} to {highest}, but only 0 to {len(MATERIALS) - 1} are known",
                remedy="Give the index of the dominant material of each voxel.",
            )
    table = [_structure_of(name) for name in MATERIALS]
    return torch.tensor(table, dtype=torch.uint8, device=materials.device)[materials.long()]


def _structure_of(material: str) -> int:
    return LABELS["white_matter"] if material in WITHIN_WHITE else LABELS.get(material, 0)
