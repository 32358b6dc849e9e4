"""Scores as tables of text: look-up, numbers with their unit, rows of columns."""

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import final

from unweight.benchmark.core.run import ALL
from unweight.metrics.scores import ABSENT, Score

Cells = tuple[str, ...]
Key = tuple[str, str, str, str, str]


@final
@dataclass(frozen=True, kw_only=True)
class TextTable:
    """One table to print.

    Attributes:
        title: What it shows, with the unit of the numbers.
        columns: Headings.
        rows: Cells.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Cells]


@final
@dataclass(frozen=True, kw_only=True)
class Column:
    """One number of each row.

    Attributes:
        heading: With the unit.
        metric: Which score.
        digits: After the point.
        factor: From the unit of the score to that of the heading.
        group: Of the score, where it is not that of the row.
        parameter: Likewise.
        suffix: Behind each number.
    """

    heading: str
    metric: str
    digits: int
    factor: float = 1.0
    group: str | None = None
    parameter: str | None = None
    suffix: str = ""


@final
@dataclass(frozen=True, kw_only=True)
class Row:
    """Whose scores a row shows.

    Attributes:
        dataset: Name of the dataset.
        method: Name of the method.
        parameter: Name of the map.
        group: Of voxels.
    """

    dataset: str
    method: str
    parameter: str
    group: str = ALL


@final
@dataclass(frozen=True, kw_only=True)
class ScoreIndex:
    """Scores to look up: the mean of those that share all names, NaN where there is none.

    Attributes:
        values: By dataset, method, parameter, group and metric, in the order of the scores.
    """

    values: Mapping[Key, float]

    def value(self, row: Row, metric: str) -> float:
        """Return one score."""
        return self.values.get((row.dataset, row.method, row.parameter, row.group, metric), math.nan)

    def has(self, row: Row, metric: str) -> bool:
        """Whether there is such a score."""
        return (row.dataset, row.method, row.parameter, row.group, metric) in self.values

    def datasets(self) -> list[str]:
        """Return the datasets in their order."""
        return list(dict.fromkeys(key[0] for key in self.values))

    def methods(self, dataset: str | None = None, parameter: str | None = None) -> list[str]:
        """Return the methods in their order: of one dataset, of one map."""
        return list(
            dict.fromkeys(
                key[1]
                for key in self.values
                if dataset in (None, key[0]) and (parameter is None or parameter == key[2])
            )
        )

    def cells(self, row: Row, columns: Iterable[Column]) -> Cells:
        """Return the numbers of a row."""
        return tuple(self._cell(row, column) for column in columns)

    def _cell(self, row: Row, column: Column) -> str:
        group = row.group if column.group is None else column.group
        parameter = row.parameter if column.parameter is None else column.parameter
        value = self.values.get((row.dataset, row.method, parameter, group, column.metric), math.nan)
        cell = number(value, column.digits, column.factor)
        return cell if cell == ABSENT else cell + column.suffix


def index_of(scores: Iterable[Score], dataset_of: Callable[[str], str] = str) -> ScoreIndex:
    """Return scores to look up.

    Args:
        scores: All of them.
        dataset_of: Makes of the name of a set that over which means are taken.
    """
    collected: dict[Key, list[float]] = {}
    for score in scores:
        key = (dataset_of(score.dataset), score.method, score.parameter, score.group, score.metric)
        collected.setdefault(key, []).append(score.value)
    return ScoreIndex(values={key: sum(values) / len(values) for key, values in collected.items()})


def number(value: float, digits: int, factor: float = 1.0) -> str:
    """Return a number as text; `n/a` for NaN."""
    return ABSENT if math.isnan(value) else f"{factor * value:.{digits}f}"


def headings(columns: Iterable[Column]) -> Cells:
    """Return what stands above the columns."""
    return tuple(column.heading for column in columns)


def filled(tables: Iterable[TextTable]) -> tuple[TextTable, ...]:
    """Return the tables that have a row."""
    return tuple(table for table in tables if table.rows)


def further_tables(scores: Sequence[Score], metrics: Collection[str]) -> tuple[TextTable, ...]:
    """Return metrics that no other table shows: a row for each set, map, group and method.

    Args:
        scores: All of them.
        metrics: Names; none gives no table.
    """
    displayed = [score for score in scores if score.metric in metrics]
    if not displayed:
        return ()
    index = index_of(displayed)
    return (
        TextTable(
            title="Further metrics",
            columns=("set", "map", "voxels", "method", *metrics),
            rows=list(_further_rows(index, metrics)),
        ),
    )


def _further_rows(index: ScoreIndex, metrics: Collection[str]) -> Iterator[Cells]:
    for dataset, method, parameter, group in dict.fromkeys(key[:4] for key in index.values):
        row = Row(dataset=dataset, method=method, parameter=parameter, group=group)
        cells = (number(index.value(row, metric), 4) for metric in metrics)
        yield (dataset, parameter, group, method, *cells)
