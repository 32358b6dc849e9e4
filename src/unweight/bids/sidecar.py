"""JSON sidecars, and the timings in them. Units change here and nowhere else: degrees to radians.

BIDS writes times in seconds; dcm2niix does too. A value that looks like milliseconds is refused, with
the file it stands in. What BIDS has no field for stands in the object `unweight`, as
`write_raw` writes it.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import final

from unweight.core.errors import InputError, ProtocolError
from unweight.core.protocol import PER_VOLUME, protocol_from_values
from unweight.files.text_files import parse_json, read_content

LARGEST_BYTES = 16 * 2**20
OWN = "unweight"
# The first that is given counts. After an inversion, the interval from one inversion to the next;
# `RepetitionTimeInversion` is how dcm2niix names it where it uses `RepetitionTime` for something else.
REPETITION = ("RepetitionTimeExcitation", "RepetitionTime", "RepetitionTimePreparation")
REPETITION_OF_INVERSION = (
    "RepetitionTimePreparation",
    "RepetitionTimeInversion",
    "RepetitionTimeExcitation",
    "RepetitionTime",
)
OWN_FIELDS = {
    "readout_time": "ReadoutTime",
    "echo_spacing": "ExcitationSpacing",
    "train_length": "ExcitationTrainLength",
    "centre_index": "CentreIndex",
}
WEAKEST_FIELD, STRONGEST_FIELD = 0.001, 25.0


class Part(Enum):
    """Which part of the complex image a file holds."""

    MAGNITUDE = "mag"
    PHASE = "phase"
    REAL = "real"
    IMAGINARY = "imag"


IMAGE_TYPES = {
    "M": Part.MAGNITUDE,
    "MAGNITUDE": Part.MAGNITUDE,
    "P": Part.PHASE,
    "PHASE": Part.PHASE,
    "R": Part.REAL,
    "REAL": Part.REAL,
    "I": Part.IMAGINARY,
    "IMAGINARY": Part.IMAGINARY,
}


@final
@dataclass(frozen=True, kw_only=True)
class Timing:
    """What a sidecar says about one volume; None where it is silent.

    Attributes:
        inversion_time: [s].
        repetition_time: From inversion to inversion, or excitation to excitation [s].
        echo_time: [s].
        flip_angle: [rad].
        readout_time: From excitation to the last refocused echo [s].
        echo_spacing: Between excitations of a train [s].
        train_length: Excitations in a train.
        centre_index: Excitations before the centre of k-space.
        field_strength: [T].
    """

    inversion_time: float | None = None
    repetition_time: float | None = None
    echo_time: float | None = None
    flip_angle: float | None = None
    readout_time: float | None = None
    echo_spacing: float | None = None
    train_length: float | None = None
    centre_index: float | None = None
    field_strength: float | None = None


TIMINGS = tuple(item.name for item in fields(Timing) if item.name in PER_VOLUME)


@final
@dataclass(frozen=True, kw_only=True)
class Sidecar:
    """What is written beside one image, inherited fields included.

    Attributes:
        image: The image.
        fields: The fields by name.
        origins: The JSON file each field stands in, by name.
    """

    image: Path
    fields: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    origins: Mapping[str, Path] = field(default_factory=lambda: MappingProxyType({}))

    def origin(self, name: str) -> Path:
        """Return the file to correct if a field is wrong: the JSON file, or else the image."""
        return self.origins.get(name, self.image)

    def number(self, name: str) -> float | None:
        """Return one number, or None if it is absent.

        Raises:
            InputError: It is there and is not a finite number.
        """
        return _number(self.fields, name, self.origin(name))

    def with_fields(self, fields: Mapping[str, object]) -> "Sidecar":
        """Return the sidecar with other fields."""
        return replace(self, fields=fields)


def read_sidecar(path: Path) -> dict[str, object]:
    """Read one JSON object, strictly.

    Raises:
        InputError: Not UTF-8, not JSON, not an object, a name twice, or a number that is not finite.
    """
    content = read_content(path, LARGEST_BYTES)
    try:
        value = parse_json(
            content.decode("utf-8-sig"), object_pairs_hook=_distinct, parse_constant=_refuse_constant
        )
    except UnicodeDecodeError as error:
        raise InputError("the sidecar is not UTF-8 text", remedy="Save it as UTF-8.", path=path) from error
    except ValueError as error:
        raise InputError(
            f"the sidecar is not valid JSON ({error})", remedy="Correct it.", path=path
        ) from error
    if not isinstance(value, dict):
        raise InputError("the sidecar is not a JSON object {…}", remedy="Correct it.", path=path)
    return value


def timing_of(sidecar: Sidecar) -> Timing:
    """Return what a sidecar says about the one volume beside it.

    Raises:
        InputError: A field has the wrong type.
        ProtocolError: A value is impossible, or looks like milliseconds.
    """
    inverted = sidecar.fields.get("InversionTime") is not None
    repetition = REPETITION_OF_INVERSION if inverted else REPETITION
    label = next((name for name in repetition if sidecar.number(name) is not None), repetition[0])
    labels = {"inversion_time": "InversionTime", "echo_time": "EchoTime", "repetition_time": label}
    values = {name: sidecar.number(label) for name, label in labels.items()}
    own = sidecar.fields.get(OWN, {})
    if not isinstance(own, Mapping):
        raise _wrong_type(OWN, "an object", own, sidecar.origin(OWN))
    for name, own_label in OWN_FIELDS.items():
        given = sidecar.number(own_label)
        values[name] = _number(own, own_label, sidecar.origin(OWN)) if given is None else given
        labels[name] = OWN
    for name, value in values.items():
        _check_value(name, value, sidecar.origin(labels[name]))
    timing = Timing(flip_angle=_flip_angle(sidecar), field_strength=_field_strength(sidecar), **values)
    _check_timing(timing, sidecar.origin(labels["repetition_time"]))
    return timing


def _check_value(name: str, value: float | None, path: Path) -> None:
    """Let the protocol's own rules judge one value.

    Raises:
        ProtocolError: It is impossible, or looks like milliseconds; the file is named.
    """
    if value is not None:
        _check_timing(replace(Timing(), **{name: value}), path)


def _check_timing(timing: Timing, path: Path) -> None:
    """Let the protocol's own rules judge the values of one volume together.

    Raises:
        ProtocolError: They contradict each other; the file is named.
    """
    values: dict[str, list[float]] = {
        name: [value]
        for name, value in vars(timing).items()
        if value is not None and name != "field_strength"
    }
    if not values:
        return
    try:
        protocol_from_values(field_strength=timing.field_strength, **values)
    except ProtocolError as error:
        raise ProtocolError(error.problem, remedy=error.remedy, path=path) from error


def part_of(sidecar: Sidecar) -> Part | None:
    """Return which part of the complex image `ImageType` names, if it does.

    Raises:
        InputError: It names more than one, or is not a list of words.
    """
    types, path = sidecar.fields.get("ImageType"), sidecar.origin("ImageType")
    if types is None:
        return None
    if not isinstance(types, list) or not all(isinstance(word, str) for word in types):
        raise _wrong_type("ImageType", "a list of words", types, path)
    named = {IMAGE_TYPES[word.upper()] for word in types if word.upper() in IMAGE_TYPES}
    if len(named) > 1:
        raise InputError(
            f"ImageType names several parts of the image at once: {_short(types)}",
            remedy="Correct it.",
            path=path,
        )
    return next(iter(named), None)


def _number(fields: Mapping[str, object], name: str, path: Path) -> float | None:
    value = fields.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong_type(name, "a number", value, path)
    try:
        finite = math.isfinite(value)
    except OverflowError:
        finite = False
    if not finite:
        raise InputError(f"{name} is not finite", remedy="Correct the sidecar.", path=path)
    return float(value)


def _flip_angle(sidecar: Sidecar) -> float | None:
    degrees = sidecar.number("FlipAngle")
    if degrees is None:
        return None
    if not 0 < degrees <= 360:
        raise InputError(
            f"FlipAngle cannot be {degrees:g} degrees",
            remedy="Correct the sidecar.",
            path=sidecar.origin("FlipAngle"),
        )
    return math.radians(degrees)


def _field_strength(sidecar: Sidecar) -> float | None:
    strength = sidecar.number("MagneticFieldStrength")
    if strength is None or strength == 0:
        return None
    if not WEAKEST_FIELD <= strength <= STRONGEST_FIELD:
        raise InputError(
            f"MagneticFieldStrength cannot be {strength:g} T",
            remedy="Write it in tesla.",
            path=sidecar.origin("MagneticFieldStrength"),
        )
    return strength


def _wrong_type(name: str, wanted: str, result: object, path: Path) -> InputError:
    return InputError(
        f"{name} must be {wanted}, not {_short(result)}", remedy="Correct the sidecar.", path=path
    )


def _short(result: object) -> str:
    """Return what was found as a message may hold it."""
    displayed = repr(result)
    return displayed if len(displayed) <= 60 else displayed[:57] + "..."


def _distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Build the object, unless a name occurs twice."""
    result = dict(pairs)
    if len(result) < len(pairs):
        (twice, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"{_short(twice)} occurs twice")
    return result


def _refuse_constant(word: str) -> object:
    raise ValueError(f"{word} is not a number in JSON")
