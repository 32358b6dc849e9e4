"""Where results stand: maps of other images are kept, those of the same replaced, pictures have a place."""

import argparse
from collections.abc import Mapping
from pathlib import Path

from unweight.bids.atomic import remove_file, write_bytes_atomic
from unweight.bids.names import subject_folder
from unweight.bids.within import check_within
from unweight.bids.write import sources_of
from unweight.core.errors import OutputError
from unweight.core.maps import ParameterMaps
from unweight.report.figures import draw_maps


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


def redraw(maps: ParameterMaps, image: Path, label: str, arguments: argparse.Namespace) -> Path | None:
    """Replace the picture of a set of maps; return where it is, or None if none is wanted.

    Args:
        maps: The set.
        image: Its first map, as written.
        label: Title of the picture.
        arguments: Of the command: where derivatives go, and whether pictures are wanted.
    """
    subject = image.name.split("_")[0].removeprefix("sub-")
    picture = figure_path(arguments.out, image, subject)
    remove_file(picture)
    if arguments.no_figures:
        return None
    write_bytes_atomic(picture, draw_maps(maps, label))
    return picture
