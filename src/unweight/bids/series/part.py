"""Image files with their sidecars, and which part of the complex image each of them holds."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

from unweight.bids.sidecar import Part, Sidecar
from unweight.core.acquisition import SignalKind
from unweight.core.errors import InputError

# What is taken for each kind, the best first. Without a wish, real images count only if alone.
TAKEN: dict[SignalKind | None, tuple[Part | None, ...]] = {
    None: (Part.MAGNITUDE, None, Part.REAL),
    SignalKind.MAGNITUDE: (Part.MAGNITUDE, None),
    SignalKind.SIGNED: (Part.REAL, None, Part.MAGNITUDE),
}


@final
@dataclass(frozen=True, kw_only=True)
class Entry:
    """One image file and what is written beside it.

    Attributes:
        path: The image.
        sidecar: Its sidecar, inherited fields included; empty without one.
        part: Which part of the complex image it is, if that is known.
        scan: What images of one scan share, if that is known; images of a scan may repeat a time.
    """

    path: Path
    sidecar: Sidecar
    part: Part | None = None
    scan: str | None = None


def choose_part(
    entries: Sequence[Entry], wanted: SignalKind | None
) -> tuple[list[Entry], SignalKind, list[str]]:
    """Choose magnitude or real images, if both are there.

    Returns:
        The files chosen, what they hold, and a note if something was ignored.

    Raises:
        InputError: There is none of the kind that is wanted.
    """
    by_part = _by_part(entries)
    taken = TAKEN[wanted]
    part = next((part for part in taken if part in by_part), Part.PHASE)
    if part not in taken:
        text = " and ".join(sorted(_part_name(part) for part in by_part))
        kind = "magnitude" if wanted is None else wanted.value
        raise InputError(
            f"no {kind} images in this input, only {text} images",
            remedy=f"Give {kind} images.",
            path=entries[0].path,
        )
    chosen = by_part[part]
    notes: list[str] = []
    if len(chosen) < len(entries):
        left = sorted(_part_name(other) for other in by_part if other is not part)
        notes.append(f"{_part_name(part)} images are used; {', '.join(left)} images are ignored")
    signed = part is Part.REAL or wanted is SignalKind.SIGNED
    return chosen, SignalKind.SIGNED if signed else SignalKind.MAGNITUDE, notes


def choose_parts_of_complex(entries: Sequence[Entry]) -> dict[Part, list[Entry]]:
    """Choose magnitude and phase, or else real and imaginary part, in this order.

    Raises:
        InputError: Neither pair is complete.
    """
    by_part = _by_part(entries)
    if Part.PHASE in by_part and Part.MAGNITUDE not in by_part and None in by_part:
        # What has no name beside a phase is the magnitude, as some converters leave it.
        by_part[Part.MAGNITUDE] = [replace(item, part=Part.MAGNITUDE) for item in by_part.pop(None)]
    for pair in ((Part.MAGNITUDE, Part.PHASE), (Part.REAL, Part.IMAGINARY)):
        members = {part: by_part.get(part, []) for part in pair}
        if all(members.values()) and len({len(files) for files in members.values()}) == 1:
            return members
    text = ", ".join(f"{len(files)} {_part_name(part)}" for part, files in by_part.items())
    raise InputError(
        f"complex images need magnitude and phase, or real and imaginary parts; found {text}",
        remedy="Put part-mag and part-phase into the file names, or keep the sidecars of dcm2niix.",
        path=entries[0].path,
    )


def _by_part(entries: Sequence[Entry]) -> dict[Part | None, list[Entry]]:
    if not entries:
        raise InputError("no images to read", remedy="Give at least one file.")
    by_part: dict[Part | None, list[Entry]] = {}
    for entry in entries:
        by_part.setdefault(entry.part, []).append(entry)
    return by_part


def _part_name(part: Part | None) -> str:
    return "unlabelled" if part is None else part.name.lower()
