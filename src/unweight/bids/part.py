"""Image files with their sidecars, and which part of the complex image each of them holds."""

from collections.abc import Sequence
from dataclasses import dataclass
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
    """

    path: Path
    sidecar: Sidecar
    part: Part | None = None


def choose_part(
    entries: Sequence[Entry], wanted: SignalKind | None
) -> tuple[list[Entry], SignalKind, list[str]]:
    """Choose magnitude or real images, if both are there.

    Returns:
        The files chosen, what they hold, and a note if something was left aside.

    Raises:
        InputError: There is none of the kind that is wanted.
    """
    if not entries:
        raise InputError("no images to read", remedy="Give at least one file.")
    by_part: dict[Part | None, list[Entry]] = {}
    for entry in entries:
        by_part.setdefault(entry.part, []).append(entry)
    if wanted is SignalKind.COMPLEX:
        raise InputError("complex series are read by another door", path=entries[0].path)
    taken = TAKEN[wanted]
    part = next((part for part in taken if part in by_part), Part.PHASE)
    if part not in taken:
        found = ", ".join(sorted(_part_name(part) for part in by_part))
        raise InputError(
            f"no {'magnitude' if wanted is None else wanted.value} images here, only {found} images",
            remedy="Ask for another kind, or give other files.",
            path=entries[0].path,
        )
    chosen = by_part[part]
    notes: list[str] = []
    if len(chosen) < len(entries):
        left = sorted(_part_name(other) for other in by_part if other is not part)
        notes.append(f"{_part_name(part)} images are used; {', '.join(left)} images are left aside")
    signed = part is Part.REAL or wanted is SignalKind.SIGNED
    return chosen, SignalKind.SIGNED if signed else SignalKind.MAGNITUDE, notes


def _part_name(part: Part | None) -> str:
    return "unlabelled" if part is None else part.name.lower()
