"""Files of one series, brought together: one grid, one kind, volumes in order."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from math import ceil
from pathlib import Path
from typing import NamedTuple, final

import torch
from jaxtyping import Bool
from torch import Tensor

from unweight.bids.nifti.grid import SCANNER, Placement, check_same_grid
from unweight.bids.nifti.philips import rescalings
from unweight.bids.nifti.volume import count_values, open_volume
from unweight.bids.series.frame import Frame, frames_of
from unweight.bids.series.incoherent import SliceFacts, facts_of, incoherent_slices
from unweight.bids.series.mask import read_mask
from unweight.bids.series.overrides import NOTHING_GIVEN, ProtocolOverrides
from unweight.bids.series.pair import check_pair, completed
from unweight.bids.series.part import Entry, choose_part, choose_parts_of_complex
from unweight.bids.series.phase import phase_in_radians, slices_turned_back
from unweight.bids.series.readout import check_recovery
from unweight.bids.series.timeline import in_order, protocol_of, times_beside_files
from unweight.bids.sidecar import Part
from unweight.core.acquisition import Acquisition, SignalKind
from unweight.core.errors import InputError
from unweight.core.memory import check_free
from unweight.core.protocol import Protocol

LOG = logging.getLogger(__name__)
UNDERSHOOT = 0.02  # of the largest value, by which interpolation can leave magnitudes below 0
MOST_NAMED = 6  # slices

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
        placement: Where the headers of the files place the voxels.
        shape: Of the volumes in the files.
        faults: What is damaged, and has no value in maps.
        slices: Of each volume, as the files have them; nothing if they were not looked at.
    """

    acquisition: Acquisition
    entries: tuple[Entry, ...]
    notes: tuple[str, ...]
    placement: Placement
    shape: tuple[int, ...]
    faults: tuple[str, ...] = ()
    slices: tuple[SliceFacts, ...] = ()

    @property
    def is_sample(self) -> bool:
        """Whether the acquisition holds some of the voxels."""
        return self.acquisition.voxels != self.shape


class _Read(NamedTuple):
    """The volumes of some files, and what is to be said about the files."""

    frames: list[Frame]
    notes: list[str]


def stack(entries: Sequence[Entry], given: ProtocolOverrides = NOTHING_GIVEN) -> Stack:
    """Read the files of one series and bring them together.

    Args:
        entries: The files, in the order in which given times count them.
        given: What the caller says about them.

    Raises:
        InputError: A file is unusable, or they do not make one series.
        ProtocolError: A timing is missing, impossible, or not one per volume.
    """
    stacked = _stack_complex(entries, given) if given.kind is SignalKind.COMPLEX else _stack(entries, given)
    try:
        _check_usable(stacked.acquisition, given.mask or stacked.entries[0].path)
    except InputError:
        if not stacked.is_sample:
            raise
        return stack(entries, replace(given, sampled=False))
    for note in stacked.notes:
        LOG.warning(note)
    return _without_noise_for_images(stacked)


def _without_noise_for_images(stacked: Stack) -> Stack:
    """Mask slices in which a volume holds noise where the others hold an image.

    Raises:
        InputError: There is no other slice, or the image is complex, whose slices hang together.
    """
    acquisition = stacked.acquisition
    if acquisition.signal.ndim != 4:
        return stacked
    slices = (
        stacked.slices
        if stacked.is_sample
        else [facts_of(volume) for volume in acquisition.signal.unbind(-1)]
    )
    if not slices:
        return stacked
    result = incoherent_slices(slices)
    damaged = result.any(dim=-1)
    if not bool(damaged.any()):
        return stacked
    places = result.nonzero().tolist()
    info = [f"slice {place + 1} of {_volume(stacked, volume)}" for place, volume in places[:MOST_NAMED]]
    problem = f"noise where the other volumes contain an image, in {', '.join(info)}"
    if bool(damaged.all()) or acquisition.kind is SignalKind.COMPLEX:
        raise InputError(
            problem,
            remedy="Copy or convert it again, or leave the volume out.",
            path=_entry_of(stacked, places[0][1]).path,
        )
    mask = (
        torch.ones(acquisition.voxels, dtype=torch.bool) if acquisition.mask is None else acquisition.mask
    )
    fault = f"{problem}; these slices have no values"
    every = ceil(len(damaged) / mask.shape[-1])
    return replace(
        stacked,
        acquisition=replace(acquisition, mask=mask & ~damaged[::every]),
        faults=(*stacked.faults, fault),
    )


def _entry_of(stacked: Stack, volume: int) -> Entry:
    """Return the file of a volume; the first, where files hold several."""
    one_each = len(stacked.entries) == stacked.acquisition.signal.shape[-1]
    return stacked.entries[volume if one_each else 0]


def _volume(stacked: Stack, volume: int) -> str:
    name = _entry_of(stacked, volume).path.name
    return name if len(stacked.entries) > 1 else f"volume {volume + 1} of {name}"


def _stack(entries: Sequence[Entry], given: ProtocolOverrides) -> Stack:
    chosen, kind, notes = choose_part(entries, given.kind)
    notes += check_recovery(chosen, given)
    every = _kept_of(chosen, given, REAL_BYTES)
    ((frames, more),) = _read([chosen], given, every)
    if given.kind is SignalKind.MAGNITUDE:
        frames, undershot = _without_undershoot(frames)
        more += undershot
    if kind is SignalKind.MAGNITUDE:
        _check_sign(frames)
    _check_filled(frames)
    signal = torch.stack([frame.data for frame in frames], dim=-1)
    if not any(frame.signs.filled for frame in frames) and not bool((signal != 0).any()):
        raise InputError(
            "all volumes are 0", remedy="Check the program that wrote them.", path=frames[0].entry.path
        )
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
        placement=_placement(frames),
        shape=frames[0].grid.shape,
        slices=_slices(frames),
    )


def _stack_complex(entries: Sequence[Entry], given: ProtocolOverrides) -> Stack:
    """Bring magnitude and phase, or real and imaginary part, together."""
    parts = choose_parts_of_complex(entries)
    pair = completed(*parts.values())
    units = [[part] for part in pair] if Part.PHASE in parts else [pair]
    every = _kept_of([*chain(*pair)], given, COMPLEX_BYTES)
    (first, notes), (second, more) = [read for unit in units for read in _read(unit, given, every)]
    check_same_grid([frame.grid for frame in (*first, *second)])
    if Part.PHASE in parts:
        _check_filled(first)
    protocol = _protocol(first, given)
    more += check_pair(protocol, _protocol(second, given), second[0].entry.path)
    item, other = (torch.stack([frame.data for frame in frames], dim=-1) for frames in (first, second))
    if Part.PHASE in parts:
        _check_sign(first)
        radians = phase_in_radians(other, second[0].entry.sidecar, given.phase)
        signal = torch.polar(item, radians.phase)
        more.append(radians.note)
    else:
        signal = torch.complex(item, -other if given.phase.inverted else other)
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
        placement=_placement([*first, *second]),
        shape=first[0].grid.shape,
        slices=_slices(first) if Part.PHASE in parts else (),
    )


def _kept_of(entries: Sequence[Entry], given: ProtocolOverrides, bytes_each: int) -> int:
    """Return which voxels of a slice are kept, 1 for all, from what the headers announce.

    Raises:
        InputError: A header is unusable, or insufficient memory for the series.
    """
    n_values = sum(count_values(entry.path) for entry in entries)
    if given.sampled:
        return max(1, ceil(n_values / SAMPLED_VALUES))
    check_free(n_values * bytes_each, "the series", entries[0].path)
    return 1


def _read(parts: Sequence[Sequence[Entry]], given: ProtocolOverrides, every: int) -> list[_Read]:
    """Read parts of one series, each in order and on one grid; all of them are brought to one unit."""
    volumes = [[open_volume(entry.path, every=every) for entry in entries] for entries in parts]
    for members in volumes:
        check_same_grid([volume.grid for volume in members])
    scalings = rescalings([entry.sidecar for entries in parts for entry in entries], [*chain(*volumes)])
    read: list[_Read] = []
    for entries, members in zip(parts, volumes, strict=True):
        own, scalings = scalings[: len(entries)], scalings[len(entries) :]
        notes = [f"{volume.grid.path.name}: {note}" for volume in members for note in volume.notes]
        frames = frames_of(entries, members, own, given)
        read.append(_Read(frames=in_order(frames), notes=[*notes, *times_beside_files(frames, given)]))
    return read


def _placement(frames: Sequence[Frame]) -> Placement:
    """Return the placement of the first file that says where the scanner is, else of the first."""
    every = [frame.grid.placement for frame in frames]
    return next((item for item in every if item.of_code(SCANNER)), every[0])


def _slices(frames: Sequence[Frame]) -> tuple[SliceFacts, ...]:
    """Return what is known of the slices of all volumes; nothing if it is not of each."""
    known = tuple(frame.slices for frame in frames if frame.slices is not None)
    return known if len(known) == len(frames) else ()


def _protocol(frames: Sequence[Frame], given: ProtocolOverrides) -> Protocol:
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
            "one volume is 0 everywhere, unlike the others of the series",
            remedy="Copy or convert it again, or leave it out.",
            path=empty[0].entry.path,
        )


def _check_usable(acquisition: Acquisition, path: Path) -> None:
    """Refuse images or a mask that leave no voxel to map."""
    signal = acquisition.signal
    usable = torch.isfinite(signal).all(-1) & (signal != 0).any(-1)
    if not bool(usable.any()):
        raise InputError(
            "no voxel has a finite value in every volume and a signal in one",
            remedy="Check the program that wrote the images.",
            path=path,
        )
    if acquisition.mask is not None and not bool((usable & acquisition.mask).any()):
        raise InputError(
            "the mask contains no voxel in which the images have a signal",
            remedy="Give the mask of these images.",
            path=path,
        )


def _without_undershoot(frames: list[Frame]) -> tuple[list[Frame], list[str]]:
    """Set small negative values of magnitude images to 0, as interpolation leaves them, and say so."""
    kept, notes = [], []
    for frame in frames:
        signs = frame.signs
        if not -UNDERSHOOT * signs.highest <= signs.lowest < 0:
            kept.append(frame)
            continue
        data = frame.data.masked_fill(frame.data < 0, 0.0)
        kept.append(replace(frame, data=data, signs=replace(signs, n_negative=0, lowest=0.0)))
        notes.append(
            f"{frame.entry.path.name}: small negative values ({signs.n_negative}, minimum "
            f"{signs.lowest:.3g}), probably from interpolation of magnitude images, were set to 0"
        )
    return kept, notes


def _check_sign(frames: Sequence[Frame]) -> None:
    for frame in frames:
        n_negative = frame.signs.n_negative
        if n_negative == 0:
            continue
        if frame.entry.part is Part.MAGNITUDE:
            raise InputError(
                f"is labelled as a magnitude image, but {n_negative} values are negative",
                remedy="Check the program that wrote it, or give --signed if it is signed.",
                path=frame.entry.path,
            )
        raise InputError(
            f"has {n_negative} negative values, and it is not identified as a real-part image",
            remedy="Give --signed if it is one, or --magnitude if resampling left small negative values.",
            path=frame.entry.path,
        )


def _saturated(frames: Sequence[Frame]) -> Bool[Tensor, "x y z"] | None:
    """Return the voxels clipped in any volume; None if no volume can tell."""
    known = [frame.saturated for frame in frames if frame.saturated is not None]
    return torch.stack(known).any(0) if known else None
