"""Where results stand: maps of other images are kept, those of the same replaced, pictures have a place."""

from collections.abc import Mapping
from pathlib import Path

from unweight.bids.write import sources_of
from unweight.core.errors import OutputError


def refuse_other_sources(
    out: Path, entities: Mapping[str, str], sources: tuple[str, ...], suffix: str
) -> None:
    """Refuse to write over the maps of other images.

    Args:
        out: Root of the derivatives.
        entities: Of the set that would be written.
        sources: What it is made from.
        suffix: Of its first map.

    Raises:
        OutputError: Maps of other sources have this name.
    """
    there = sources_of(out, entities, suffix)
    if there is not None and there != sources:
        name = "_".join(f"{key}-{label}" for key, label in entities.items())
        raise OutputError(
            f"maps of other images stand there under the name {name}",
            remedy="Choose another folder with -o; what is not in a BIDS tree is always called sub-01.",
            path=out,
        )


def figure_path(out: Path, image: Path, subject: str) -> Path:
    """Return where the picture of a map goes: the subject's folder of figures."""
    return out / f"sub-{subject}" / "figures" / image.name.replace(".nii.gz", ".png")
