"""The timings of a series, collected from its volumes: complete, in order, and of one protocol."""

from collections.abc import Sequence
from math import degrees

from unweight.bids.series.frame import Frame
from unweight.bids.series.overrides import ProtocolOverrides, same_time
from unweight.bids.sidecar import TIMINGS
from unweight.core.errors import NoTimingError, ProtocolError
from unweight.core.protocol import Protocol, protocol_from_values

SAME_FIELD = 0.05
# The timing that orders a series, and those that may differ within it.
MAY_DIFFER = {
    "inversion_time": {"inversion_time", "repetition_time"},
    "echo_time": {"echo_time", "readout_time"},
    "flip_angle": {"flip_angle", "repetition_time"},
}


def times_beside_files(frames: Sequence[Frame], given: ProtocolOverrides) -> list[str]:
    """Return a sentence on times given one per volume, each beside the file it was taken for.

    Args:
        frames: In the order of the files.
        given: What the caller says.
    """
    info = []
    for name in MAY_DIFFER:
        values = getattr(given, name)
        if values is None or len(values) < 2:
            continue
        pairs = [
            f"{_shown(frame, name)} {_volume_name(frames, index)}" for index, frame in enumerate(frames)
        ]
        info.append(f"{name.replace('_', ' ')}s as given: {', '.join(pairs)}")
    return info


def _shown(frame: Frame, name: str) -> str:
    """Return a timing with its unit, angles as they are given."""
    value = _known(frame, name)
    return f"{degrees(value):g} degrees" if name == "flip_angle" else f"{value:g} s"


def _volume_name(frames: Sequence[Frame], index: int) -> str:
    """Return the name of a volume's file, and its place in the file if there are others."""
    path = frames[index].entry.path
    same = [place for place, frame in enumerate(frames) if frame.entry.path == path]
    return path.name if len(same) == 1 else f"{path.name} volume {same.index(index) + 1}"


def in_order(frames: Sequence[Frame]) -> list[Frame]:
    """Return the volumes by rising inversion time, echo time or flip angle, or as they were."""
    order = _ordering(frames)
    if order is None:
        return list(frames)
    return sorted(frames, key=lambda frame: _known(frame, order))


def protocol_of(frames: Sequence[Frame]) -> Protocol:
    """Collect the timings: all volumes or none have each, and only some may differ.

    Raises:
        ProtocolError: They are incomplete, not of one series, or impossible.
    """
    order = _ordering(frames)
    collected: dict[str, list[float]] = {}
    for name in TIMINGS:
        values = [getattr(frame.timing, name) for frame in frames]
        known = [value for value in values if value is not None]
        if not known:
            continue
        if len(known) < len(values):
            lacking = frames[values.index(None)]
            raise ProtocolError(
                f"{name} is known for {len(known)} of {len(values)} volumes, not for this one",
                remedy="Complete the sidecars, or give the times (--ti, --te, --tr).",
                path=lacking.entry.path,
            )
        if order is not None and name not in MAY_DIFFER[order]:
            _check_constant(name, values, frames)
        collected[name] = values
    if not collected:
        raise NoTimingError(
            "no timing is known: neither a sidecar nor the command line gives any",
            remedy="Add a JSON sidecar (EchoTime, InversionTime … in seconds), or give the times "
            "(--ti, --te, --tr).",
            path=frames[0].entry.path,
        )
    try:
        return protocol_from_values(field_strength=_field_strength(frames), **collected)
    except ProtocolError as error:
        raise ProtocolError(error.problem, remedy=error.remedy, path=frames[0].entry.path) from error


def _ordering(frames: Sequence[Frame]) -> str | None:
    """Return the timing that tells the volumes of the series apart, if one does."""
    for name in MAY_DIFFER:
        values = {getattr(frame.timing, name) for frame in frames} - {None}
        if len(values) > 1:
            return name
    return None


def _known(frame: Frame, name: str) -> float:
    value = getattr(frame.timing, name)
    return -1.0 if value is None else float(value)


def _check_constant(name: str, values: Sequence[float], frames: Sequence[Frame]) -> None:
    for frame, value in zip(frames, values, strict=True):
        if not same_time(value, values[0]):
            raise ProtocolError(
                f"{name} is {value:g} here, but {values[0]:g} in {frames[0].entry.path.name}; "
                "these are not volumes of one series",
                remedy="Give the files of one series only.",
                path=frame.entry.path,
            )


def _field_strength(frames: Sequence[Frame]) -> float | None:
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
