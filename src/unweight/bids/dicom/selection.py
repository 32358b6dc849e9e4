"""Which converted images of a DICOM folder make the series that was asked for, and what is ignored."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from unweight.bids.dicom.convert import Conversion, ConvertedImage
from unweight.bids.dicom.series import Portion, check_steady_offsets, gaps, listing
from unweight.bids.inheritance import entry_beside
from unweight.bids.nifti.grid import Grid
from unweight.bids.series.overrides import ProtocolOverrides
from unweight.bids.series.part import Entry, choose_part
from unweight.bids.series.selection import by_grid, named, select_series
from unweight.core.acquisition import SignalKind
from unweight.core.errors import InputError, ProtocolError

INVERSION_TIME = "InversionTime"
SEVERAL = 20  # series that are listed at most


def select_converted(
    folder: Path, conversion: Conversion, given: ProtocolOverrides
) -> tuple[tuple[Entry, ...], tuple[str, ...], tuple[str, ...]]:
    """Choose the one series of a folder.

    Returns:
        The images, notes on what was ignored, and what is missing.

    Raises:
        InputError: There is more than one series, or none, or the order of its volumes is not known.
    """
    portions = {image.path: image.portion for image in conversion.images}
    entries, notes = _originals([entry_of_converted(image) for image in conversion.images], portions, given)
    _check_one_time_per_volume(folder, list(portions.values()), given)
    if not given.by_volume:
        chosen, more = select_series(folder, entries, given.kind)
    else:
        chosen, more = _of_as_many(folder, entries, given)
    used = list({id(item): item for item in (portions[entry.path] for entry in chosen)}.values())
    _check_order(folder, used, given)
    _check_taken_apart(folder, used)
    shifted = _slices_that_differ(folder, used)
    faults = (*conversion.faults, *gaps(used))
    if given.kind is SignalKind.COMPLEX and conversion.n_lost:
        raise InputError("; ".join(faults), remedy="Copy or export them again.", path=folder)
    return chosen, (*conversion.notes, *notes, *more, *shifted), faults


def advice(conversion: Conversion) -> str:
    """Return what to do where the series of a folder are not what was expected."""
    if len(conversion.series) < 2:
        return ""
    more = len(conversion.series) - SEVERAL
    rest = f"; and {more} more" if more > 0 else ""
    displayed = listing(conversion.series[:SEVERAL])
    return f"Choose with --series N, one number or several. The folder holds {displayed}{rest}."


def entry_of_converted(image: ConvertedImage) -> Entry:
    """Return an image with its sidecar, and with the inversion time of its headers where that lacks it."""
    entry = entry_beside(image.path)
    fields = dict(entry.sidecar.fields)
    time = image.portion.inversion_time
    if image.portion.slice_times:
        fields.pop(INVERSION_TIME, None)
    elif time is not None and fields.get(INVERSION_TIME) is None:
        fields[INVERSION_TIME] = time
    scan = image.portion.images[0].series
    return replace(entry, sidecar=entry.sidecar.with_fields(fields), scan=scan)


def _originals(
    entries: Sequence[Entry], portions: dict[Path, Portion], given: ProtocolOverrides
) -> tuple[list[Entry], list[str]]:
    """Leave images aside that the scanner derived from others, as T1 maps, where there are others."""
    derived = [entry for entry in entries if "DERIVED" in portions[entry.path].images[0].part]
    parts = {entry.part for entry in entries if entry not in derived}
    left = [entry for entry in derived if entry.part in parts]
    if given.kind is SignalKind.COMPLEX or not left:
        return list(entries), []
    kept = [entry for entry in entries if entry not in left]
    return kept, [f"{named(left)}: derived from other images, ignored"]


def _of_as_many(
    folder: Path, entries: Sequence[Entry], given: ProtocolOverrides
) -> tuple[tuple[Entry, ...], tuple[str, ...]]:
    """Choose the images on one grid of which there are as many as times are given."""
    times = given.inversion_time or given.echo_time or ()
    if given.kind is SignalKind.COMPLEX:
        return tuple(entries), ()
    candidates, _, notes = choose_part(entries, given.kind)
    groups = by_grid(candidates)
    if len(groups) == 1:
        return tuple(candidates), tuple(notes)
    fitting = [(grid, members) for grid, members in groups if _fits(members, len(times))]
    if len(fitting) != 1:
        raise InputError(
            f"{len(times)} times are given, and the images lie on {len(groups)} grids: "
            + "; ".join(f"{_shape(grid)}: {named(members)}" for grid, members in groups),
            remedy="Give the times of one series, one per volume.",
            path=folder,
        )
    ((_, chosen),) = fitting
    aside = [entry for entry in candidates if entry not in chosen]
    return tuple(chosen), (*notes, f"{named(aside)}: on another grid, ignored")


def _fits(members: Sequence[Entry], n_times: int) -> bool:
    known = {entry.sidecar.fields.get(INVERSION_TIME) for entry in members} - {None}
    return n_times in (len(members), len(known))


def _shape(grid: Grid) -> str:
    return " x ".join(str(size) for size in grid.shape)


def _check_order(folder: Path, used: Sequence[Portion], given: ProtocolOverrides) -> None:
    """Refuse times by hand where nothing says in which order the volumes were acquired."""
    if given.inversion_time is None:
        return
    places = [portion.place for portion in used if portion.inversion_time is None]
    if len(set(places)) < len(places) or any(portion.unordered for portion in used):
        raise ProtocolError(
            "the times cannot be assigned to volumes: series number, acquisition time and image number "
            "are equal for several of them, or inconsistent",
            remedy="Choose series with --series, or convert the files and give the images in order.",
            path=folder,
        )


def _check_one_time_per_volume(folder: Path, portions: Sequence[Portion], given: ProtocolOverrides) -> None:
    """Refuse inversion times that differ from slice to slice, unless those of volumes are given."""
    shifted = [portion for portion in portions if portion.slice_times]
    if not shifted or given.inversion_time is not None:
        return
    names = ", ".join(dict.fromkeys(portion.series.name for portion in shifted))
    raise ProtocolError(
        _difference(shifted),
        remedy=f"Give the nominal time of each of the {len(shifted)} volumes with --ti, in the order of "
        f"{names}; T1 is then correct; only the inversion efficiency is biased.",
        path=folder,
    )


def _check_taken_apart(folder: Path, used: Sequence[Portion]) -> None:
    """Refuse files of many frames that hold several times: dcm2niix tells one of them."""
    for image in (image for portion in used for image in portion.images if image.n_frames > 1):
        for label, times in (("inversion", image.inversion_times), ("echo", image.echo_times)):
            if len(times) > 1:
                raise ProtocolError(
                    f"{image.path.name} holds {len(times)} {label} times in {image.n_frames} frames, "
                    "which cannot be distinguished after conversion",
                    remedy="Export it with one file for each time, or as classic DICOM.",
                    path=folder,
                )


def _slices_that_differ(folder: Path, used: Sequence[Portion]) -> tuple[str, ...]:
    """Say what given times mean where those of slices differ; refuse a difference that is not steady."""
    shifted = [portion for portion in used if portion.slice_times]
    if not shifted:
        return ()
    try:
        check_steady_offsets(shifted)
    except InputError as error:
        raise ProtocolError(error.problem, remedy=error.remedy, path=folder) from error
    return (
        f"{_difference(shifted)}; with the times given, only the inversion efficiency is biased, and "
        "T1 is correct, unless the efficiency is fixed (--efficiency)",
    )


def _difference(shifted: Sequence[Portion]) -> str:
    times = shifted[0].slice_times
    return (
        f"the inversion time varies between slices ({min(times):g} to {max(times):g} ms in the first "
        "volume)"
    )
