"""What the terminal shows: lines, tables and progress. The only place that knows rich."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from unweight.core.estimator import Progress as Report

PLAIN_WIDTH = 160  # of tables in files and pipes


def console(*, quiet: bool = False) -> Console:
    """Return where results are said; paths are never wrapped or coloured."""
    width = None if sys.stdout.isatty() else PLAIN_WIDTH
    return Console(quiet=quiet, highlight=False, soft_wrap=True, width=width)


def error_line(text: str) -> None:
    """Say what went wrong, on standard error."""
    print(text, file=sys.stderr)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> Table:
    """Build a table; columns of numbers are right-aligned."""
    built = Table(title=title or None, title_justify="left", header_style="bold", box=None, pad_edge=False)
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
