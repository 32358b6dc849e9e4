"""Tables of scores: numbers with their unit, means of what shares a name, and what is not there."""

import math

from unweight.benchmark.core.tables import (
    Column,
    Row,
    TextTable,
    filled,
    further_tables,
    headings,
    index_of,
    number,
)
from unweight.metrics.scores import Score


def score(
    metric: str, value: float, *, dataset: str = "a one", group: str = "all", unit: str = "s"
) -> Score:
    return Score(
        method="fit",
        dataset=dataset,
        parameter="T1",
        group=group,
        metric=metric,
        value=value,
        n=1,
        unit=unit,
    )


ROW = Row(dataset="a one", method="fit", parameter="T1")
COLUMNS = (
    Column(heading="error ms", metric="mae", digits=1, factor=1000, suffix=" ms"),
    Column(heading="of white matter", metric="mae", digits=2, group="white matter"),
    Column(heading="time", metric="seconds", digits=0, parameter="n/a"),
)


def test_numbers() -> None:
    assert number(0.12345, 2) == "0.12" and number(0.12345, 1, 100) == "12.3"
    assert number(math.nan, 3) == "n/a" and number(math.inf, 1) == "inf"


def test_cells_of_a_row() -> None:
    costs = Score(method="fit", dataset="a one", group="all", metric="seconds", value=3.2, n=1)
    index = index_of([score("mae", 0.05), score("mae", 0.07, group="white matter"), costs])
    assert index.cells(ROW, COLUMNS) == ("50.0 ms", "0.07", "3")
    assert index.cells(Row(dataset="a one", method="other", parameter="T1"), COLUMNS) == ("n/a",) * 3
    assert headings(COLUMNS) == ("error ms", "of white matter", "time")
    assert index.has(ROW, "mae") and not index.has(ROW, "rmse")
    assert index.methods("a one") == ["fit"] and index.methods("b") == []
    assert index.methods("a one", "T2") == []


def test_means_over_what_shares_a_name() -> None:
    scores = [score("mae", 1.0), score("mae", 2.0, dataset="a two"), score("mae", 9.0, dataset="b one")]
    index = index_of(scores, lambda name: name.split()[0])
    assert index.datasets() == ["a", "b"]
    assert index.value(Row(dataset="a", method="fit", parameter="T1"), "mae") == 1.5


def test_tables_without_a_row_are_left_out() -> None:
    full = TextTable(title="full", columns=("a",), rows=[("1",)])
    assert filled([TextTable(title="empty", columns=(), rows=[]), full]) == (full,)


def test_metrics_that_no_other_table_shows() -> None:
    scores = [score("mae", 0.05), score("fsim", 0.91234), score("fsim", 0.5, group="white matter")]
    (table,) = further_tables(scores, ["fsim"])
    assert table.columns == ("set", "map", "voxels", "method", "fsim")
    assert table.rows == [
        ("a one", "T1", "all", "fit", "0.9123"),
        ("a one", "T1", "white matter", "fit", "0.5000"),
    ]
    assert further_tables(scores, []) == () and further_tables(scores, ["ssim"]) == ()
