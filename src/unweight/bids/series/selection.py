"""Which images of a folder make one series, when nothing but their sidecars says so."""

from collections.abc import Sequence
from pathlib import Path

from unweight.bids.nifti.grid import Grid
from unweight.bids.nifti.volume import open_grid
from unweight.bids.series.part import Entry, choose_part, choose_parts_of_complex
from unweight.core.acquisition import SignalKind
from unweight.core.errors import InputError, ProtocolError

MOST_NAMED = 6


def select_series(
    folder: Path, entries: Sequence[Entry], kind: SignalKind | None
) -> tuple[tuple[Entry, ...], tuple[str, ...]]:
    """Choose the one series of a folder: images of one part on one grid, told apart by their timing.

    If any image has an inversion time, those without are ignored. Grids with a single image are
    ignored if another grid has several.

    Returns:
        The images, and notes on what was ignored.

    Raises:
        InputError: There is more than one series, or none.
    """
    timed = [entry for entry in entries if entry.sidecar.fields.get("InversionTime") is not None]
    if kind is SignalKind.COMPLEX:
        first, second = choose_parts_of_complex(timed or entries).values()
        return (*first, *second), ()
    candidates, _, notes = choose_part(timed or entries, kind)
    groups = by_grid(candidates)
    several = [members for _, members in groups if len(members) > 1]
    if len(several) > 1 or (len(groups) > 1 and not several):
        listed = "; ".join(named(members) for _, members in groups)
        raise InputError(
            f"holds more than one series, on {len(groups)} grids: {listed}",
            remedy="Give the folder, or the files, of one series.",
            path=folder,
        )
    chosen = several[0] if several else groups[0][1]
    _check_distinct(folder, chosen)
    if len(chosen) < len(candidates) or (timed and len(timed) < len(entries)):
        untimed = [entry for entry in entries if entry not in timed] if timed else []
        elsewhere = [entry for entry in candidates if entry not in chosen]
        reasons = [f"{named(untimed)} without inversion time"] if untimed else []
        reasons += [f"{named(elsewhere)} on another grid"] if elsewhere else []
        notes.append(
            f"{len(chosen)} of {len(entries)} images form the series; ignored: {', '.join(reasons)}"
        )
    return tuple(chosen), tuple(notes)


def by_grid(entries: Sequence[Entry]) -> list[tuple[Grid, list[Entry]]]:
    """Return the images of each grid, in their order."""
    groups: list[tuple[Grid, list[Entry]]] = []
    for entry in entries:
        grid = open_grid(entry.path)
        group = next((members for other, members in groups if grid.same_as(other)), None)
        if group is None:
            groups.append((grid, [entry]))
        else:
            group.append(entry)
    return groups


def named(entries: Sequence[Entry]) -> str:
    """Return the names of a few images."""
    names = ", ".join(entry.path.name for entry in entries[:MOST_NAMED])
    more = len(entries) - MOST_NAMED
    return f"{names} and {more} more" if more > 0 else names


def _check_distinct(folder: Path, entries: Sequence[Entry]) -> None:
    """Refuse a scan that was repeated: which of the two is meant cannot be known.

    Repetitions within one DICOM series are volumes of one scan, and stay.
    """
    known: dict[tuple[float | None, float | None, float | None], Entry] = {}
    for entry in entries:
        angle = entry.sidecar.fields.get("FlipAngle")
        key = (
            entry.sidecar.number("InversionTime"),
            entry.sidecar.number("EchoTime"),
            None if isinstance(angle, list) else entry.sidecar.number("FlipAngle"),
        )
        other = known.setdefault(key, entry)
        if other is entry or (entry.scan is not None and entry.scan == other.scan):
            continue
        if key[:2] == (None, None):
            continue
        if key[0] is None:
            raise ProtocolError(
                f"{named(entries)} have no inversion time, and {entry.path.name} and {other.path.name} "
                "have the same echo time: they cannot be distinguished",
                remedy="Give their inversion times with --ti, or echo times with --te, one per volume in "
                "this order, or the files of one series.",
                path=folder,
            )
        raise InputError(
            f"{other.path.name} and {entry.path.name} have the same inversion and echo time",
            remedy="Give the folder, or the files, of one series.",
            path=folder,
        )
