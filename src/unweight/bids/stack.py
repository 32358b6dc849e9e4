"""Files of one series, brought together: one grid, one kind, volumes in order."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import NamedTuple, final

import torch
from jaxtyping import Bool
from torch import Tensor

from unweight.bids.frame import Frame, frames_of
from unweight.bids.given import NOTHING_GIVEN, Given
from unweight.bids.grid import Grid, check_same_grid
from unweight.bids.part import Entry, choose_part, choose_parts_of_complex
from unweight.bids.phase import phase_in_radians, slices_turned_back
from unweight.bids.philips import rescalings
from unweight.bids.sidecar import Part
from unweight.bids.timeline import in_order, protocol_of
from unweight.bids.volume import count_values, open_volume
from unweight.core.acquisition import Acquisition, SignalKind
from unweight.core.errors import InputError
from unweight.core.memory import check_free
from unweight.core.protocol import Protocol

LOG = logging.getLogger(__name__)

# What a stored number takes while a series is brought together: as read, stacked, and in phase and complex.
REAL_BYTES, COMPLEX_BYTES = 8, 16
SAMPLED_VALUES = 2**24


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Stack:
    """A series in memory.

    Attributes:
        acquisition: The volumes in order.
        entries: The files the volumes come from, in the order of the volumes, each once.
        notes: What a careful reader should know.
        shape: Of the volumes in the files.
    """

    acquisition: Acquisition
    entries: tuple[Entry, ...]
    notes: tuple[str, ...]
    shape: tuple[int, ...]


class _Read(NamedTuple):
    """The volumes of some files, and what is to be said about the files."""

    frames: list[Frame]
    notes: list[str]


def stack(entries: Sequence[Entry], given: Given = NOTHING_GIVEN) -> Stack:
    """Read the files of one series and bring them together.

    Args:
        entries: The files, in the order in which given times count them.
        given: What the caller says about them.

    Raises:
        InputError: A file is unusable, or they do not make one series.
        ProtocolError: A timing is missing, impossible, or not one per volume.
    """
    stacked = _stack_complex(entries, given) if given.kind is SignalKind.COMPLEX else _stack(entries, given)
    for note in stacked.notes:
        LOG.warning(note)
    return stacked


def _stack(entries: Sequence[Entry], given: Given) -> Stack:
    chosen, kind, notes = choose_part(entries, given.kind)
    every = _kept_of(chosen, given, REAL_BYTES)
    ((frames, more),) = _read([chosen], given, every)
    if kind is SignalKind.MAGNITUDE:
        _check_sign(frames)
    _check_filled(frames)
    signal = torch.stack([frame.data for frame in frames], dim=-1)
    if not any(frame.signs.filled for frame in frames) and not bool((signal != 0).any()):
        raise InputError("all volumes are 0", remedy="Check what wrote them.", path=frames[0].entry.path)
    acquisition = Acquisition(
        signal=signal,
        protocol=_protocol(frames, given),
        kind=kind,
        mask=None if given.mask is None else read_mask(given.mask, frames[0].grid, every),
        affine=frames[0].grid.affine,
        saturated=_saturated(frames),
    )
    return Stack(
        acquisition=acquisition,
        entries=_each_once(frames),
        notes=(*notes, *more),
        shape=frames[0].grid.shape,
    )


def _stack_complex(entries: Sequence[Entry], given: Given) -> Stack:
    """Bring magnitude and phase, or real and imaginary part, together."""
    parts = choose_parts_of_complex(entries)
    units = [[part] for part in parts.values()] if Part.PHASE in parts else [list(parts.values())]
    every = _kept_of([*chain(*parts.values())], given, COMPLEX_BYTES)
    (first, notes), (second, more) = [read for unit in units for read in _read(unit, given, every)]
    check_same_grid([frame.grid for frame in (*first, *second)])
    if Part.PHASE in parts:
        _check_filled(first)
    protocol = _protocol(first, given)
    if protocol.as_dict() != _protocol(second, given).as_dict():
        raise InputError(
            "the two parts of the complex images differ in their timing",
            remedy="Give both parts of one series.",
            path=second[0].entry.path,
        )
    one, other = (torch.stack([frame.data for frame in frames], dim=-1) for frames in (first, second))
    if Part.PHASE in parts:
        _check_sign(first)
        radians = phase_in_radians(other, second[0].entry.sidecar, given.phase)
        signal = torch.polar(one, radians.phase)
        more.append(radians.note)
    else:
        signal = torch.complex(one, -other if given.phase.inverted else other)
    if signal.ndim == 4:
        signal, turned = slices_turned_back(signal)
        more += [] if turned is None else [turned]
    acquisition = Acquisition(
        signal=signal,
        protocol=protocol,
        kind=SignalKind.COMPLEX,
        mask=None if given.mask is None else read_mask(given.mask, first[0].grid, every),
        affine=first[0].grid.affine,
        saturated=_saturated(first) if Part.PHASE in parts else _saturated([*first, *second]),
    )
    return Stack(
        acquisition=acquisition,
        entries=_each_once([*first, *second]),
        notes=(*notes, *more),
        shape=first[0].grid.shape,
    )


def _kept_of(entries: Sequence[Entry], given: Given, bytes_each: int) -> int:
    """Return which voxels of a slice are kept, 1 for all, from what the headers announce.

    Raises:
        InputError: A header is unusable, or there is not enough memory for the series.
    """
    n_values = sum(count_values(entry.path) for entry in entries)
    if given.sampled:
        return max(1, math.ceil(n_values / SAMPLED_VALUES))
    check_free(n_values * bytes_each, "the series", entries[0].path)
    return 1


def _read(parts: Sequence[Sequence[Entry]], given: Given, every: int) -> list[_Read]:
    """Read parts of one series, each in order and on one grid; all of them are brought to one unit."""
    volumes = [[open_volume(entry.path, every=every) for entry in entries] for entries in parts]
    for members in volumes:
        check_same_grid([volume.grid for volume in members])
    scalings = rescalings([entry.sidecar for entries in parts for entry in entries], [*chain(*volumes)])
    read: list[_Read] = []
    for entries, members in zip(parts, volumes, strict=True):
        own, scalings = scalings[: len(entries)], scalings[len(entries) :]
        notes = [f"{volume.grid.path.name}: {note}" for volume in members for note in volume.notes]
        read.append(_Read(frames=in_order(frames_of(entries, members, own, given)), notes=notes))
    return read


def _protocol(frames: Sequence[Frame], given: Given) -> Protocol:
    protocol = protocol_of(frames)
    if given.field_strength is None:
        return protocol
    return replace(protocol, field_strength=given.field_strength)


def _each_once(frames: Sequence[Frame]) -> tuple[Entry, ...]:
    return tuple({frame.entry.path: frame.entry for frame in frames}.values())


def _check_filled(frames: Sequence[Frame]) -> None:
    """Refuse a volume without any signal among others that have some."""
    empty = [frame for frame in frames if not frame.signs.filled]
    if empty and len(empty) < len(frames):
        raise InputError(
            "a volume of it is 0 everywhere, and others of the series are not",
            remedy="Copy or convert it again, or leave it out.",
            path=empty[0].entry.path,
        )


def _check_sign(frames: Sequence[Frame]) -> None:
    for frame in frames:
        n_negative = frame.signs.n_negative
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


def _saturated(frames: Sequence[Frame]) -> Bool[Tensor, "x y z"] | None:
    """Return the voxels clipped in any volume; None if no volume can tell."""
    known = [frame.saturated for frame in frames if frame.saturated is not None]
    return torch.stack(known).any(0) if known else None


def read_mask(path: Path, grid: Grid, every: int = 1) -> Bool[Tensor, "x y z"]:
    """Read a mask on the grid of the volumes: what is not 0 is inside.

    Args:
        path: The mask.
        grid: Of the volumes.
        every: Which voxels of a slice are kept, as `open_volume` keeps them.

    Raises:
        InputError: It is unusable, on another grid, or empty.
    """
    volume = open_volume(path, every=every)
    if volume.data.ndim != 3:
        raise InputError("a mask has three dimensions", remedy="Give one volume.", path=path)
    check_same_grid([grid, volume.grid])
    mask = torch.isfinite(volume.data) & (volume.data != 0)
    if not volume.signs[0].filled:
        raise InputError("the mask is empty", remedy="Mark voxels with 1.", path=path)
    return mask
