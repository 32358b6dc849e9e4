"""Candidates of an exam from NIfTI files: of a folder, or of one visit of a BIDS tree."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from unweight.bids.collection import Collection
from unweight.bids.exam.choice import Candidate
from unweight.bids.exam.kind import kind_of_entry
from unweight.bids.inheritance import entry_in_tree
from unweight.bids.names import BidsName, image_stem, parse_stem
from unweight.bids.read import entry_of
from unweight.bids.series.part import Entry
from unweight.bids.series.weighted import CONTRASTS
from unweight.bids.sidecar import Part, Sidecar
from unweight.core.errors import InputError

MAGNITUDES = ("", "mag")


def contrast_named(path: Path) -> str:
    """Return the contrast in which the name of an image ends; empty if it ends in none."""
    ending = (image_stem(path) or path.name).rpartition("_")[2].lower()
    return next((name for name in CONTRASTS if name.lower() == ending), "")


def candidates_of_files(paths: Sequence[Path]) -> tuple[Candidate, ...]:
    """Return what each of some NIfTI files is: its name tells it, or else its sidecar.

    Args:
        paths: In natural order.
    """
    result = []
    for place, path in enumerate(paths):
        entry, fault = _entry(path, None)
        number = entry.sidecar.fields.get("SeriesNumber")
        first = number if isinstance(number, int) and not isinstance(number, bool) else 0
        label = path.name
        result.append(_candidate(entry, contrast_named(path), label, (first, place), fault))
    return tuple(result)


def candidates_of_visit(series: Sequence[Collection]) -> tuple[Candidate, ...]:
    """Return the T1w, T2w and FLAIR of one visit of a BIDS tree; parts other than magnitude are not listed.

    Args:
        series: Of the visit, in natural order.
    """
    result = []
    weighted = [item for item in series if item.suffix in CONTRASTS]
    for place, item in enumerate(weighted):
        for part in MAGNITUDES:
            for path in item.files.get(part, ()):
                entry, fault = _entry(path, item.root)
                result.append(_candidate(entry, item.suffix, path.name, (place,), fault))
    return tuple(result)


def _entry(path: Path, root: Path | None) -> tuple[Entry, InputError | None]:
    """Return an image with its sidecar, or with an empty one and what is wrong with its own."""
    try:
        return entry_of(path) if root is None else entry_in_tree(root, path), None
    except InputError as error:
        return Entry(path=path, sidecar=Sidecar(image=path)), error


def _candidate(
    entry: Entry, named: str, label: str, order: tuple[int, ...], fault: InputError | None
) -> Candidate:
    name = parse_stem(image_stem(entry.path) or "")
    entities = name.entities if isinstance(name, BidsName) and "sub" in name.entities else {}
    kind = kind_of_entry(entry, named)
    if "ce" in entities and entry.part in (None, Part.MAGNITUDE):
        kind = replace(kind, agent=f"ce-{entities['ce']}")
    description = entry.sidecar.fields.get("SeriesDescription")
    return Candidate(
        label=label,
        nameless=label if entities else f"image {order[-1] + 1}",
        entry=entry,
        kind=kind,
        order=order,
        entities=len(entities),
        description=description if isinstance(description, str) else "",
        fault=fault,
    )
