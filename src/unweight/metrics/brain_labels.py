"""The labels of a segmented brain: FreeSurfer's numbers where the structure is the same, names and colours.

Tissue numbers cover more than FreeSurfer's: grey and white matter include cerebellum and brain stem, and
cerebrospinal fluid all fluid but that of the lateral ventricles.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, UInt8
from torch import Tensor

from unweight.metrics.structures import BRAIN_CLASSES

SIDES = ("left", "right")


@final
@dataclass(frozen=True, kw_only=True)
class BrainLabel:
    """One label.

    Attributes:
        index: Its number in the label image.
        name: Side and structure.
        abbreviation: Short name.
        colour: Red, green and blue, as #RRGGBB.
        structure: One of `BRAIN_CLASSES`.
        side: `left`, `right`, or empty where both sides are one label.
    """

    index: int
    name: str
    abbreviation: str
    colour: str
    structure: str
    side: str


def _pair(structure: str, indices: tuple[int, int], short: str, colour: str) -> tuple[BrainLabel, ...]:
    return tuple(
        BrainLabel(
            index=index,
            name=f"{side}_{structure}",
            abbreviation=f"{short}_{side[0].upper()}",
            colour=colour,
            structure=structure,
            side=side,
        )
        for side, index in zip(SIDES, indices, strict=True)
    )


BRAIN_LABELS = (
    *_pair("white_matter", (2, 41), "WM", "#f5f5f5"),
    *_pair("grey_matter", (3, 42), "GM", "#cd3e4e"),
    *_pair("lateral_ventricle", (4, 43), "LV", "#781286"),
    *_pair("thalamus", (10, 49), "Th", "#00760e"),
    *_pair("caudate", (11, 50), "Cd", "#7abadc"),
    *_pair("putamen", (12, 51), "Pu", "#ec0db0"),
    *_pair("pallidum", (13, 52), "GP", "#0c30ff"),
    BrainLabel(
        index=24,
        name="csf",
        abbreviation="CSF",
        colour="#3c3cc4",
        structure="csf",
        side="",
    ),
)


STRUCTURES = tuple(dict.fromkeys(label.structure for label in BRAIN_LABELS))


def sides_of(volumes: Mapping[str, float]) -> Iterator[tuple[str, float, float, float | None]]:
    """Give the volumes of each structure that is on both sides: its name, left, right, and left less right.

    The difference is in per cent of the mean of both; None if both are 0.

    Args:
        volumes: By name of the label; structures that are not among them are left out.
    """
    for structure in STRUCTURES:
        names = [f"{side}_{structure}" for side in SIDES]
        if volumes.keys() >= {*names}:
            left, right = (volumes[name] for name in names)
            mean = (left + right) / 2
            yield structure, left, right, 100 * (left - right) / mean if mean else None


def brain_labels(
    classes: UInt8[Tensor, "*voxels"], right: Bool[Tensor, "*voxels"]
) -> UInt8[Tensor, "*voxels"]:
    """Return the label of each voxel.

    Args:
        classes: By place in `BRAIN_CLASSES`; 0 outside the brain.
        right: Whether a voxel lies on the right.
    """
    table = torch.zeros(2, len(BRAIN_CLASSES), dtype=torch.uint8, device=classes.device)
    for label in BRAIN_LABELS:
        place = BRAIN_CLASSES.index(label.structure)
        for row, side in enumerate(SIDES):
            if label.side in ("", side):
                table[row, place] = label.index
    return table[right.long(), classes.long()]
