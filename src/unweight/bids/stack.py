"""Files of one series, brought together: one grid, one kind, timings that agree, volumes in order."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unweight.bids.grid import Grid, check_same_grid
from unweight.bids.philips import Rescaling, rescalings
from unweight.bids.part import Entry, choose_part
from unweight.bids.sidecar import Part, Sidecar, Timing, check_timing, timing_of
from unweight.bids.volume import Volume, open_volume
from unweight.core.acquisition import Acquisition, SignalKind
from unweight.core.errors import InputError, ProtocolError
from unweight.core.protocol import PER_VOLUME, Protocol, protocol_from_values

LOG = logging.getLogger(__name__)

SAME_TIME = 1e-3
SAME_FIELD = 0.05
# The timing that orders a series, and the others that may differ within it.
ORDERED_BY = ("inversion_time", "echo_time")
MAY_DIFFER = {
    "inversion_time": {"inversion_time", "repetition_time"},
    "echo_time": {"echo_time", "readout_time"},
}
GIVEN_TIMES = ("inversion_time", "repetition_time", "echo_time", "readout_time")
LISTED = {
    "InversionTime",
    "RepetitionTime",
    "RepetitionTimeExcitation",
    "RepetitionTimePreparation",
    "EchoTime",
}


@final
@dataclass(frozen=True, kw_only=True)
class Given:
    """What the caller says about the files; it wins over sidecars.

    Attributes:
        inversion_time: One per volume [s].
        repetition_time: One for all, or one per volume [s].
        echo_time: One for all, or one per volume [s].
        readout_time: From excitation to the last refocused echo; one for all, or one per volume [s].
        kind: What the numbers are; None to take what the files say.
        mask: A NIfTI file on the same grid, not 0 where to work.
    """

    inversion_time: tuple[float, ...] | None = None
    repetition_time: tuple[float, ...] | None = None
    echo_time: tuple[float, ...] | None = None
    readout_time: tuple[float, ...] | None = None
    kind: SignalKind | None = None
    mask: Path | None = None


NOTHING_GIVEN = Given()


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Stack:
    """A series in memory.

    Attributes:
        acquisition: The volumes in order.
        entries: The files the volumes come from, in the order of the volumes, each once.
        notes: What a careful reader should know.
    """

    acquisition: Acquisition
    entries: tuple[Entry, ...]
    notes: tuple[str, ...]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class _Frame:
    """One volume of a series."""

    data: Float[Tensor, "x y z"]
    saturated: Bool[Tensor, "x y z"] | None
    grid: Grid
    entry: Entry
    timing: Timing


def stack(entries: Sequence[Entry], given: Given = NOTHING_GIVEN) -> Stack:
    """Read the files of one series and bring them together.

    Args:
        entries: The files, in the order in which given times count them.
        given: What the caller says about them.

    Raises:
        InputError: A file is unusable, or they do not make one series.
        ProtocolError: A timing is missing, impossible, or not one per volume.
    """
    chosen, kind, notes = choose_part(entries, given.kind)
    volumes = [open_volume(entry.path) for entry in chosen]
    for volume in volumes:
        notes += [f"{volume.grid.path.name}: {note}" for note in volume.notes]
    frames = _frames(chosen, volumes)
    check_same_grid([frame.grid for frame in frames])
    frames = _apply_given(frames, given)
    order = _ordering([frame.timing for frame in frames])
    if order is not None:
        frames = sorted(frames, key=lambda frame: _known(frame.timing, order))
    if kind is SignalKind.MAGNITUDE:
        _check_sign(frames)
    signal = torch.stack([frame.data for frame in frames], dim=-1)
    acquisition = Acquisition(
        signal=signal,
        protocol=_protocol(frames, order),
        kind=kind,
        mask=None if given.mask is None else read_mask(given.mask, frames[0].grid),
        affine=frames[0].grid.affine,
        saturated=_saturated(frames),
    )
    for note in notes:
        LOG.warning(note)
    used = {id(frame.entry): frame.entry for frame in frames}
    return Stack(acquisition=acquisition, entries=tuple(used.values()), notes=tuple(notes))


def _frames(entries: Sequence[Entry], volumes: Sequence[Volume]) -> list[_Frame]:
    """Cut the files into volumes, each with its timing, all in one unit."""
    scalings = rescalings([entry.sidecar for entry in entries])
    frames: list[_Frame] = []
    for entry, volume, scaling in zip(entries, volumes, scalings, strict=True):
        data = volume.data if volume.data.ndim == 4 else volume.data[..., None]
        saturated = volume.saturated
        if saturated is not None and saturated.ndim == 3:
            saturated = saturated[..., None]
        n_volumes = data.shape[-1]
        for index in range(n_volumes):
            timing = timing_of(_of_volume(entry.sidecar, index, n_volumes))
            frames.append(
                _Frame(
                    data=_rescaled(data[..., index], scaling),
                    saturated=None if saturated is None else saturated[..., index],
                    grid=volume.grid,
                    entry=entry,
                    timing=timing,
                )
            )
    return frames


def _rescaled(data: Float[Tensor, "x y z"], scaling: Rescaling) -> Float[Tensor, "x y z"]:
    return data if scaling == Rescaling() else data * scaling.factor + scaling.offset


def _of_volume(sidecar: Sidecar, index: int, n_volumes: int) -> Sidecar:
    """Take one volume's number where a sidecar lists one per volume; one TI for many is none."""
    picked = dict(sidecar.fields)
    for name in LISTED & set(picked):
        value = picked[name]
        if not isinstance(value, list):
            continue
        if len(value) != n_volumes:
            raise ProtocolError(
                f"{name} lists {len(value)} values for {n_volumes} volumes",
                remedy="Write one value per volume.",
                path=sidecar.origin(name),
            )
        picked[name] = value[index]
    if n_volumes > 1 and isinstance(sidecar.fields.get("InversionTime"), int | float):
        raise ProtocolError(
            f"one InversionTime for {n_volumes} volumes; the others are not known",
            remedy="Split the file, or write a list with one value per volume.",
            path=sidecar.origin("InversionTime"),
        )
    return sidecar.with_fields(picked)


def _apply_given(frames: list[_Frame], given: Given) -> list[_Frame]:
    """Let given times win over those of the sidecars."""
    changes: list[dict[str, float]] = [{} for _ in frames]
    for name in GIVEN_TIMES:
        values = getattr(given, name)
        if values is None:
            continue
        if len(values) == 1 and name != "inversion_time":
            values = values * len(frames)
        if len(values) != len(frames):
            raise ProtocolError(
                f"{len(values)} values of {name} for {len(frames)} volumes",
                remedy="Give one value per volume, in the order of the files.",
                path=frames[0].entry.path,
            )
        _check_order(name, values, frames)
        for change, value in zip(changes, values, strict=True):
            change[name] = float(value)
    timed = [replace(f, timing=replace(f.timing, **c)) for f, c in zip(frames, changes, strict=True)]
    for frame in timed:
        check_timing(frame.timing, frame.entry.path)
    return timed


def _check_order(name: str, values: Sequence[float], frames: Sequence[_Frame]) -> None:
    """Refuse times that are those of the sidecars in another order: files were listed differently."""
    known = [getattr(frame.timing, name) for frame in frames]
    if any(value is None for value in known):
        return
    same = all(_close(a, b) for a, b in zip(values, known, strict=True))
    permuted = all(_close(a, b) for a, b in zip(sorted(values), sorted(known), strict=True))
    if permuted and not same:
        listed = ", ".join(
            f"{frame.entry.path.name} {value:g} s" for frame, value in zip(frames, known, strict=True)
        )
        raise ProtocolError(
            f"{name} was given in another order than the files: their sidecars say {listed}",
            remedy="Leave the times out, or give them in the order of the files.",
            path=frames[0].entry.path,
        )


def _close(a: float, b: float) -> bool:
    return abs(a - b) <= SAME_TIME * max(abs(a), abs(b)) + 1e-6


def _known(timing: Timing, name: str) -> float:
    value = getattr(timing, name)
    return -1.0 if value is None else float(value)


def _ordering(timings: Sequence[Timing]) -> str | None:
    """Return the timing that tells the volumes of the series apart, if one does."""
    for name in ORDERED_BY:
        values = {getattr(timing, name) for timing in timings} - {None}
        if len(values) > 1:
            return name
    return None


def _protocol(frames: Sequence[_Frame], order: str | None) -> Protocol:
    """Collect the timings: all volumes or none have each, and only some may differ."""
    collected: dict[str, list[float]] = {}
    for name in PER_VOLUME:
        values = [getattr(frame.timing, name) for frame in frames]
        known = [value for value in values if value is not None]
        if not known:
            continue
        if len(known) < len(values):
            lacking = frames[values.index(None)]
            raise ProtocolError(
                f"{name} is known for {len(known)} of {len(values)} volumes, not for this one",
                remedy="Complete the sidecars, or give the times.",
                path=lacking.entry.path,
            )
        if order is not None and name not in MAY_DIFFER[order]:
            _check_constant(name, values, frames)
        collected[name] = values
    if not collected:
        raise ProtocolError(
            "no timing is known: no sidecar beside it says any, and none was given",
            remedy="Add a JSON sidecar (EchoTime, InversionTime … in seconds), or give the times.",
            path=frames[0].entry.path,
        )
    try:
        return protocol_from_values(field_strength=_field_strength(frames), **collected)
    except ProtocolError as error:
        raise ProtocolError(error.problem, remedy=error.remedy, path=frames[0].entry.path) from error


def _check_constant(name: str, values: Sequence[float], frames: Sequence[_Frame]) -> None:
    for frame, value in zip(frames, values, strict=True):
        if not _close(value, values[0]):
            raise ProtocolError(
                f"{name} is {value:g} here, but {values[0]:g} in {frames[0].entry.path.name}; "
                "these are not volumes of one series",
                remedy="Give the files of one series only.",
                path=frame.entry.path,
            )


def _field_strength(frames: Sequence[_Frame]) -> float | None:
    strengths = [f.timing.field_strength for f in frames if f.timing.field_strength is not None]
    if not strengths:
        return None
    if max(strengths) > (1 + SAME_FIELD) * min(strengths):
        raise ProtocolError(
            f"the field strengths of the volumes differ: {min(strengths):g} T and {max(strengths):g} T",
            remedy="Give the files of one series only.",
            path=frames[0].entry.path,
        )
    return strengths[0]


def _check_sign(frames: Sequence[_Frame]) -> None:
    for frame in frames:
        n_negative = int((frame.data < 0).sum())
        if n_negative == 0:
            continue
        if frame.entry.part is Part.MAGNITUDE:
            raise InputError(
                f"is called a magnitude image, but {n_negative} values are negative",
                remedy="Find out what wrote it, or say that it is signed (--signed).",
                path=frame.entry.path,
            )
        raise InputError(
            f"has {n_negative} negative values, and nothing says that it is a real-part image",
            remedy="Say that it is signed (--signed) if it is; resampling can make negative values too.",
            path=frame.entry.path,
        )


def _saturated(frames: Sequence[_Frame]) -> Bool[Tensor, "x y z"] | None:
    """Return the voxels clipped in any volume; None if no volume can tell."""
    known = [frame.saturated for frame in frames if frame.saturated is not None]
    return torch.stack(known).any(0) if known else None


def read_mask(path: Path, grid: Grid) -> Bool[Tensor, "x y z"]:
    """Read a mask on the grid of the volumes: what is not 0 is inside.

    Raises:
        InputError: It is unusable, on another grid, or empty.
    """
    volume = open_volume(path)
    if volume.data.ndim != 3:
        raise InputError("a mask has three dimensions", remedy="Give one volume.", path=path)
    check_same_grid([grid, volume.grid])
    mask = torch.isfinite(volume.data) & (volume.data != 0)
    if not bool(mask.any()):
        raise InputError("the mask is empty", remedy="Mark voxels with 1.", path=path)
    return mask
