"""Heads to map, and stacks of a few of their slices.

A stack holds axial slices of 192 × 240 voxels, 1 × 1 × 2 mm, from low to high in a head, one behind the
other as if they touched: one anatomy, so that each image of it has one gain and one receive field. Its
affine is that of the lowest slice.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

import torch

from unweight.benchmark.t1.heads import heads_for_test
from unweight.core.errors import UsageError
from unweight.core.seeding import seeded_generator
from unweight.heads.brainweb import read_brainweb
from unweight.synth.anatomy.crop import Crop
from unweight.synth.anatomy.labels import Anatomy
from unweight.synth.anatomy.nuclei import with_nuclei
from unweight.synth.anatomy.procedural_head import procedural_head
from unweight.synth.tissue.materials import BRAIN, INDEX

FACTOR = (2, 2, 4)  # labels of 0.5 mm in a voxel
FINE_MM = 0.5
SLICE = (192, 240)  # voxels
SHARES = (0.35, 0.85)  # of the brain's height, between which slices lie
HEIGHTS_MM = (-20.0, 60.0)  # the same in procedural heads, which are made no higher and no lower
MIDDLE_MM = (0.0, -16.0)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class MapsHead:
    """A head, or what of it slices are cut from.

    Attributes:
        anatomy: Labels of 0.5 mm.
        layers: First layer of labels for slices, and the last.
    """

    anatomy: Anatomy
    layers: tuple[int, int]

    def __post_init__(self) -> None:
        low, high = self.layers
        if not 0 <= low < high < self.anatomy.labels.shape[2]:
            raise UsageError(f"slices from layer {low} to {high} of {self.anatomy.labels.shape[2]}")

    def with_anatomy(self, anatomy: Anatomy) -> "MapsHead":
        """Return the head with other labels, as with lesions."""
        return replace(self, anatomy=anatomy)

    def stack(self, n_slices: int) -> Anatomy:
        """Cut out slices at even distances.

        Raises:
            UsageError: There is no room for so many.
        """
        low, high = self.layers
        thickness = FACTOR[2]
        if not 1 <= n_slices <= (high - low + 1) // thickness:
            raise UsageError(f"{n_slices} slices from {high - low + 1} layers, {thickness} in each")
        size = (SLICE[0] * FACTOR[0], SLICE[1] * FACTOR[1], thickness)
        shape = self.anatomy.labels.shape
        x, y = (shape[0] - size[0]) // 2, (shape[1] - size[1]) // 2
        step = (high - low + 1) / n_slices
        starts = [low + int((number + 0.5) * step) - thickness // 2 for number in range(n_slices)]
        slices = [Crop(start=(x, y, start), size=size).apply(self.anatomy) for start in starts]
        return replace(slices[0], labels=torch.cat([one.labels for one in slices], dim=2))


def brainweb_heads(folder: Path, n_heads: int) -> tuple[MapsHead, ...]:
    """Return heads in the test part of a folder.

    Args:
        folder: As for `heads_for_test`.
        n_heads: At most so many.

    Raises:
        InputError: There is no head, or one is unusable.
        UsageError: The test part is empty.
    """
    heads = (with_nuclei(read_brainweb(path)) for path in list(heads_for_test(folder).values())[:n_heads])
    return tuple(MapsHead(anatomy=one, layers=_layers(one)) for one in heads)


def procedural_heads(n_heads: int) -> tuple[MapsHead, ...]:
    """Return procedural heads from random numbers of their own."""
    return tuple(_procedural_head(number) for number in range(n_heads))


def _procedural_head(number: int) -> MapsHead:
    low, high = HEIGHTS_MM
    shape = (SLICE[0] * FACTOR[0], SLICE[1] * FACTOR[1], round((high - low) / FINE_MM))
    made = procedural_head(
        seeded_generator(0, "evaluation", "maps head", number),
        shape=shape,
        voxel_mm=(FINE_MM,) * 3,
        centre_mm=(*MIDDLE_MM, (low + high) / 2),
    )
    return MapsHead(anatomy=made, layers=(0, shape[2] - 1))


def _layers(anatomy: Anatomy) -> tuple[int, int]:
    """Return the layers between the two shares of the brain's height."""
    brain = torch.isin(anatomy.labels, torch.tensor([INDEX[name] for name in BRAIN], dtype=torch.uint8))
    layers = brain.flatten(0, 1).any(0).nonzero()[:, 0]
    low, high = int(layers.min()), int(layers.max())
    first, last = (low + round(share * (high - low)) for share in SHARES)
    return first, last
