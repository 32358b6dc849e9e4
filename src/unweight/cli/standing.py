"""Where results stand: maps of other images are kept, those of the same replaced, pictures have a place."""

import argparse
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from unweight.bids.derivatives.description import DerivedImage
from unweight.bids.derivatives.provenance import Provenance
from unweight.bids.derivatives.write import (
    WrittenMaps,
    anat_folder,
    sidecar_path,
    sources_of,
    visit_locked,
    write_maps_locked,
)
from unweight.bids.names import subject_folder
from unweight.core.errors import OutputError
from unweight.core.maps import ParameterMaps
from unweight.core.parameter import ParameterSpec
from unweight.files.atomic import check_not_among_raw, check_room, check_within, write_bytes_atomic
from unweight.report.figures import draw_maps
from unweight.signals.inversion_recovery import T1


@final
@dataclass(frozen=True, kw_only=True)
class Destination:
    """Where a set of maps goes, and what it is made of.

    Attributes:
        out: Root of the derivatives.
        entities: Of the set.
        sources: What it is made from.
        root: Of the BIDS tree they lie in, if they lie in one.
        first: Its first map.
    """

    out: Path
    entities: Mapping[str, str]
    sources: tuple[str, ...]
    root: Path | None
    first: ParameterSpec

    def check(self, voxels: Sequence[int]) -> None:
        """Refuse what could not be written, before it is computed.

        Args:
            voxels: How many there are along each axis; a set takes at least a byte of each.

        Raises:
            OutputError: The folder lies among the raw images, a link leads out of it, maps of other sources
                have the name of the set, or it cannot be written.
        """
        if self.root is not None:
            check_not_among_raw(self.out, self.root)
        self.check_name()
        check_room(self.out, anat_folder(self.out, self.entities), math.prod(voxels))

    def check_name(self) -> None:
        """Refuse to write over maps of other sources.

        Raises:
            OutputError: They have the name of the set.
        """
        refuse_other_sources(self.out, self.entities, self.sources, self.first.suffix, self.first.desc)


def keep(
    maps: ParameterMaps,
    where: Destination,
    provenance: Provenance,
    label: str,
    arguments: argparse.Namespace,
    beside: Sequence[DerivedImage] = (),
) -> tuple[WrittenMaps, Path | None]:
    """Write a set of maps and its picture, while no other process writes those of this visit.

    Args:
        maps: The set.
        where: It goes.
        provenance: Where it comes from.
        label: Title of the picture.
        arguments: Of the command: whether pictures are wanted.
        beside: Further images of the set.

    Returns:
        What was written, and where the picture is, if one is wanted.
    """
    with visit_locked(where.out, where.entities):
        where.check_name()  # another process may have been faster
        sidecar = sidecar_path(where.out, where.entities, where.first.suffix, where.first.desc)
        picture = figure_path(where.out, sidecar.with_suffix(".nii.gz"), where.entities["sub"])
        outdated = (picture, *_measured_in(sidecar, picture))
        written = write_maps_locked(maps, where.out, where.entities, provenance, beside, outdated)
        if arguments.no_figures:
            return written, None
        write_bytes_atomic(picture, draw_maps(maps, label))
        return written, picture


def _measured_in(sidecar: Path, picture: Path) -> Iterator[Path]:
    """Give the tables and pictures of phantoms that were found in a set of maps of T1."""
    stem = sidecar.name.removesuffix(f"_{T1.suffix}.json")
    if stem != sidecar.name:
        yield from sidecar.parent.glob(f"{stem}_desc-plate?_phantom.tsv")
        yield from picture.parent.glob(f"{stem}_desc-plate?_phantom.png")


def refuse_other_sources(
    out: Path, entities: Mapping[str, str], sources: tuple[str, ...], suffix: str, desc: str = ""
) -> None:
    """Refuse to write over the maps of other images.

    Args:
        out: Root of the derivatives.
        entities: Of the set that would be written.
        sources: What it is made from.
        suffix: Of its first map.
        desc: Likewise.

    Raises:
        OutputError: Maps of other sources have this name, or a link leads out of the folder.
    """
    check_within(out, subject_folder(out, entities) / "anat")
    check_within(out, out / f"sub-{entities['sub']}" / "figures")
    try:
        there = sources_of(out, entities, suffix, desc)
    except PermissionError as error:
        raise OutputError(
            "may not be read, so what stands there is not known",
            remedy="Choose another folder with -o.",
            path=out / f"sub-{entities['sub']}",
        ) from error
    if there is not None and there != sources:
        name = "_".join(f"{key}-{label}" for key, label in entities.items())
        raise OutputError(
            f"maps of other images stand there under the name {name}",
            remedy="Choose another folder with -o; what is not in a BIDS tree is always called sub-01.",
            path=out / f"sub-{entities['sub']}",
        )


def figure_path(out: Path, image: Path, subject: str) -> Path:
    """Return where the picture of a map goes: the subject's folder of figures."""
    return out / f"sub-{subject}" / "figures" / image.name.replace(".nii.gz", ".png")
