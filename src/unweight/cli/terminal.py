"""What the terminal shows: lines, tables and progress. The only place that knows rich."""

import io
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import final

from rich.console import Console, ConsoleRenderable, RenderHook
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

from unweight.cli.log_file import PRINT_LOG, complain, log_printed
from unweight.core.estimator import Progress as Report
from unweight.core.text import printable

PLAIN_WIDTH = 160  # of tables in files and pipes
EVERY = 30.0  # seconds between lines where there is no terminal


@final
class Printable(RenderHook):
    """Shows what is no printable character in lines of text as its escape."""

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        """Return what is to be shown instead."""
        if PRINT_LOG.handlers:
            for renderable in renderables:
                log_printed(_plain_text(renderable))
        return [
            renderable.blank_copy(printable(renderable.plain))
            if isinstance(renderable, Text)
            else renderable
            for renderable in renderables
        ]


def _plain_text(renderable: ConsoleRenderable) -> str:
    """Return what is shown as plain text; bars move, and are left out."""
    if isinstance(renderable, Text):
        return renderable.plain
    if not isinstance(renderable, Table):
        return ""
    page = Console(file=io.StringIO(), width=PLAIN_WIDTH, markup=False, emoji=False)
    with page.capture() as captured:
        page.print(renderable)
    return captured.get()


def console(*, quiet: bool = False) -> Console:
    """Return where results are said; paths are never wrapped, coloured or taken for markup."""
    width = None if sys.stdout.isatty() else PLAIN_WIDTH
    return _plain(
        Console(quiet=quiet, highlight=False, soft_wrap=True, width=width, markup=False, emoji=False)
    )


def _plain(screen: Console) -> Console:
    screen.push_render_hook(Printable())
    return screen


def error_line(text: str) -> None:
    """Print what went wrong on standard error, as one line."""
    complain(text)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> Table:
    """Build a table; columns of numbers are right-aligned, and where space is short the others wrap."""
    built = Table(
        title=Text(printable(title)) if title else None,
        title_justify="left",
        header_style="bold",
        box=None,
        pad_edge=False,
    )
    for index, column in enumerate(columns):
        numeric = all(row[index][:1] in "+-0123456789n" for row in rows) and bool(rows)
        built.add_column(printable(column), justify="right" if numeric else "left", no_wrap=numeric)
    for row in rows:
        built.add_row(*(printable(cell) for cell in row))
    return built


def _now() -> float:
    return time.monotonic()


@final
@dataclass(kw_only=True)
class Ticker:
    """Prints how far work has got, a line at most every half minute, where there is no terminal.

    Attributes:
        label: What the work is called.
        began: When it began [s].
        printed: When the last line was printed [s].
    """

    label: str
    began: float = field(default_factory=_now)
    printed: float = field(default_factory=_now)

    def __call__(self, done: int, total: int) -> None:
        """Print a line on standard error if the last one is long ago and the work is not complete."""
        now = _now()
        if now - self.printed < EVERY or done >= total:
            return
        self.printed = now
        share = 100 * done / max(1, total)
        print(printable(f"{self.label}: {share:.0f} % after {now - self.began:.0f} s"), file=sys.stderr)


@contextmanager
def progress(label: str, *, quiet: bool) -> Iterator[Report]:
    """Show a bar on a terminal, and a line every half minute elsewhere."""
    if not quiet and not sys.stderr.isatty():
        yield Ticker(label=label)
        return
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("voxels"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=quiet,
    )
    with bar:
        task = bar.add_task(label, total=None, visible=False)

        def report(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total, visible=True)

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
        """Return what moves the bar of a part, or prints lines where there is no terminal."""
        if self.parts.disable and not self.screen.quiet:
            return Ticker(label=label)

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
    isatty = sys.stderr.isatty() and sys.stdout.isatty() and not quiet
    # Lines must know of the bars below them, so on a terminal both go the same way.
    screen = (
        _plain(Console(highlight=False, soft_wrap=True, markup=False, emoji=False))
        if isatty
        else console(quiet=quiet)
    )
    bars = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=screen,
        transient=True,
        disable=not isatty,
    )
    with bars:
        yield Course(parts=bars, tasks={}, screen=screen)
