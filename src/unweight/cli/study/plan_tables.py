"""What a run would do, subject by subject: `unweight run --dry-run`."""

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from unweight.cli.terminal import error_line, table
from unweight.run.cost import bytes_of, seconds_of
from unweight.run.planned import Plan, PlannedStep, Unmapped

GIGA = 1e9
COLUMNS = ("command", "images", "voxels", "time of one core", "memory", "state")
MOST_NAMED = 3  # labels that share a reason


def show_subjects(
    plan: Plan, root: Path, out: Path, screen: Console, duration: Callable[[float], str]
) -> None:
    """Print a table for each visit: which command maps which images; below it the choice and the calls.

    Args:
        plan: Of the run.
        root: Of the BIDS tree.
        out: Where maps go.
        screen: Where to print.
        duration: Returns seconds in words.
    """
    for task in plan.tasks:
        rows = [
            (
                step.pipeline,
                _images(step),
                f"{step.voxels:,} x {step.volumes}" if step.volumes > 1 else f"{step.voxels:,}",
                duration(seconds_of(step)),
                f"{bytes_of(step) / GIGA:.1f} GB",
                "; ".join(step.doubts) if step.doubts else "ready",
            )
            for step in task.steps
        ]
        screen.print(table(COLUMNS, rows, task.label))
        for note in dict.fromkeys(note for step in task.steps for note in step.notes):
            screen.print(f"  {note}")
        for step in task.steps:
            for option, command in step.reused.items():
                screen.print(f"  {step.pipeline} uses the map of {command} of this run ({option})")
            screen.print(shlex.join(("unweight", *step.words(root, out), *step.map_words(out))))


def show_refusals(refusals: Sequence[Unmapped], screen: Console) -> None:
    """Print what is not mapped: faults on standard error, other reasons once for all they concern.

    Args:
        refusals: Of a plan.
        screen: Where to print.
    """
    labels: dict[tuple[str, str], list[str]] = {}
    for item in refusals:
        command = f" ({item.pipeline})" if item.pipeline else ""
        if item.fault:
            error_line(f"{item.label}{command}: {item.reason}")
        else:
            labels.setdefault((command, item.reason), []).append(item.label)
    for (command, reason), members in labels.items():
        more = len(members) - MOST_NAMED
        named = ", ".join(members[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
        screen.print(f"skipped: {named}{command}: {reason}")


def _images(step: PlannedStep) -> str:
    """Return the images of a step: each with its option, or the first of a series and how many follow."""
    parts = [f"first map of {step.of}"] if step.of else []
    for option, paths in step.inputs.items():
        more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
        parts.append(f"{option} {Path(paths[0]).name}{more}".strip())
    return ", ".join(parts)
