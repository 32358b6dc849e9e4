"""What an evaluation leaves: tables on the screen, pictures and one long table in a folder."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from rich.console import Console

from unweight.benchmark.core.scoring import MetricChoice
from unweight.benchmark.core.tables import TextTable
from unweight.cli.terminal import table
from unweight.files.atomic import write_together
from unweight.files.text_files import write_table
from unweight.metrics.scores import Score, scores_table
from unweight.registry.records import Inputs

SCORES = "scores.tsv"


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """What an evaluation gives.

    Attributes:
        scores: All of them.
        figures: Pictures by file name.
        tables: To be read at a glance.
    """

    scores: Sequence[Score]
    figures: Mapping[str, bytes]
    tables: Sequence[TextTable]


@final
@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """One of the evaluations.

    Attributes:
        run: From arguments to scores, pictures and tables.
        metrics: Those it scores by default.
        fed: What it has for metrics of the registry.
    """

    run: Callable[[argparse.Namespace, Console, MetricChoice], Evaluation]
    metrics: tuple[str, ...]
    fed: tuple[Inputs, ...]

    def __call__(self, arguments: argparse.Namespace, screen: Console, metrics: MetricChoice) -> Evaluation:
        """Run it."""
        return self.run(arguments, screen, metrics)


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
    for each in tables:
        screen.print()
        screen.print(table(each.columns, each.rows, each.title))
