"""What an evaluation leaves: tables on the screen, pictures and one long table in a folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from unweight.benchmark.t1.tables import TextTable
from unweight.cli.terminal import table
from unweight.files.atomic import write_together
from unweight.files.text_files import write_table
from unweight.metrics.scores import Score, scores_table

SCORES = "scores.tsv"


def write(out: Path, scores: Sequence[Score], figures: Mapping[str, bytes], screen: Console) -> None:
    """Write the pictures, then the table: it is the mark that all is there."""
    columns, rows = scores_table(scores)
    if figures:
        write_together((out / name, content) for name, content in figures.items())
    write_table(out / SCORES, rows, columns)
    for name in (*figures, SCORES):
        screen.print(str(out / name))


def show(tables: Sequence[TextTable], screen: Console) -> None:
    """Print the tables that can be read at a glance."""
    for one in tables:
        screen.print()
        screen.print(table(one.columns, one.rows, one.title))
