"""Tables of an evaluation of T1: one for each kind of data, filled only where there are scores."""

import math

from unweight.benchmark.t1.datasets import PHANTOM, PUBLISHED, SPHERE_NAMES
from unweight.benchmark.t1.heads import BRAIN_NAME, DETAIL, STRUCTURES
from unweight.benchmark.t1.stability import STABILITY
from unweight.benchmark.t1.tables import SUMMARY_TITLE, tables
from unweight.metrics.scores import Score


def score(
    metric: str,
    value: float,
    *,
    dataset: str = "brains",
    group: str = "all",
    method: str = "ml",
    parameter: str = "T1",
) -> Score:
    return Score(
        method=method,
        dataset=dataset,
        group=group,
        metric=metric,
        value=value,
        n=9,
        parameter=parameter,
    )


def test_spheres_beside_what_was_published() -> None:
    scores = [score("mean", 1.9, dataset=PHANTOM, group=name) for name in SPHERE_NAMES]
    scores += [score("sd", 0.02, dataset=PHANTOM, group=SPHERE_NAMES[0])]
    table, *_ = tables(scores)
    assert table.columns == ("T1", "ml", *(f"{paper.method} (published)" for paper in PUBLISHED))
    assert len(table.rows) == 14
    assert table.rows[0] == ("1884", "1900 ± 20", "1534 ± 72", "1835 ± 39", "1772 ± 36")
    assert table.rows[1][1] == "1900"  # without a spread


def test_summary_is_of_the_brain_where_there_is_one() -> None:
    scores = [
        score("usable", 0.5),
        score("usable", 0.9, group=BRAIN_NAME),
        score("rmse_ln", 0.0512, group=BRAIN_NAME),
        score("rmse_ln_to_exact", 1.25),
        score("seconds_per_slice", 0.456, parameter="n/a"),
        score("network_evaluations", 4, parameter="n/a"),
        score("usable", 0.7, method="net", dataset="scattered"),
    ]
    (table,) = [each for each in tables(scores) if each.title == SUMMARY_TITLE]
    row = dict(zip(table.columns, table.rows[0], strict=True))
    assert (row["set"], row["method"], row["usable"], row["RMSE ln"]) == ("brains", "ml", "90.0", "5.1")
    assert (row["x exact"], row["s/slice"], row["evals"], row["winkler"]) == ("1.25", "0.46", "4", "n/a")
    assert table.rows[1][:2] == ("scattered", "net") and "70.0" in table.rows[1]


def test_errors_by_true_t1() -> None:
    scores = [
        score("rmse_ln", 0.021, group="> 2 s"),
        score("bias", -0.003, group="> 2 s"),
        score("rmse_ln", math.nan, group="1.1-2 s"),
        score("rmse_ln", 0.5, group="> 2 s", method="net"),
        score("bias", 0.1, group="> 2 s", method="net"),
    ]
    table, *_ = tables(scores)
    assert table.columns == ("set", "true T1", "ml", "net")
    assert table.rows == [("brains", "> 2 s", "2.1 (-0.3)", "50.0 (+10.0)")]


def test_real_data_are_compared_with_the_fit() -> None:
    scores = [
        score("median", 1.234, dataset="real brain a"),
        score("median", 1.3, dataset="real brain a", method="net"),
        score("median_bias", 0.051, dataset="real brain a", method="net"),
        score("median", math.nan, dataset="real brain a", group="> 2 s"),
    ]
    table, *_ = tables(scores)
    assert table.rows == [("real brain a", "all", "1234", "1300 (+5.1)")]


def test_structures_and_stability() -> None:
    scores = [
        score(f"recovered_{scale}", value, dataset=DETAIL, group=STRUCTURES[0])
        for scale, value in (("linear", 0.91), ("free", 0.8))
    ]
    scores += [
        score(metric, value, dataset=STABILITY, group="cropped by 3")
        for metric, value in (("largest_change", 0.0123), ("share_changed", 0.5), ("lost", 0.0))
    ]
    details, stable = (each for each in tables(scores) if each.title.startswith(("Small", "Stability")))
    assert details.rows[0] == (STRUCTURES[0], "91 / 80") and details.rows[1][1] == "n/a / n/a"
    assert stable.rows == [("ml", "cropped by 3", "1.230", "50.000", "0.000")]


def test_nothing_gives_no_table() -> None:
    assert tables([]) == ()
