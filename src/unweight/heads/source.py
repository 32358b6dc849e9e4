"""`HeadSource`: the heads to simulate, from BrainWeb, a label image, MNI152 or random numbers.

A source lists its heads for training, validation and test and builds each when it is asked for. Heads of
one part are never those of another.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import final

import torch

from unweight.core.errors import UsageError
from unweight.core.seeding import seeded_generator
from unweight.heads.brainweb import find_brainweb, read_brainweb, subject_of
from unweight.heads.labels import read_labels
from unweight.heads.mni152 import read_mni152
from unweight.synth.anatomy.labels import Anatomy
from unweight.synth.anatomy.nuclei import with_nuclei
from unweight.synth.anatomy.procedural_head import procedural_head
from unweight.synth.anatomy.split import split_subjects

TRAIN, VALIDATION, TEST, ALL = "train", "validation", "test", "all"
MNI152 = "mni152"
# Grid of a whole head, for what needs the field of all that is in and around it.
WHOLE_SHAPE, WHOLE_VOXEL_MM, WHOLE_CENTRE_MM = (360, 432, 360), (0.5, 0.5, 0.5), (0.0, -16.0, 12.0)


class HeadSource(ABC):
    """Heads to simulate."""

    @abstractmethod
    def names(self, part: str) -> tuple[str, ...]:
        """Return what identifies the heads of `train`, `validation`, `test` or `all` in records.

        Raises:
            InputError: There are no heads.
            UsageError: There are heads, but none in this part.
        """

    @abstractmethod
    def read(self, part: str, index: int) -> Anatomy:
        """Return one head of a part, with deep grey nuclei.

        Raises:
            InputError: Its file is missing or unusable.
        """

    def heads(self, part: str, at_most: int | None = None) -> Iterator[Anatomy]:
        """Give the heads of a part, each built when its turn comes."""
        return (self.read(part, index) for index in range(len(self.names(part)))[:at_most])

    def record(self, parts: Sequence[str]) -> dict[str, list[str]] | None:
        """Return the names by part, as JSON values; None where random numbers decide everything."""
        return {part: list(self.names(part)) for part in parts}


@final
@dataclass(frozen=True)
class BrainwebHeads(HeadSource):
    """BrainWeb's crisp heads in a folder, split by name (`split_subjects`).

    Attributes:
        folder: All heads: the split depends on the list.
    """

    folder: Path

    @cached_property
    def _files(self) -> dict[str, Path]:
        return {subject_of(path): path for path in find_brainweb(self.folder)}

    def _numbers(self, part: str) -> tuple[str, ...]:
        if part == ALL:
            return tuple(self._files)
        numbers = split_subjects(self._files)[part]
        if not numbers:
            raise UsageError(
                f"{len(self._files)} heads leave none for {part}",
                remedy="Give the folder of all heads, at least seven; or omit --brainweb-dir.",
            )
        return numbers

    def names(self, part: str) -> tuple[str, ...]:
        """Return the names of the files."""
        return tuple(self._files[number].name for number in self._numbers(part))

    def subjects(self, part: str) -> tuple[str, ...]:
        """Return the subjects as model cards and scores name them."""
        return tuple(f"brainweb{number}" for number in self._numbers(part))

    def read(self, part: str, index: int) -> Anatomy:
        """Read one file."""
        return with_nuclei(read_brainweb(self._files[self._numbers(part)[index]]))


@final
@dataclass(frozen=True, kw_only=True)
class ProceduralHeads(HeadSource):
    """Heads drawn from random numbers, all on one grid.

    Attributes:
        generator: Of the head with this index in this part.
        counts: Number of heads in each part.
        shape: Voxels.
        voxel_mm: Size of a voxel [mm].
        centre_mm: Centre of the grid in the head [mm].
    """

    generator: Callable[[str, int], torch.Generator]
    counts: Mapping[str, int]
    shape: tuple[int, int, int]
    voxel_mm: tuple[float, float, float]
    centre_mm: tuple[float, float, float]

    def names(self, part: str) -> tuple[str, ...]:
        """Return numbers."""
        return tuple(map(str, range(self.counts[part])))

    def read(self, part: str, index: int) -> Anatomy:
        """Draw one head."""
        return procedural_head(
            self.generator(part, index),
            shape=self.shape,
            voxel_mm=self.voxel_mm,
            centre_mm=self.centre_mm,
        )

    def record(self, parts: Sequence[str]) -> None:
        """Return None."""


@final
@dataclass(frozen=True, kw_only=True)
class LabelImageHead(HeadSource):
    """The head of a label image.

    Attributes:
        image: NIfTI file of whole numbers.
        materials: JSON file with the material of each number.
    """

    image: Path
    materials: Path

    def names(self, part: str) -> tuple[str, ...]:
        """Return the name of the image without its extension."""
        return (self.image.name.split(".")[0],)

    def read(self, part: str, index: int) -> Anatomy:
        """Read it; its labels are kept as they are."""
        return read_labels(self.image, self.materials, subject=self.names(part)[index])


@final
@dataclass(frozen=True)
class Mni152Head(HeadSource):
    """The average head that nilearn carries."""

    def names(self, part: str) -> tuple[str, ...]:
        """Return its name."""
        return (MNI152,)

    def read(self, part: str, index: int) -> Anatomy:
        """Read it."""
        return with_nuclei(read_mni152())


def whole_heads(seed: int, counts: Mapping[str, int], *, coarser: int = 1) -> ProceduralHeads:
    """Return whole heads drawn from random numbers; those of different parts have nothing in common.

    Args:
        seed: Of all of them.
        counts: Number of heads in each part.
        coarser: Factor on the size of a voxel, over the same field of view.
    """
    x, y, z = (count // coarser for count in WHOLE_SHAPE)
    a, b, c = (size * coarser for size in WHOLE_VOXEL_MM)
    return ProceduralHeads(
        generator=lambda part, index: seeded_generator(seed, "whole head", part, index),
        counts=counts,
        shape=(x, y, z),
        voxel_mm=(a, b, c),
        centre_mm=WHOLE_CENTRE_MM,
    )


def record_of_folder(folder: Path | None, parts: Sequence[str]) -> dict[str, list[str]] | None:
    """Return the record of BrainWeb's heads of a folder; None where there is no folder."""
    return None if folder is None else BrainwebHeads(folder).record(parts)


def head_source(folder: Path | None, otherwise: HeadSource) -> HeadSource:
    """Return BrainWeb's heads of a folder, or another source where there is no folder."""
    return otherwise if folder is None else BrainwebHeads(folder)
