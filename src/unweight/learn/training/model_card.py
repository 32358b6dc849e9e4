"""Model cards of trained weights: purpose, valid ranges, and how to train them again."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import isfinite
from pathlib import Path
from typing import Any, ClassVar, final

from unweight.core.errors import InputError, UsageError
from unweight.files.text_files import parse_json

NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
SHA256 = re.compile(r"[0-9a-f]{64}")
STORED = ("float16", "float32")
REMEDY = "Copy the weights and their card again."
NOT_A_MEDICAL_DEVICE = "Research use only. It is not a medical device."


@final
@dataclass(frozen=True, kw_only=True)
class Card:
    """The card of one set of weights; it lies beside them as JSON.

    Attributes:
        name: Small letters, digits and hyphens, as in `t1-posterior`.
        version: Counted from 1; another version gives other maps.
        summary: What the network does, in a sentence.
        intended_use: For what, and for whom.
        limits: Limitations.
        licence: SPDX name of the licence of the weights.
        preset: The preset it was trained with.
        trained_on: What the training data were.
        seed: Of the training.
        recipe: All that is needed to train it again, with the configuration of the network; plain
            JSON values.
        ranges: Lower and upper end of what it accepts, by name [s, or no unit].
        calibration: Calibration of its intervals; plain JSON values.
        metrics: Scores on held-out data, by name.
        seconds: Time of the training [s].
        sha256: Of the file with the tensors; empty until it is written.
        stored: Type of the tensors in the file, `float16` or `float32`.
        precision: What the training was computed in, and why; empty where no card noted it yet.
    """

    name: str
    version: int
    summary: str
    intended_use: str
    limits: str
    licence: str = "Apache-2.0"
    preset: str
    trained_on: str
    seed: int
    recipe: Mapping[str, Any]
    ranges: Mapping[str, tuple[float, float]]
    calibration: Mapping[str, Any]
    metrics: Mapping[str, float]
    seconds: float
    sha256: str = ""
    stored: str = "float32"
    precision: str = ""

    not_a_medical_device: ClassVar[str] = NOT_A_MEDICAL_DEVICE

    def __post_init__(self) -> None:
        check_name(self.name)
        self._require("version", self.version >= 1, "Count versions from 1.")
        self._require("stored", self.stored in STORED, f"Give one of {', '.join(STORED)}.")
        self._require(
            "sha256", self.sha256 == "" or SHA256.fullmatch(self.sha256) is not None, "Give 64 digits."
        )
        self._require(
            "ranges",
            all(isfinite(low) and isfinite(high) and low <= high for low, high in self.ranges.values()),
            "Give (lower, upper), both finite.",
        )
        self._require("metrics", all(map(isfinite, self.metrics.values())), "Leave out what is not finite.")
        self._require("recipe", _is_plain(self.recipe), "Give plain JSON values.")
        self._require("calibration", _is_plain(self.calibration), "Give plain JSON values.")

    def to_json(self) -> bytes:
        """Return the card as a JSON file."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        for name in MAPPINGS:
            values[name] = dict(values[name])
        content = values | {"not_a_medical_device": self.not_a_medical_device}
        return (json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()

    def _require(self, name: str, holds: bool, remedy: str) -> None:
        if not holds:
            raise UsageError(f"Card.{name} is {getattr(self, name)!r}", remedy=remedy)


@final
@dataclass(frozen=True, kw_only=True)
class CardText:
    """The text of a method on the card of its weights.

    Attributes:
        summary: What the network does, in a sentence.
        intended_use: For what, and for whom.
        limits: Limitations.
        trained_on: What the training data were.
        ranges: Lower and upper end of what it accepts, by name [s, or no unit].
    """

    summary: str
    intended_use: str
    limits: str
    trained_on: str
    ranges: Mapping[str, tuple[float, float]]


NEWER = {"precision"}  # fields that older cards lack
MAPPINGS = ("recipe", "ranges", "calibration", "metrics")
KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(MAPPINGS, (dict,)),
    **dict.fromkeys(("version", "seed"), (int,)),
    "seconds": (int, float),
}


def check_name(name: str) -> None:
    """Refuse a name that weights cannot have.

    Raises:
        UsageError: It holds more than small letters, digits and single hyphens.
    """
    if NAME.fullmatch(name) is None:
        raise UsageError(
            f"weights cannot be called {name!r}", remedy="Use small letters, digits and single hyphens."
        )


def card_from_json(content: bytes, path: Path | str | None = None) -> Card:
    """Return the card that a file holds.

    Args:
        content: What the file holds.
        path: The file, for messages.

    Raises:
        InputError: It is no card, or has unknown, missing or impossible values.
    """
    try:
        values = parse_json(content)
    except ValueError as error:
        raise InputError(f"is not a model card: not JSON ({error})", remedy=REMEDY, path=path) from error
    if not isinstance(values, dict):
        raise InputError("is not a model card: not a table of values", remedy=REMEDY, path=path)
    expected = {field.name for field in fields(Card)} | {"not_a_medical_device"}
    for what, names in (
        ("unknown", values.keys() - expected),
        ("missing", expected - NEWER - values.keys()),
    ):
        if names:
            raise InputError(
                f"is not a model card of this version: {what} {', '.join(sorted(names))}",
                remedy="Use weights of the same version as the program.",
                path=path,
            )
    del values["not_a_medical_device"]
    for name, value in values.items():
        if not isinstance(value, KINDS.get(name, (str,))) or isinstance(value, bool):
            raise InputError(f"is not a model card: {name} is {value!r}", remedy=REMEDY, path=path)
    try:
        values["ranges"] = {entry: _pair(value) for entry, value in values["ranges"].items()}
        values["metrics"] = {entry: float(value) for entry, value in values["metrics"].items()}
        return Card(**values)
    except (UsageError, ValueError, TypeError) as error:
        raise InputError(f"is not a model card: {error}", remedy=REMEDY, path=path) from error


def _pair(value: Any) -> tuple[float, float]:
    low, high = value
    return float(low), float(high)


def _is_plain(value: object) -> bool:
    """Whether JSON gives back what it was given, tuples as lists aside."""
    if isinstance(value, Mapping):
        return all(isinstance(name, str) and _is_plain(entry) for name, entry in value.items())
    if isinstance(value, list | tuple):
        return all(_is_plain(item) for item in value)
    if isinstance(value, float):
        return isfinite(value)
    return value is None or isinstance(value, str | int)
