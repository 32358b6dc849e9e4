"""Scores: one number that says how good one method is on one set, and the long table of many.

The table is in long form, a row a number, so that sets and metrics can be added without new columns.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import final

from jaxtyping import Bool, Int
from torch import Tensor

from unweight.core.errors import UsageError

COLUMNS = ("method", "set", "parameter", "group", "metric", "value", "n", "unit")
ABSENT = "n/a"
COUNT = "n"


@final
@dataclass(frozen=True, kw_only=True)
class ScoreContext:
    """What is scored.

    Attributes:
        method: Name of the method that made the maps.
        dataset: Name of the set it was tried on.
        unit: Unit of the parameter, for metrics that carry it.
        parameter: Name of the map.
    """

    method: str
    dataset: str
    unit: str = "s"
    parameter: str = "T1"

    def score(self, group: str, metric: str, value: float, n: int, unit: str = "1") -> "Score":
        """Return one number of a group of voxels."""
        return Score(
            method=self.method,
            dataset=self.dataset,
            group=group,
            metric=metric,
            value=value,
            n=n,
            unit=unit,
            parameter=self.parameter,
        )


@final
@dataclass(frozen=True, kw_only=True)
class Score:
    """One number.

    Attributes:
        method: Name of the method.
        dataset: Name of the set.
        group: Which voxels, `T1 < 150 ms`.
        metric: What was measured, `rmse_ln`.
        value: The number [unit]; NaN if nothing could be measured.
        n: How many voxels it rests on.
        unit: SI unit; `1` for ratios, shares and logarithms, `dB` for ten times a logarithm to base 10.
        parameter: Name of the map; `n/a` for what belongs to all maps, as the time.
    """

    method: str
    dataset: str
    group: str
    metric: str
    value: float
    n: int
    unit: str = "1"
    parameter: str = ABSENT

    def __post_init__(self) -> None:
        for text in (self.method, self.dataset, self.parameter, self.group, self.metric, self.unit):
            if not text or any(mark in text for mark in "\t\n\r"):
                raise UsageError(f"a score needs names without tabs and line breaks, found {text!r}")
        if self.n < 0:
            raise UsageError(f"{self.metric}: a score cannot rest on {self.n} voxels")


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Groups:
    """Which group each voxel belongs to.

    Attributes:
        names: Names of the groups.
        index: Place in `names`; −1 for voxels in no group.
    """

    names: tuple[str, ...]
    index: Int[Tensor, " voxels"]

    def __post_init__(self) -> None:
        if len(set(self.names)) != len(self.names):
            raise UsageError("two groups have the same name: " + ", ".join(self.names))
        if self.index.numel() and not -1 <= int(self.index.min()) <= int(self.index.max()) < len(
            self.names
        ):
            raise UsageError(
                f"group numbers go from {int(self.index.min())} to {int(self.index.max())}, "
                f"but there are {len(self.names)} names",
                remedy="Number groups from 0, and use -1 for voxels in none.",
            )


def scores_by_group(
    measure: Callable[[Bool[Tensor, " voxels"]], Mapping[str, float]],
    groups: Groups,
    subject: ScoreContext,
    units: Mapping[str, str],
) -> tuple[Score, ...]:
    """Return the scores of each group.

    Args:
        measure: Gives the metrics of the selected voxels, and their number under `n`.
        groups: Which voxels belong together. Groups without a voxel give NaN.
        subject: What is scored.
        units: Unit of each metric; `1` for those that are not named.
    """
    scores = []
    for number, name in enumerate(groups.names):
        measured = measure(groups.index == number)
        scores += [
            subject.score(name, metric, value, int(measured[COUNT]), units.get(metric, "1"))
            for metric, value in measured.items()
            if metric != COUNT
        ]
    return tuple(scores)


def scores_table(scores: Iterable[Score]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return the columns and the rows of the table.

    Rows are sorted by method and set; within both, groups and metrics stay in the order given.
    """
    ordered = sorted(scores, key=lambda score: (score.method, score.dataset))
    return COLUMNS, [_row(score) for score in ordered]


def _row(score: Score) -> tuple[str, ...]:
    value = ABSENT if math.isnan(score.value) else f"{score.value:.9g}"
    names = (score.method, score.dataset, score.parameter, score.group, score.metric)
    return (*names, value, str(score.n), score.unit)
