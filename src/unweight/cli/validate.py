"""`unweight validate`: read everything, map nothing, report faults and which command can map what."""

import argparse
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import final

from rich.console import Console

from unweight.bids.collection import LINKS, Collection, place_in_tree
from unweight.bids.exam.choice import FEWEST, ExamChoice, Fitness
from unweight.bids.folders import is_folder
from unweight.bids.read import FoundSeries, Series, find_inputs, images_in
from unweight.bids.series.weighted import CONTRASTS
from unweight.cli.exam_table import exam_table, options_of_exam
from unweight.cli.options import Verbosity, options_of
from unweight.cli.study.plan_tables import show_refusals
from unweight.cli.terminal import console, error_line, table
from unweight.core.errors import InputError, UnweightError
from unweight.core.protocol import Protocol
from unweight.fit.inversion_recovery import InversionRecoveryFit
from unweight.learn.weighted.protocol_judge import FAMILY, judge_of
from unweight.mapping.exam import ExamSource, check_choice, opened
from unweight.mapping.t1 import T1Options
from unweight.registry import commands, methods
from unweight.run.plan import plan_run
from unweight.run.planned import Plan, PlannedStep

MAPPED = ("IRT1", "")  # series `unweight t1` takes: of a BIDS tree, and of anything else
COLUMNS = ("series", "state", "voxels", "timings", "command")
TIMES = (
    ("inversion_time", "TI", "s"),
    ("repetition_time", "TR", "s"),
    ("echo_time", "TE", "s"),
    ("flip_angle", "flip angle", "degrees"),
)
NONE = "-"
B1_MAP = "--b1-map"  # a map that a step is given beside its images


@final
@dataclass(frozen=True, kw_only=True)
class ValidateOptions:
    """Options of `unweight validate`.

    Attributes:
        series: Which series.
        verbosity: What is printed.
    """

    series: T1Options
    verbosity: Verbosity


@final
@dataclass(kw_only=True)
class Findings:
    """What was found so far.

    Attributes:
        wrong: Series that cannot be read.
        incomplete: Series that lack files or volumes.
        mapped: How many series, or exams, each command can map.
        notes: The series that each note is about.
        files: Of the series that can be read.
    """

    wrong: int = 0
    incomplete: int = 0
    mapped: Counter[str] = field(default_factory=Counter)
    notes: dict[str, list[str]] = field(default_factory=dict)
    files: set[Path] = field(default_factory=set)


def run(arguments: argparse.Namespace) -> int:
    """Read every series of a kind this program knows, and print a table for each subject."""
    options = options_of(ValidateOptions, arguments)
    screen = console(quiet=options.verbosity.quiet)
    images = options.series.images
    given = replace(images.given(options.series.kind), sampled=True)
    result = find_inputs(images.inputs, given, suffixes=tuple(LINKS), subjects=images.subjects)
    place = place_in_tree(images.inputs[0]) if len(images.inputs) == 1 else None
    if place is not None:
        subjects = images.subjects if place.subject is None else (place.subject,)
        plan = plan_run(place.root, subjects=subjects)
        return _show(result, plan, place.root.absolute(), screen, options)
    known = None
    if len(images.inputs) == 1 and is_folder(images.inputs[0]):
        try:
            known = result[0].read()
        except UnweightError as error:
            exam = _exam_of(images.inputs[0], images.series, error)
            if exam is not None:
                return _show_exam(exam, images.inputs[0], screen)
    return _show(result, Plan(tasks=(), refusals=()), None, screen, options, known)


def _show(
    result: Sequence[FoundSeries],
    plan: Plan,
    root: Path | None,
    screen: Console,
    options: ValidateOptions,
    known: Series | None = None,
) -> int:
    """Print a table for each visit, then each note once, then what each command can map."""
    findings = Findings()
    steps = _steps_by_file(plan, root)
    visits: dict[str, list[FoundSeries]] = {}
    for item in result:
        label = "_".join(f"{key}-{item.entities[key]}" for key in ("sub", "ses") if key in item.entities)
        visits.setdefault(label, []).append(item)
    for label, members in visits.items():
        rows = [row for item in members if (row := _row(item, known, steps, findings, options)) is not None]
        if rows:
            screen.print(table(COLUMNS, rows, label))
        _show_choice(label, members, screen)
    findings.mapped.update(step.pipeline for step in plan.steps if _is_ready(step, root, findings.files))
    for note, series in findings.notes.items():
        who = series[0] if len(series) == 1 else f"{len(series)} series"
        screen.print(f"note ({who}): {note}")
    show_refusals([item for item in plan.refusals if item.pipeline and not item.fault], screen)
    mapped = [f"{findings.mapped[name]} by {name}" for name in commands() if findings.mapped[name]]
    total = len(result)
    screen.print(
        f"{total - findings.wrong} of {total} series can be read; can be mapped: {_joined(mapped)}"
    )
    return 2 if findings.wrong == total else 1 if findings.wrong or findings.incomplete else 0


def _row(
    item: FoundSeries,
    known: Series | None,
    steps: Mapping[Path, Sequence[PlannedStep]],
    findings: Findings,
    options: ValidateOptions,
) -> tuple[str, ...] | None:
    """Read one series and return its row; what is wrong with it goes to standard error."""
    try:
        series = known or item.read()
        accepted = series.suffix in MAPPED
        if accepted:
            InversionRecoveryFit().accept(series.acquisition)
    except UnweightError as error:
        if options.verbosity.debug:
            raise
        findings.wrong += 1
        error_line(f"{item.label}: {error}")
        return None
    findings.incomplete += bool(series.faults)
    for fault in series.faults:
        error_line(f"{item.label}: {fault}")
    for note in (*series.notes, *_clipped(series)):
        findings.notes.setdefault(note, []).append(item.label)
    findings.files.update(path.absolute() for path in series.files)
    planned = (step for path in series.files for step in steps.get(path.absolute(), ()))
    used = [f"{step.pipeline} (values missing)" if step.doubts else step.pipeline for step in planned]
    names = list(dict.fromkeys(used))
    if accepted and not steps:
        findings.mapped.update(["t1"])
        names = ["t1"]
    state = "incomplete" if series.faults else "good"
    shape = " x ".join(str(size) for size in series.shape)
    kind = series.acquisition.kind.value
    return item.label, f"{state}, {kind}", shape, _timings(series.acquisition.protocol), _joined(names)


def _timings(protocol: Protocol) -> str:
    """Return the timings of a series in words: `TI 0.05 to 2.5 s (7), TR 2.55 s`."""
    values = protocol.as_dict()
    parts = []
    for name, short, unit in TIMES:
        times = values.get(name)
        if not isinstance(times, list) or not times:
            continue
        numbers = [math.degrees(value) if name == "flip_angle" else value for value in times]
        low, high = min(numbers), max(numbers)
        if math.isclose(low, high, rel_tol=1e-6):
            parts.append(f"{short} {low:.4g} {unit}")
        else:
            count = len({round(value, 9) for value in numbers})
            parts.append(f"{short} {low:.4g} to {high:.4g} {unit} ({count})")
    strength = values.get("field_strength")
    return ", ".join([*parts, *([f"{strength:g} T"] if isinstance(strength, int | float) else [])])


def _clipped(series: Series) -> tuple[str, ...]:
    saturated = series.acquisition.saturated
    if saturated is None or not bool(saturated.any()):
        return ()
    share = float(saturated.double().mean())
    return (f"about {max(1, round(share * math.prod(series.shape)))} voxels are clipped (saturated)",)


def _show_choice(label: str, members: Sequence[FoundSeries], screen: Console) -> None:
    """Print the T1w, T2w and FLAIR of a visit and which `unweight maps` uses, where there are several."""
    origins = tuple(
        item.origin
        for item in members
        if isinstance(item.origin, Collection) and item.origin.suffix in CONTRASTS
    )
    if len(origins) < FEWEST:
        return
    with opened(ExamSource(origin=origins), judge_of({}, methods(FAMILY)[0].name)) as exam:
        screen.print(exam_table(exam.choice, f"{label}: T1w, T2w and FLAIR"))


def _is_ready(step: PlannedStep, root: Path | None, files: set[Path]) -> bool:
    """Whether a command can map images as they are: all of them can be read, and nothing is missing."""
    images = (path for option, paths in step.inputs.items() if option != B1_MAP for path in paths)
    return root is not None and not step.doubts and all(root / path in files for path in images)


def _steps_by_file(plan: Plan, root: Path | None) -> dict[Path, list[PlannedStep]]:
    steps: dict[Path, list[PlannedStep]] = {}
    if root is None:
        return steps
    for step in plan.steps:
        for path in (path for paths in step.inputs.values() for path in paths):
            steps.setdefault(root / path, []).append(step)
    return steps


def _exam_of(folder: Path, numbers: tuple[int, ...] | None, known: UnweightError) -> ExamChoice | None:
    """Return the choice among the images of a folder; None if they are no weighted images of two contrasts.

    Args:
        folder: Of DICOM or NIfTI files.
        numbers: Of the series to look at; None for all.
        known: Why the folder cannot be read as one series; another reason goes to standard error.
    """
    origin = images_in(folder) or folder
    source = ExamSource(origin=origin, numbers=numbers if isinstance(origin, Path) else None)
    try:
        with opened(source, judge_of({}, methods(FAMILY)[0].name)) as exam:
            contrasts = {*exam.choice.chosen, *(item.contrast for item in exam.choice.left_out)} - {""}
            return exam.choice if len(contrasts) >= FEWEST else None
    except InputError as error:
        if error.problem != known.problem:
            error_line(str(error))
        return None


def _show_exam(choice: ExamChoice, path: Path, screen: Console) -> int:
    """Print the images of an exam, and what `unweight maps` would do with them."""
    screen.print(exam_table(choice))
    try:
        check_choice(choice)
    except InputError as error:
        error_line(f"{path}: {error}")
        return 2
    if options := options_of_exam(choice):
        screen.print(f"to map it: unweight maps {path} {options} -o maps")
    ready = sum(item.fitness is Fitness.READY for item in choice.assessments.values())
    screen.print(f"{ready} of {len(choice.chosen)} chosen images can be mapped by maps as they are")
    return 0 if ready == len(choice.chosen) else 1


def _joined(names: Sequence[str]) -> str:
    return ", ".join(names) if names else NONE
