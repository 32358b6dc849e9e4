import math

import pytest
import torch

from unweight.core.errors import UsageError
from unweight.metrics.scores import Groups, Score, ScoreContext, scores_by_group, scores_table


def score(method: str, dataset: str, metric: str, value: float = 0.25) -> Score:
    return Score(method=method, dataset=dataset, group="all", metric=metric, value=value, n=3)


def test_table_is_sorted_by_method_and_set_and_else_as_given() -> None:
    given = [score("b", "x", "rmse"), score("a", "y", "sd"), score("a", "x", "sd"), score("a", "x", "mae")]
    columns, rows = scores_table(given)
    assert columns == ("method", "set", "parameter", "group", "metric", "value", "n", "unit")
    assert [(row[0], row[1], row[4]) for row in rows] == [
        ("a", "x", "sd"),
        ("a", "x", "mae"),
        ("a", "y", "sd"),
        ("b", "x", "rmse"),
    ]
    assert rows[0] == ("a", "x", "n/a", "all", "sd", "0.25", "3", "1")


def test_no_value_is_written_as_bids_wants() -> None:
    _, (row,) = scores_table([score("a", "x", "sd", math.nan)])
    assert row[5] == "n/a"


def test_groups_are_measured_one_by_one() -> None:
    values = torch.tensor([1.0, 2.0, 3.0, 100.0])
    groups = Groups(names=("low", "high", "none"), index=torch.tensor([0, 0, 1, -1]))
    scores = scores_by_group(
        lambda voxels: {"mean": float(values[voxels].mean()), "n": float(voxels.sum())},
        groups,
        ScoreContext(method="a", dataset="x", parameter="T2"),
        {"mean": "s"},
    )
    assert {s.parameter for s in scores} == {"T2"}
    assert [(s.group, s.value, s.n, s.unit) for s in scores[:2]] == [
        ("low", 1.5, 2, "s"),
        ("high", 3.0, 1, "s"),
    ]
    assert scores[2].n == 0 and math.isnan(scores[2].value)


def test_bad_names_and_numbers_are_refused() -> None:
    with pytest.raises(UsageError, match="without tabs"):
        score("a\tb", "x", "sd")
    with pytest.raises(UsageError, match="cannot rest on -1"):
        Score(method="a", dataset="x", group="all", metric="sd", value=1.0, n=-1)
    with pytest.raises(UsageError, match="from 0 to 2, but there are 2 names"):
        Groups(names=("a", "b"), index=torch.tensor([0, 2]))
    with pytest.raises(UsageError, match="same name"):
        Groups(names=("a", "a"), index=torch.tensor([0]))
