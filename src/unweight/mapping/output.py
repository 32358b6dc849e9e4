"""Where a set of maps goes: maps of other images are kept, those of the same are replaced."""

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
from unweight.signals.parameters import T1


@final
@dataclass(frozen=True, kw_only=True)
class OutputSet:
    """What a set of maps is called, and what it is made from.

    Attributes:
        entities: BIDS entities of the set.
        sources: What it is made from.
        root: Of the BIDS tree the sources lie in, if they lie in one.
        first: Its first map.
        voxels: Shape of its grid.
    """

    entities: Mapping[str, str]
    sources: tuple[str, ...]
    root: Path | None
    first: ParameterSpec
    voxels: tuple[int, ...]


@final
@dataclass(frozen=True, kw_only=True)
class Destination:
    """A folder of derivatives, for one set of maps.

    Attributes:
        out: Root of the derivatives.
        output: The set.
    """

    out: Path
    output: OutputSet

    def check(self) -> None:
        """Refuse what could not be written, before it is computed; a set takes at least a byte a voxel.

        Raises:
            OutputError: The folder lies among the raw images, a link leads out of it, maps of other sources
                have the name of the set, or it cannot be written.
        """
        if self.output.root is not None:
            check_not_among_raw(self.out, self.output.root)
        self.check_name()
        check_room(self.out, anat_folder(self.out, self.output.entities), math.prod(self.output.voxels))

    def check_name(self) -> None:
        """Refuse to write over maps of other sources.

        Raises:
            OutputError: They have the name of the set.
        """
        check_overwrite(
            self.out,
            self.output.entities,
            self.output.sources,
            self.output.first.suffix,
            self.output.first.desc,
        )


def write_set(
    maps: ParameterMaps,
    where: Destination,
    provenance: Provenance,
    title: str,
    *,
    beside: Sequence[DerivedImage] = (),
    figures: bool = True,
) -> tuple[WrittenMaps, Path | None]:
    """Write a set of maps and its picture, while no other process writes those of this visit.

    Args:
        maps: The set.
        where: It goes.
        provenance: Where it comes from.
        title: Of the picture.
        beside: Further images of the set.
        figures: Whether the picture is drawn.

    Returns:
        What was written, and where the picture is, if one was drawn.
    """
    entities, first = where.output.entities, where.output.first
    with visit_locked(where.out, entities):
        where.check_name()  # another process may have been faster
        sidecar = sidecar_path(where.out, entities, first.suffix, first.desc)
        picture = figure_path(where.out, sidecar.with_suffix(".nii.gz"), entities["sub"])
        outdated = (picture, *_measured_in(sidecar, picture))
        written = write_maps_locked(maps, where.out, entities, provenance, beside, outdated)
        if not figures:
            return written, None
        write_bytes_atomic(picture, draw_maps(maps, title))
        return written, picture


def _measured_in(sidecar: Path, picture: Path) -> Iterator[Path]:
    """Give the tables and pictures of phantoms that were measured in a set of maps of T1."""
    stem = sidecar.name.removesuffix(f"_{T1.suffix}.json")
    if stem != sidecar.name:
        yield from sidecar.parent.glob(f"{stem}_desc-plate?_phantom.tsv")
        yield from picture.parent.glob(f"{stem}_desc-plate?_phantom.png")


def check_overwrite(
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
            "cannot be read, so its contents are unknown",
            remedy="Choose another folder with -o.",
            path=out / f"sub-{entities['sub']}",
        ) from error
    if there is not None and there != sources:
        name = "_".join(f"{key}-{label}" for key, label in entities.items())
        raise OutputError(
            f"the output already holds maps of other images under the name {name}",
            remedy="Choose another folder with -o, or give files another subject with --subject.",
            path=out / f"sub-{entities['sub']}",
        )


def figure_path(out: Path, image: Path, subject: str) -> Path:
    """Return where the picture of a map goes: the subject's folder of figures."""
    return out / f"sub-{subject}" / "figures" / image.name.replace(".nii.gz", ".png")
