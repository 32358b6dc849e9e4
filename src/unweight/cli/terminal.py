"""What the terminal shows: lines, tables and progress. The only place that knows rich."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import final

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from unweight.core.estimator import Progress as Report

PLAIN_WIDTH = 160  # of tables in files and pipes


def console(*, quiet: bool = False) -> Console:
    """Return where results are said; paths are never wrapped, coloured or read as markup."""
    width = None if sys.stdout.isatty() else PLAIN_WIDTH
    return Console(quiet=quiet, highlight=False, markup=False, soft_wrap=True, width=width)


def error_line(text: str) -> None:
    """Say what went wrong, on standard error."""
    print(text, file=sys.stderr)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> Table:
    """Build a table; columns of numbers are right-aligned."""
    built = Table(
        title=Text(title) if title else None,
        title_justify="left",
        header_style="bold",
        box=None,
        pad_edge=False,
    )
    for index, column in enumerate(columns):
        numeric = all(row[index][:1] in "+-0123456789n" for row in rows) and bool(rows)
        built.add_column(column, justify="right" if numeric else "left", no_wrap=True)
    for row in rows:
        built.add_row(*row)
    return built


@contextmanager
def progress(label: str, *, quiet: bool) -> Iterator[Report]:
    """Show a bar on a terminal, and nothing elsewhere."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("voxels"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=quiet or not sys.stderr.isatty(),
    )
    with bar:
        task = bar.add_task(label, total=None)

        def report(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield report


@final
@dataclass(frozen=True, kw_only=True)
class Course:
    """A long piece of work with several parts: a bar for each on a terminal, and lines.

    Attributes:
        parts: The bars.
        tasks: Which bar belongs to which part.
        screen: Where lines go; above the bars where there are any.
    """

    parts: Progress
    tasks: dict[str, TaskID]
    screen: Console

    def bar(self, label: str) -> Report:
        """Return what moves the bar of a part; it appears with the first call."""

        def report(done: int, total: int) -> None:
            if label not in self.tasks:
                self.tasks[label] = self.parts.add_task(label, total=total)
            self.parts.update(self.tasks[label], completed=done, total=total)

        return report

    def line(self, text: str) -> None:
        """Say something."""
        self.screen.print(text)


@contextmanager
def course(*, quiet: bool) -> Iterator[Course]:
    """Show the course of a long piece of work; bars only on a terminal."""
    shown = sys.stderr.isatty() and sys.stdout.isatty() and not quiet
    # Lines must know of the bars below them, so on a terminal both go the same way.
    screen = Console(highlight=False, markup=False, soft_wrap=True) if shown else console(quiet=quiet)
    bars = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=screen,
        transient=True,
        disable=not shown,
    )
    with bars:
        yield Course(parts=bars, tasks={}, screen=screen)
