"""Age and sex of subjects, from `participants.tsv` as people and their spreadsheets write it.

What can be meant in one way only is read: columns between tabs, semicolons, commas or spaces, labels with
or without `sub-`, ages such as 31, 31.5, 31,5, 031Y and 89+. Everything else is a remark and nothing more.
"""

import csv
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import final

from unweight.bids.names import LABEL
from unweight.bids.sidecar import read_sidecar
from unweight.core.errors import InputError
from unweight.files.text_files import lines_of, read_content

FILE = "participants.tsv"
LARGEST = 16 * 2**20  # [byte]
OLDEST = 130.0  # [years]; a larger number is in another unit
N_NAMED = 5
SEPARATORS = ("\t", ";", ",", None)  # None is any blank
ABSENT = frozenset({"", "n/a", "na", "nan", "none", "null", "unknown", "-", "?", "."})
IDENTIFIERS = ("participant_id", "participant", "subject_id", "subject", "sub_id", "sub", "id")
SEXES: Mapping[str, str] = MappingProxyType(
    dict.fromkeys(("m", "male", "man", "boy"), "M")
    | dict.fromkeys(("f", "female", "woman", "girl"), "F")
    | dict.fromkeys(("o", "other"), "O")
)
YEARS: Mapping[str, float] = MappingProxyType(  # of one unit, by the words for it
    dict.fromkeys(("y", "yr", "yrs", "year", "years"), 1.0)
    | dict.fromkeys(("m", "mo", "month", "months"), 1 / 12)
    | dict.fromkeys(("w", "wk", "week", "weeks"), 7 / 365.25)
    | dict.fromkeys(("d", "day", "days"), 1 / 365.25)
)
AGE = re.compile(r"(\d+(?:[.,]\d+)?)\s*([a-z]*)\s*(\+?)")
AGE_COLUMN = re.compile(r"age(?:_(?:in_)?([a-z]+))?")


@final
@dataclass(frozen=True, kw_only=True)
class Participant:
    """The entries of a table for one subject.

    Attributes:
        participant_id: Label, with or without `sub-`.
        age: [years]; None if it is not known.
        sex: M, F or O; empty if it is not known.
    """

    participant_id: str
    age: float | None = None
    sex: str = ""


@final
@dataclass(frozen=True, kw_only=True)
class Participants:
    """The entries of a table for all subjects.

    Attributes:
        people: Each subject once.
        remarks: What could not be read, in sentences.
    """

    people: tuple[Participant, ...] = ()
    remarks: tuple[str, ...] = ()


def read_participants(root: Path, subjects: Sequence[str]) -> Participants:
    """Read age and sex of subjects; never fails, for nothing else depends on them.

    Args:
        root: Of the BIDS tree.
        subjects: Their labels, without `sub-`; entries of others are ignored.
    """
    try:
        header, rows = _table(root / FILE)
        columns = _columns(header)
        unit, remark = _unit(root, header, columns.age)
    except InputError as error:
        return Participants(remarks=(f"{FILE} {error.problem}; age and sex are not read from it",))
    read = _Reading(columns=columns, unit=unit, subjects=tuple(subjects))
    people = read.people(rows)
    return Participants(people=people, remarks=(*remark, *read.remarks()))


def _table(path: Path) -> tuple[list[str], list[list[str]]]:
    """Return the header and the rows; nothing if there is no such file."""
    try:
        lines = lines_of(read_content(path, LARGEST))
    except InputError as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            raise
        if path.is_symlink():
            raise InputError("is a broken link") from error
        return [], []
    except UnicodeDecodeError as error:
        raise InputError("is not text") from error
    if not lines:
        raise InputError("is empty")
    for separator in SEPARATORS:
        header = _cells(lines[0], separator)
        if {*map(_plain, header)} & {*IDENTIFIERS}:
            return header, [_cells(line, separator) for line in lines[1:]]
    raise InputError("has no column participant_id")


def _cells(line: str, separator: str | None) -> list[str]:
    """Take a line apart; quotes hold a cell together where there are two of each."""
    if separator is None:
        return line.split()
    if line.count('"') and line.count('"') % 2 == 0:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=separator))]
    return [cell.strip() for cell in line.split(separator)]


def _plain(name: str) -> str:
    """Return the name of a column in small letters and underscores: `Age (years)` is `age_years`."""
    return re.sub(r"[^a-z0-9]+", "_", name.casefold()).strip("_")


@final
@dataclass(frozen=True, kw_only=True)
class _Columns:
    """Where in a row things stand; None where there is no such column."""

    count: int
    label: int | None
    age: int | None
    sex: int | None


def _columns(header: Sequence[str]) -> _Columns:
    names = [_plain(name) for name in header]
    ages = [name for name in names if _age_unit(name) is not None]

    def first(wanted: Iterable[str]) -> int | None:
        return next((names.index(name) for name in wanted if name in names), None)

    return _Columns(
        count=len(names),
        label=first(IDENTIFIERS),
        age=first(sorted(ages, key=len)),
        sex=first(("sex", "gender")),
    )


def _age_unit(name: str) -> float | None:
    """Return the unit [years] that a column of ages names, years by default; None for another column."""
    match = AGE_COLUMN.fullmatch(name)
    return None if match is None else YEARS.get(match[1] or "years")


def _unit(root: Path, header: Sequence[str], column: int | None) -> tuple[float, tuple[str, ...]]:
    """Return the unit of ages [years]: of the name of the column, else of `participants.json`."""
    if column is None:
        return 1.0, ()
    named, beside = _age_unit(_plain(header[column])) or 1.0, (root / FILE).with_suffix(".json")
    if _plain(header[column]) != "age" or not beside.is_file():
        return named, ()
    try:
        about = read_sidecar(beside).get(header[column])
    except InputError as error:
        return named, (f"{beside.name} {error.problem}; ages are read as years",)
    unit = about.get("Units") if isinstance(about, Mapping) else None
    if not isinstance(unit, str) or not unit.strip():
        return named, ()
    known = YEARS.get(_plain(unit))
    if known is None:
        return math.nan, (f"{beside.name} gives ages in {unit[:40]!r}, an unknown unit",)
    return known, ()


@final
@dataclass(frozen=True, kw_only=True)
class _Reading:
    """Reads rows, and keeps what it could not.

    Attributes:
        columns: Where things stand.
        unit: Of ages [years].
        subjects: That are asked for.
        doubts: Rows or subjects, by what is the matter with them.
    """

    columns: _Columns
    unit: float
    subjects: tuple[str, ...]
    doubts: dict[str, list[str]] = field(default_factory=dict)

    def people(self, rows: Sequence[Sequence[str]]) -> tuple[Participant, ...]:
        """Return the entries of the subjects."""
        result: dict[str, list[Participant]] = {}
        for number, row in enumerate(rows, start=2):
            name = _cell(row, self.columns.label)
            label = self._label(name)
            if label is None:
                continue
            if any(row[self.columns.count :]):
                self._doubt("more cells than columns", f"line {number} ({name})")
                continue
            age, sex = _cell(row, self.columns.age), _cell(row, self.columns.sex)
            person = Participant(participant_id=label, age=self._age(age, label), sex=self._sex(sex, label))
            result.setdefault(label, []).append(person)
        if rows and not result:
            self._doubt("not about any subject with maps", f"{len(rows)} lines")
        return tuple(self._one(label, people) for label, people in result.items())

    def remarks(self) -> tuple[str, ...]:
        """Return what could not be read, a sentence for each kind."""
        return tuple(
            f"{FILE}: {kind}: {', '.join(named[:N_NAMED])}"
            + (f" and {len(named) - N_NAMED} more" if len(named) > N_NAMED else "")
            for kind, named in self.doubts.items()
        )

    def _doubt(self, kind: str, about: str) -> None:
        self.doubts.setdefault(kind, []).append(about)

    def _label(self, name: str) -> str | None:
        """Return which subject is meant, or None: leading zeros and case do not matter if one is left."""
        label = re.sub(r"^sub-", "", name, flags=re.IGNORECASE)
        if label in self.subjects:
            return label
        alike = [subject for subject in self.subjects if _alike(subject) == _alike(label)]
        if len(alike) > 1:
            self._doubt("could be one of several subjects", f"{name} ({', '.join(alike)})")
        elif not alike and LABEL.fullmatch(label) is None:
            self._doubt("not a subject label", repr(name[:40]))
        return alike[0] if len(alike) == 1 else None

    def _age(self, text: str, label: str) -> float | None:
        if text.casefold() in ABSENT or math.isnan(self.unit):
            return None
        match = AGE.fullmatch(text.casefold())
        unit = None if match is None else YEARS.get(match[2]) if match[2] else self.unit
        years = None if match is None or unit is None else float(match[1].replace(",", ".")) * unit
        if match is None or years is None or years > OLDEST:
            self._doubt("not read as ages", f"sub-{label} {text[:40]!r}")
            return None
        if match[3]:
            self._doubt("ages given as a lower limit, which is used", f"sub-{label} {text!r}")
        return years

    def _sex(self, text: str, label: str) -> str:
        word = text.casefold()
        if word not in ABSENT and word not in SEXES:
            self._doubt("not read as sexes", f"sub-{label} {text[:40]!r}")
        return SEXES.get(word, "")

    def _one(self, label: str, people: Sequence[Participant]) -> Participant:
        """Return what several rows about one subject agree on."""
        ages = {person.age for person in people if person.age is not None}
        sexes = {person.sex for person in people if person.sex}
        if len(ages) > 1 or len(sexes) > 1:
            self._doubt(
                "contradictory lines about one subject; contradictory values are not used", f"sub-{label}"
            )
        return Participant(
            participant_id=label,
            age=ages.pop() if len(ages) == 1 else None,
            sex=sexes.pop() if len(sexes) == 1 else "",
        )


def _alike(label: str) -> str:
    return (label.lstrip("0") or "0") if label.isdigit() else label.casefold()


def _cell(row: Sequence[str], place: int | None) -> str:
    return row[place] if place is not None and place < len(row) else ""
