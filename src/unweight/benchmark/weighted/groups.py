"""How the voxels of maps are divided: by tissue, by true value, and by how they were scanned."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unweight.metrics.scores import Groups
from unweight.synth.simulate_weighted import Examined
from unweight.synth.tissue.materials import DEEP_GREY

PURE = 0.999
WHITE, PLAQUE, TUMOUR, OEDEMA, MIXED = "white matter", "MS lesion", "tumour", "oedema", "mixed"
TISSUES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        WHITE: ("white_matter",),
        "grey matter": ("grey_matter",),
        "deep grey": DEEP_GREY,
        "CSF": ("csf",),
        PLAQUE: ("ms_lesion",),
        TUMOUR: ("tumour",),
        OEDEMA: ("oedema",),
    }
)
TISSUE_NAMES = (*TISSUES, MIXED)
LESIONS = (PLAQUE, TUMOUR, OEDEMA)
# Inner edges of the bins of true values [s, s, 1].
EDGES: Mapping[str, tuple[float, ...]] = MappingProxyType(
    {"T1": (0.6, 0.9, 1.3, 2.0, 3.0), "T2": (0.06, 0.09, 0.15, 0.4), "PD": (0.7, 0.8, 0.9)}
)


def bin_names(parameter: str) -> tuple[str, ...]:
    """Return the names of the bins of a map, from low to high: `T1 < 0.6 s`, `T1 0.6-0.9 s`, …."""
    edges = EDGES[parameter]
    unit = "" if parameter == "PD" else " s"
    between = (f"{parameter} {low:g}-{high:g}{unit}" for low, high in pairwise(edges))
    return (f"{parameter} < {edges[0]:g}{unit}", *between, f"{parameter} > {edges[-1]:g}{unit}")


def binned(parameter: str, truth: Float[Tensor, " voxels"]) -> Groups:
    """Return groups by true value; the lower edge is inside."""
    edges = torch.tensor(EDGES[parameter], dtype=truth.dtype, device=truth.device)
    index = torch.bucketize(truth.contiguous(), edges, right=True)
    return Groups(names=bin_names(parameter), index=torch.where(torch.isfinite(truth), index, -1))


def tissue_of(examined: Examined) -> Int[Tensor, "*space"]:
    """Return the place of each voxel in TISSUE_NAMES: a tissue where it is pure, else mixed; −1 outside."""
    mask = examined.examination.mask
    tissue = torch.where(mask, TISSUE_NAMES.index(MIXED), -1)
    for place, materials in enumerate(TISSUES.values()):
        tissue[mask & (examined.share(*materials) >= PURE)] = place
    return tissue


def by_kind(kinds: Sequence[tuple[str, ...]], counts: Sequence[int]) -> tuple[Groups, ...]:
    """Return groups of whole examinations, a way to divide them for each column of kinds.

    Columns in which all are alike divide nothing, and are left out.

    Args:
        kinds: What each examination is: `1.5 T`, `T1w mprage`.
        counts: Its voxels.
    """
    divided = []
    for column in zip(*kinds, strict=True):
        names = tuple(dict.fromkeys(column))
        if len(names) > 1:
            parts = [torch.full((n,), names.index(name)) for name, n in zip(column, counts, strict=True)]
            divided.append(Groups(names=names, index=torch.cat(parts)))
    return tuple(divided)
