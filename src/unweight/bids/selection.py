"""Which images of a folder make one series, when nothing but their sidecars says so."""

from collections.abc import Sequence
from pathlib import Path

from unweight.bids.grid import Grid
from unweight.bids.part import Entry, choose_part, choose_parts_of_complex
from unweight.bids.volume import open_grid
from unweight.core.acquisition import SignalKind
from unweight.core.errors import InputError


def select_series(
    folder: Path, entries: Sequence[Entry], kind: SignalKind | None
) -> tuple[tuple[Entry, ...], tuple[str, ...]]:
    """Choose the one series of a folder: images of one part on one grid, told apart by their timing.

    If any image has an inversion time, those without are left aside. Grids with a single image are
    left aside if another grid has several.

    Returns:
        The images, and notes on what was left aside.

    Raises:
        InputError: There is more than one series, or none.
    """
    timed = [entry for entry in entries if entry.sidecar.fields.get("InversionTime") is not None]
    if kind is SignalKind.COMPLEX:
        first, second = choose_parts_of_complex(timed or entries).values()
        return (*first, *second), ()
    candidates, _, notes = choose_part(timed or entries, kind)
    groups: list[tuple[Grid, list[Entry]]] = []
    for entry in candidates:
        grid = open_grid(entry.path)
        group = next((members for other, members in groups if grid.same_as(other)), None)
        if group is None:
            groups.append((grid, [entry]))
        else:
            group.append(entry)
    several = [members for _, members in groups if len(members) > 1]
    if len(several) > 1 or (len(groups) > 1 and not several):
        listed = "; ".join(", ".join(entry.path.name for entry in members[:3]) for _, members in groups[:4])
        raise InputError(
            f"holds more than one series, on {len(groups)} grids: {listed}",
            remedy="Give the folder, or the files, of one series.",
            path=folder,
        )
    chosen = several[0] if several else groups[0][1]
    _check_distinct(folder, chosen)
    if len(chosen) < len(candidates) or (timed and len(timed) < len(entries)):
        notes.append(f"{len(chosen)} of {len(entries)} images make the series; the others are left aside")
    return tuple(chosen), tuple(notes)


def _check_distinct(folder: Path, entries: Sequence[Entry]) -> None:
    """Refuse a scan that was repeated: which of the two is meant cannot be known."""
    seen: dict[tuple[float | None, float | None], Entry] = {}
    for entry in entries:
        key = (entry.sidecar.number("InversionTime"), entry.sidecar.number("EchoTime"))
        if key in seen and key != (None, None):
            raise InputError(
                f"{entry.path.name} and {seen[key].path.name} have the same inversion and echo time",
                remedy="Give the folder, or the files, of one series.",
                path=folder,
            )
        seen[key] = entry
