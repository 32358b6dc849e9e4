"""The one tree of errors.

UnweightError
├── UsageError      the call cannot be understood (exit code 2)
├── InputError      a file or a value read from it is unusable (exit code 2)
│   ├── ProtocolError   the timings do not fit the model or the method (exit code 2)
│   │   └── MissingValuesError   values that nothing gives (exit code 2)
│   └── TooLargeError   it needs more memory than is free here (exit code 1)
├── IncompleteError the result lacks what was there to be used, or holds no value (exit code 1)
└── OutputError     a result could not be written; nothing old was lost (exit code 3)

Each says what is wrong, in which file, and what to do about it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, final


class UnweightError(Exception):
    """Base of every error this package raises on purpose.

    Attributes:
        problem: What is wrong and what was found.
        remedy: What the reader can do about it.
        path: The file concerned, if there is one.
    """

    exit_code: ClassVar[int] = 2

    def __init__(self, problem: str, *, remedy: str = "", path: Path | str | None = None) -> None:
        self.problem = problem
        self.remedy = remedy
        self.path = None if path is None else Path(path)
        super().__init__(problem)

    def __str__(self) -> str:
        where = "" if self.path is None else f"{self.path}: "
        problem = self.problem.rstrip(".")
        remedy = f". {self.remedy}" if self.remedy else "."
        return f"{where}{problem}{remedy}"


class UsageError(UnweightError):
    """The call cannot be understood."""


class InputError(UnweightError):
    """A file, or a value read from one, is unusable."""


class ProtocolError(InputError):
    """The timings are impossible, missing, or do not fit the model or the method."""


@final
@dataclass(frozen=True, kw_only=True)
class MissingValue:
    """A value that neither a file nor the caller gives.

    Attributes:
        field: Of a sidecar.
        of: Which images, as in `of this T1w`.
        option: Of the command line, with what stands for its value: `--t1w-tr S`.
        reason: Why a field that is there does not give it, in words; empty if there is none.
        advice: What helps to find it, in words.
    """

    field: str
    of: str
    option: str
    reason: str = ""
    advice: str = ""


class MissingValuesError(ProtocolError):
    """Values that nothing gives: all of them at once, with the options that complete the call.

    Attributes:
        missing: The values, in the order of the call.
    """

    def __init__(self, missing: Sequence[MissingValue], *, path: Path | str | None = None) -> None:
        self.missing = tuple(missing)
        by_image: dict[str, list[str]] = {}
        for value in self.missing:
            by_image.setdefault(value.of, []).append(value.field)
        parts = [f"{' and '.join(names)} of {images}" for images, names in by_image.items()]
        reasons = "".join(f"; {value.reason}" for value in self.missing if value.reason)
        advice = "".join(value.advice for value in self.missing)
        if len(self.missing) == 1:
            option = self.missing[0].option.partition(" ")[0]
            remedy = f"Add it to the JSON sidecar, or give {option}{advice}."
        else:
            options = " ".join(value.option for value in self.missing)
            remedy = f"Add them to the JSON sidecars, or to the command line: {options}{advice}"
        super().__init__(f"no value for {', '.join(parts)}{reasons}", remedy=remedy, path=path)


class NoTimingError(ProtocolError):
    """No timing is given at all."""


class TooLargeError(InputError):
    """What a file holds, or what is computed from it, needs more memory than is free."""

    exit_code: ClassVar[int] = 1


class IncompleteError(UnweightError):
    """The work was done, and its result lacks files or volumes that were there, or holds no value."""

    exit_code: ClassVar[int] = 1


class OutputError(UnweightError):
    """A result could not be written. What stood there before is untouched."""

    exit_code: ClassVar[int] = 3
