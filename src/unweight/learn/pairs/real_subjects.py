"""Who in a BIDS tree has both a multi-echo gradient echo and a T1w, to learn from and to be judged by.

Only names are looked at here; `learn.pairs.real_pair` reads. Images of one session belong together. Of
several runs the first is taken; a session with images that differ in anything else is left out, for
which of them is meant cannot be known. T1w after a contrast agent (`ce`) do not count. Age and sex come
from `participants.tsv`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, final

from unweight.bids.collection import Collection, Unreadable
from unweight.bids.names import image_stem, parse_stem
from unweight.bids.participants import read_participants
from unweight.bids.read import FoundSeries, find_inputs, source_of
from unweight.bids.series.overrides import NOTHING_GIVEN, ProtocolOverrides
from unweight.core.acquisition import SignalKind
from unweight.core.errors import InputError
from unweight.core.text import natural_key
from unweight.files.atomic import fingerprint

ECHOES, T1W, LABELS = "MEGRE", "T1w", "dseg"
MALE = {"M": True, "F": False}
CONTRAST_AGENT = "ce"
OF_LABELS = ("desc", "seg", "atlas", "part")  # on which the name of a label image may differ from its T1w's
LAST = 10**9  # a run that has no number
N_NAMED = 5


@final
@dataclass(frozen=True, kw_only=True)
class PairedSubject:
    """One subject, or one session of a subject, with both images.

    Attributes:
        label: `sub-01`, or `sub-01_ses-a`.
        series: The echoes: complex where there is phase, magnitude otherwise.
        t1w: The T1-weighted image.
        age: [years]
        male: None where it is not known.
        labels: Structures in the space of the T1w.
        notes: What was ignored.
    """

    label: str
    series: FoundSeries
    t1w: Path
    age: float | None = None
    male: bool | None = None
    labels: Path | None = None
    notes: tuple[str, ...] = ()


def contents_of(subject: PairedSubject) -> str:
    """Return what tells the images and labels of a subject from others, whatever they are called."""
    origin = subject.series.origin
    echoes = (
        [path for files in origin.files.values() for path in files]
        if isinstance(origin, Collection)
        else []
    )
    paths = [*sorted(echoes), subject.t1w, *([] if subject.labels is None else [subject.labels])]
    return fingerprint("".join(source_of(path, None) for path in paths).encode())


class LeftOut(NamedTuple):
    """A subject or session that gives no pair, and why."""

    label: str
    reason: str


@final
@dataclass(frozen=True, kw_only=True)
class FoundPairs:
    """What a tree holds.

    Attributes:
        subjects: Who has both images; at least one.
        left_out: Who has not.
        remarks: What could not be read of age and sex, in sentences.
    """

    subjects: tuple[PairedSubject, ...]
    left_out: tuple[LeftOut, ...] = ()
    remarks: tuple[str, ...] = ()


class _Member(NamedTuple):
    """One series of a session."""

    series: FoundSeries
    collection: Collection


def paired_subjects(
    inputs: Sequence[Path],
    given: ProtocolOverrides = NOTHING_GIVEN,
    subjects: Sequence[str] | None = None,
    labels: Path | None = None,
) -> FoundPairs:
    """Find out who has both images, without reading them.

    Args:
        inputs: One BIDS tree, or the folder of one subject in it.
        given: What the caller says about the echoes; whether they are complex is seen for each.
        subjects: Which subjects, without `sub-`; None for all.
        labels: A BIDS derivatives folder with `_dseg` images in the space of the T1w; None for none.

    Raises:
        InputError: This is no BIDS tree, or nobody in it has both images.
    """
    if labels is not None and not labels.is_dir():
        raise InputError("there is no such folder of labels", remedy="Check the path.", path=labels)
    sessions: dict[str, list[_Member]] = {}
    paired, left = [], []
    for series in find_inputs(inputs, given, suffixes=(ECHOES, T1W), subjects=subjects):
        if isinstance(series.origin, Unreadable):
            left.append(LeftOut(series.label, series.origin.error.problem))
            continue
        if not isinstance(series.origin, Collection):
            raise InputError("is not a BIDS dataset", remedy="Give the root of a dataset.", path=inputs[0])
        sessions.setdefault(_session(series.origin.entities), []).append(_Member(series, series.origin))
    root = next((members[0].collection.root for members in sessions.values()), inputs[0])
    subjects_there = tuple(members[0].collection.entities["sub"] for members in sessions.values())
    table = read_participants(root, subjects_there)
    people = {entry.participant_id: entry for entry in table.people}
    for label, members in sorted(sessions.items(), key=lambda entry: natural_key(entry[0])):
        item = _paired(label, members, labels)
        if isinstance(item, LeftOut):
            left.append(item)
            continue
        person = people.get(members[0].collection.entities["sub"])
        if person is not None:
            item = replace(item, age=person.age, male=MALE.get(person.sex))
        paired.append(item)
    if not paired:
        text = "; ".join(f"{entry.label}: {entry.reason}" for entry in left[:N_NAMED])
        more = f"; and {len(left) - N_NAMED} more" if len(left) > N_NAMED else ""
        raise InputError(
            f"no subject has one {ECHOES} series and one {T1W} ({text}{more})",
            remedy="Both must be in one session.",
            path=inputs[0],
        )
    return FoundPairs(subjects=tuple(paired), left_out=tuple(left), remarks=table.remarks)


def _session(entities: Mapping[str, str]) -> str:
    return "_".join(f"{key}-{entities[key]}" for key in ("sub", "ses") if key in entities)


def _paired(label: str, members: Sequence[_Member], labels: Path | None) -> PairedSubject | LeftOut:
    echoes, info = _one_of([member for member in members if member.collection.suffix == ECHOES], ECHOES)
    if echoes is None:
        return LeftOut(label, info)
    image, more = _one_of([member for member in members if _is_plain(member.collection)], T1W)
    if image is None:
        return LeftOut(label, more)
    parts = set(echoes.collection.files)
    kind = SignalKind.COMPLEX
    if not ({"real", "imag"} <= parts or ("phase" in parts and parts & {"mag", ""})):
        kind = SignalKind.MAGNITUDE
    if kind is SignalKind.MAGNITUDE and not parts & {"mag", ""}:
        return LeftOut(label, f"its {ECHOES} series has no magnitude, only {', '.join(sorted(parts))}")
    t1w = _magnitude(image.collection)[0]
    structures = () if labels is None else _labels_of(t1w, labels)
    if len(structures) > 1:
        names = ", ".join(path.name for path in structures)
        return LeftOut(label, f"several label images match {t1w.name}: {names}")
    notes = [note for note in (info, more) if note]
    if labels is not None and not structures:
        notes.append(f"no label image matches {t1w.name}")
    return PairedSubject(
        label=label,
        series=replace(echoes.series, given=replace(echoes.series.given, kind=kind)),
        t1w=t1w,
        labels=next(iter(structures), None),
        notes=tuple(notes),
    )


def _one_of(members: Sequence[_Member], suffix: str) -> tuple[_Member | None, str]:
    """Return the only one, or the first run, and what is to be said; None if it cannot be known which."""
    if not members:
        return None, f"has no {suffix}"
    ranked = sorted(members, key=lambda member: _run(member.collection.entities))
    others = [
        {key: x for key, x in member.collection.entities.items() if key != "run"} for member in members
    ]
    listed = ", ".join(item.collection.label for item in ranked)
    if any(other != others[0] for other in others):
        return None, f"has several {suffix} that differ by more than their run: {listed}"
    return ranked[0], "" if len(ranked) == 1 else f"the first run is taken of {listed}"


def _run(entities: Mapping[str, str]) -> tuple[int, str]:
    run = entities.get("run", "")
    return (int(run) if run.isascii() and run.isdigit() else -1 if not run else LAST), run


def _is_plain(collection: Collection) -> bool:
    """Whether this is a magnitude T1w without a contrast agent."""
    return (
        collection.suffix == T1W
        and CONTRAST_AGENT not in collection.entities
        and bool(_magnitude(collection))
    )


def _magnitude(collection: Collection) -> tuple[Path, ...]:
    return collection.files.get("mag") or collection.files.get("", ())


def _labels_of(t1w: Path, folder: Path) -> tuple[Path, ...]:
    """Return the label images whose names say what that of the T1w says."""
    name = parse_stem(image_stem(t1w) or "")
    if name is None:
        return ()
    wanted = {key: label for key, label in name.entities.items() if key not in OF_LABELS}
    inside = folder.joinpath(*(f"{key}-{wanted[key]}" for key in ("sub", "ses") if key in wanted), "anat")
    result = []
    for path in sorted(inside.glob(f"*_{LABELS}.nii*"), key=natural_key):
        other = parse_stem(image_stem(path) or "")
        if other is None or other.suffix != LABELS:
            continue
        values = {key: label for key, label in other.entities.items() if key not in OF_LABELS}
        if values == wanted or values == wanted | {"space": T1W}:
            result.append(path)
    return tuple(result)
