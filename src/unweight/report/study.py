"""A study on one page: quality of every subject, maps and regions across them, and who failed and why."""

import math
import re
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import final
from urllib.parse import quote

from unweight.bids.participants import Participant
from unweight.core.errors import UsageError
from unweight.core.text import NaturalKey, natural_key
from unweight.report.charts import Dot, number, room, scatter, shares, strip
from unweight.report.document import render

FENCE = 3.5  # of the modified z-score beyond which a subject is marked (Iglewicz and Hoaglin, 1993)
MAD_OF_SD = 0.6745
FEWEST = 5  # subjects that say what is usual
LABEL = re.compile(r"[0-9A-Za-z+]{1,64}")


@final
@dataclass(frozen=True, kw_only=True)
class QcRow:
    """The outcome of one map of one subject.

    Attributes:
        subject: Label, with or without `sub-`.
        session: Label, or nothing.
        set: Which set of maps it belongs to, `T1` or `acq-ir`; nothing if there is one only.
        map: Its name, `T1map`.
        unit: Of its values.
        voxels: With signal.
        usable: Share of them that can be used, 0 to 1.
        suspect: Share that has a value not to be trusted.
        failed: Share without a value.
        median: Of the usable voxels.
        q25: First quartile.
        q75: Third quartile.
        misfit: Median; NaN if none was computed.
    """

    subject: str
    session: str = ""
    set: str = ""
    map: str
    unit: str = ""
    voxels: int
    usable: float
    suspect: float
    failed: float
    median: float
    q25: float
    q75: float
    misfit: float = math.nan


@final
@dataclass(frozen=True, kw_only=True)
class RegionValue:
    """One map of one subject in one region.

    Attributes:
        subject: Label, with or without `sub-`.
        session: Label, or nothing.
        map: Its name.
        unit: Of its values.
        region: Name of the region.
        voxels: Measured.
        mean: Of them.
        sd: Spread of them.
        median: Likewise.
        q25: First quartile.
        q75: Third quartile.
    """

    subject: str
    session: str = ""
    map: str
    unit: str = ""
    region: str
    voxels: int
    mean: float
    sd: float
    median: float
    q25: float
    q75: float


@final
@dataclass(frozen=True, kw_only=True)
class Failure:
    """One step that failed for one subject.

    Attributes:
        subject: Label, with or without `sub-`; or the name of a folder that is no label.
        session: Label, or nothing.
        step: What was done, `t1`.
        reason: What was wrong, in a sentence.
    """

    subject: str
    session: str = ""
    step: str
    reason: str


@final
@dataclass(frozen=True, kw_only=True)
class Study:
    """The tables of a study, as they were read.

    Attributes:
        qc: One row a map.
        regions: One row a map and region.
        failures: One row a failed step.
        participants: Age and sex, where they are known.
        pages: Labels of the subjects that have a page; None if all in `qc` have one.
        remarks: What could not be read and stopped nothing, in sentences.
    """

    qc: tuple[QcRow, ...] = ()
    regions: tuple[RegionValue, ...] = ()
    failures: tuple[Failure, ...] = ()
    participants: tuple[Participant, ...] = ()
    pages: frozenset[str] | None = None
    remarks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        info = [row.subject for row in self.qc] + [row.subject for row in self.regions]
        for subject in (*info, *(participant.participant_id for participant in self.participants)):
            if LABEL.fullmatch(plain_label(subject)) is None:
                raise UsageError(f"{subject[:80]!r} is not a subject label")


def plain_label(subject: str) -> str:
    """Return the label of a subject without `sub-`."""
    return subject.removeprefix("sub-")


def study_page(study: Study) -> bytes:
    """Return the page of a study; it links to `sub-<label>.html` beside it."""
    strange = outliers(study.qc)
    subjects = sorted({plain_label(row.subject) for row in study.qc}, key=natural_key)
    failed = sorted({plain_label(row.subject) for row in study.failures}, key=natural_key)
    pages = frozenset(subjects) if study.pages is None else frozenset(map(plain_label, study.pages))
    sections = [
        ("maps", "Maps"),
        ("regions", "Regions"),
        ("subjects", "Subjects"),
        ("failures", "Failures"),
    ]
    displayed = {"maps": bool(study.qc), "regions": bool(study.regions), "subjects": bool(study.qc)}
    return render(
        "study.html",
        {
            "title": "Study",
            "mark": "unweight · study",
            "sections": [section for section in sections if displayed.get(section[0], True)],
            "subjects": subjects,
            "failed": failed,
            "complete": [subject for subject in subjects if subject not in failed],
            "marked": sorted({subject for subject, *_ in strange}, key=natural_key),
            "several": any(row.set for row in study.qc),
            "maps": _maps(study, strange),
            "rows": [_row(row, strange, pages) for row in sorted(study.qc, key=_place)],
            "regions": _regions(study),
            "by_age": _by_age(study),
            "remarks": study.remarks,
            "failures": [
                {"row": row, "label": _label(row), "link": _link(row.subject, pages)}
                for row in sorted(study.failures, key=_place_of_failure)
            ],
        },
    )


def outliers(rows: Sequence[QcRow]) -> frozenset[tuple[str, str, str, str]]:
    """Return (subject, session, set, map) of what lies far from the other subjects.

    Far is a modified z-score of the median or of the usable share above 3.5; fewer than five subjects
    do not say what is usual.
    """
    result: set[tuple[str, str, str, str]] = set()
    for _, group in _grouped(rows):
        for values in ([row.median for row in group], [row.usable for row in group]):
            result |= {_key(group[place]) for place in far_out(values)}
    return frozenset(result)


def far_out(values: Sequence[float]) -> list[int]:
    """Return the places of values whose modified z-score is above 3.5."""
    there = [value for value in values if math.isfinite(value)]
    if len(there) < FEWEST:
        return []
    middle = statistics.median(there)
    spread = statistics.median(abs(value - middle) for value in there)
    # Where more than half are equal the deviation from the median is nothing: then its mean serves.
    scale = (
        MAD_OF_SD / spread
        if spread > 0
        else 0.7979 / (statistics.fmean(abs(value - middle) for value in there) or math.inf)
    )
    return [
        place
        for place, value in enumerate(values)
        if math.isfinite(value) and abs(value - middle) * scale > FENCE
    ]


def _grouped(rows: Iterable[QcRow]) -> list[tuple[tuple[str, str], list[QcRow]]]:
    """Return the rows of each set and map, in order of name."""
    groups: dict[tuple[str, str], list[QcRow]] = {}
    for row in rows:
        groups.setdefault((row.set, row.map), []).append(row)
    return sorted(groups.items())


def _key(row: QcRow) -> tuple[str, str, str, str]:
    return (plain_label(row.subject), row.session, row.set, row.map)


def _place(row: QcRow) -> tuple[NaturalKey, ...]:
    return tuple(natural_key(part) for part in _key(row))


def _place_of_failure(failure: Failure) -> tuple[NaturalKey, NaturalKey, str]:
    return natural_key(failure.subject), natural_key(failure.session), failure.step


def _label(row: QcRow | RegionValue | Failure) -> str:
    return plain_label(row.subject) + (f" · {row.session.removeprefix('ses-')}" if row.session else "")


def _link(subject: str, pages: frozenset[str]) -> str:
    label = plain_label(subject)
    return quote(f"sub-{label}.html") if label in pages else ""


def _maps(study: Study, strange: frozenset[tuple[str, str, str, str]]) -> list[dict[str, object]]:
    charts: list[dict[str, object]] = []
    for (chosen, name), group in _grouped(study.qc):
        there = [row for row in group if math.isfinite(row.median)]
        if not there:
            continue
        dots = [Dot(x=row.median, name=_label(row), outlier=_key(row) in strange) for row in there]
        middle = statistics.median(row.median for row in there)
        label = (
            f"Medians of {name} of {len(there)} subjects; their median is {number(middle)} {group[0].unit}"
        )
        charts.append(
            {
                "name": name,
                "set": chosen,
                "unit": group[0].unit,
                "count": len(there),
                "middle": number(middle),
                "chart": strip(dots, *room([row.median for row in there]), label),
            }
        )
    return charts


def _row(
    row: QcRow, strange: frozenset[tuple[str, str, str, str]], pages: frozenset[str]
) -> dict[str, object]:
    parts = [("good", row.usable), ("doubt", row.suspect), ("bad", row.failed)]
    text = f"{100 * row.usable:.1f} % usable, {100 * row.suspect:.1f} % suspect, "
    text += f"{100 * row.failed:.1f} % failed"
    return {
        "row": row,
        "label": _label(row),
        "link": _link(row.subject, pages),
        "strange": _key(row) in strange,
        "bar": shares(parts, text),
        "numbers": [
            (row.usable, f"{100 * row.usable:.1f}"),
            (row.suspect, f"{100 * row.suspect:.1f}"),
            (row.failed, f"{100 * row.failed:.1f}"),
            (row.median, number(row.median)),
            (row.q25, number(row.q25)),
            (row.q75, number(row.q75)),
            (row.misfit, number(row.misfit)),
        ],
    }


def _by_region(study: Study) -> list[tuple[tuple[str, str, str], list[RegionValue]]]:
    groups: dict[tuple[str, str, str], list[RegionValue]] = {}
    for row in study.regions:
        if math.isfinite(row.mean):
            groups.setdefault((row.map, row.region, row.unit), []).append(row)
    return sorted(groups.items())


def _regions(study: Study) -> list[dict[str, object]]:
    table: list[dict[str, object]] = []
    for (name, region, unit), group in _by_region(study):
        means = [row.mean for row in group]
        spread = statistics.stdev(means) if len(means) > 1 else math.nan
        centre = statistics.fmean(means)
        numbers = (
            centre,
            spread,
            100 * spread / abs(centre) if centre else math.nan,
            min(means),
            max(means),
        )
        table.append(
            {
                "map": name,
                "region": region,
                "unit": unit,
                "count": len(means),
                "numbers": [(value, number(value)) for value in numbers],
                "outliers": ", ".join(_label(group[place]) for place in far_out(means)),
            }
        )
    return table


def _by_age(study: Study) -> list[dict[str, object]]:
    """Return a chart against age of each map and region, where at least three ages are known."""
    known = {plain_label(participant.participant_id): participant for participant in study.participants}
    sexes = sorted({participant.sex for participant in study.participants if participant.sex})
    charts: list[dict[str, object]] = []
    for (name, region, unit), group in _by_region(study):
        dots = []
        for row in group:
            person = known.get(plain_label(row.subject))
            if person is not None and person.age is not None and math.isfinite(person.age):
                other = len(sexes) > 1 and person.sex != sexes[0]
                dots.append(Dot(x=person.age, y=row.mean, name=_label(row), other=other))
        if len({dot.x for dot in dots}) >= 3:
            label = f"{name} in {region} against age, {len(dots)} subjects"
            words = ("age [years]", f"{name} [{unit}]" if unit else name)
            charts.append({"map": name, "region": region, "chart": scatter(dots, label, words)})
    if charts:
        charts[0]["sexes"] = [*sexes[:1], "others"] if len(sexes) > 2 else sexes
    return charts
