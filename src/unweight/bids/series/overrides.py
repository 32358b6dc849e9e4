"""What the caller says about the files; it wins over sidecars, and is checked against their order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

from unweight.bids.series.part import Entry
from unweight.bids.series.phase import AS_RECOGNISED, PhaseScaling
from unweight.bids.sidecar import (
    OWN_FIELDS,
    REPETITION_OF_INVERSION,
    STRONGEST_FIELD,
    WEAKEST_FIELD,
    Sidecar,
)
from unweight.core.acquisition import SignalKind
from unweight.core.errors import ProtocolError, UsageError

SAME_TIME = 1e-3
# Where a given time goes; the other fields of the same meaning are then not listened to.
GIVEN_LABELS = {
    "inversion_time": ("InversionTime",),
    "repetition_time": ("RepetitionTimeExcitation", *REPETITION_OF_INVERSION),
    "echo_time": ("EchoTime",),
    "readout_time": (OWN_FIELDS["readout_time"],),
    "flip_angle": ("FlipAngle",),
}


OPTIONS = {
    "inversion_time": "--ti",
    "repetition_time": "--tr",
    "echo_time": "--te",
    "readout_time": "--readout-time",
    "flip_angle": "--flip",
}
LARGEST_TIME = 1e9  # that can stand in a sidecar and be compared [s]


@final
@dataclass(frozen=True, kw_only=True)
class ProtocolOverrides:
    """What the caller says about the files; it wins over sidecars.

    Attributes:
        inversion_time: One per volume [s].
        repetition_time: One for all, or one per volume [s].
        echo_time: One for all, or one per volume [s].
        readout_time: From excitation to the last refocused echo; one for all, or one per volume [s].
        flip_angle: Of the excitation; one for all, or one per volume [degrees].
        kind: What the numbers are; None to take what the files say.
        mask: A NIfTI file on the same grid, not 0 where to work.
        phase: What the numbers of phase images are.
        field_strength: Where no sidecar tells it, and instead of what they tell [T].
        series: Numbers of the series of a folder of DICOM to read, in the order of the times.
        sampled: Whether of a large series some voxels of each slice suffice, in little memory; all are read
            and judged.
    """

    inversion_time: tuple[float, ...] | None = None
    repetition_time: tuple[float, ...] | None = None
    echo_time: tuple[float, ...] | None = None
    readout_time: tuple[float, ...] | None = None
    flip_angle: tuple[float, ...] | None = None
    kind: SignalKind | None = None
    mask: Path | None = None
    phase: PhaseScaling = AS_RECOGNISED
    field_strength: float | None = None
    series: tuple[int, ...] | None = None
    sampled: bool = False

    def __post_init__(self) -> None:
        strength = self.field_strength
        if strength is not None and not WEAKEST_FIELD <= strength <= STRONGEST_FIELD:
            raise UsageError(
                f"a field strength of {strength:g} T is not possible", remedy="Give it in tesla."
            )

    @property
    def by_volume(self) -> bool:
        """Whether times are given that tell one volume from the next."""
        several = (values is not None and len(values) > 1 for values in (self.echo_time, self.flip_angle))
        return self.inversion_time is not None or any(several)


NOTHING_GIVEN = ProtocolOverrides()


def overrides_of(
    given: ProtocolOverrides, n_volumes: int, entries: Sequence[Entry]
) -> list[dict[str, float]]:
    """Return the given timings of each volume.

    Inversion times may be given once each where the sidecars say which volumes repeat one.
    """
    overrides: list[dict[str, float]] = [{} for _ in range(n_volumes)]
    for name in GIVEN_LABELS:
        values = getattr(given, name)
        if values is None:
            continue
        if len(values) == 1 and name != "inversion_time":
            values = values * n_volumes
        if name == "inversion_time":
            values = _repeated(values, n_volumes, entries)
        if len(values) != n_volumes:
            raise ProtocolError(
                f"{len(values)} values of {name} for {n_volumes} volumes",
                remedy=f"Give one {OPTIONS[name]} value per volume, in the order of the files: "
                f"{', '.join(entry.path.name for entry in entries)}.",
                path=entries[0].path,
            )
        _check_order(name, values, entries)
        for times, value in zip(overrides, values, strict=True):
            times[name] = float(value)
    return overrides


def _repeated(values: tuple[float, ...], n_volumes: int, entries: Sequence[Entry]) -> tuple[float, ...]:
    """Return one time for each volume, where fewer are given and the sidecars say which repeat."""
    known = [entry.sidecar.fields.get(GIVEN_LABELS["inversion_time"][0]) for entry in entries]
    if len(entries) != n_volumes or not all(isinstance(time, int | float) for time in known):
        return values
    distinct = list(dict.fromkeys(known))
    if len(distinct) != len(values):
        return values
    return tuple(values[distinct.index(time)] for time in known)


def override(sidecar: Sidecar, given: Mapping[str, float]) -> Sidecar:
    """Return the sidecar with given times instead of its own."""
    fields, origins = dict(sidecar.fields), dict(sidecar.origins)
    for name, value in given.items():
        for label in GIVEN_LABELS[name]:
            fields.pop(label, None)
            origins.pop(label, None)
        fields[GIVEN_LABELS[name][0]] = value
    return replace(sidecar, fields=fields, origins=origins)


def _check_order(name: str, values: Sequence[float], entries: Sequence[Entry]) -> None:
    """Refuse times that the sidecars give too, in another order: the files were listed differently."""
    label = GIVEN_LABELS[name][0]
    known = [entry.sidecar.fields.get(label) for entry in entries]
    info = [float(value) for value in known if isinstance(value, int | float) and abs(value) < LARGEST_TIME]
    if len(info) != len(values):
        return
    same = all(same_time(a, b) for a, b in zip(values, info, strict=True))
    permuted = all(same_time(a, b) for a, b in zip(sorted(values), sorted(info), strict=True))
    if permuted and not same:
        pairs = zip(entries, info, strict=True)
        unit = "degrees" if name == "flip_angle" else "s"
        listed = ", ".join(f"{entry.path.name} {value:g} {unit}" for entry, value in pairs)
        raise ProtocolError(
            f"{name} is not in the order of the files; their sidecars have {listed}",
            remedy="Omit the times, or give them in the order of the files.",
            path=entries[0].path,
        )


def same_time(a: float, b: float) -> bool:
    """Whether two times are the same, to a thousandth."""
    return abs(a - b) <= SAME_TIME * max(abs(a), abs(b)) + 1e-6
