"""Tables of an evaluation of susceptibility mapping: what is in them, and that they fit on a screen."""

import math

from unweight.benchmark.qsm.scores import STRUCTURES
from unweight.benchmark.qsm.tables import CHI_COLUMNS, FIELD_COLUMNS, qsm_tables
from unweight.metrics.scores import Score


def score(
    parameter: str,
    metric: str,
    value: float,
    *,
    method: str = "vsharp+wtv",
    group: str = "brain",
    dataset: str = "plain one",
) -> Score:
    return Score(
        method=method,
        dataset=dataset,
        parameter=parameter,
        group=group,
        metric=metric,
        value=value,
        n=10,
        unit="1",
    )


def test_relaxation() -> None:
    scores = [
        score("R2star", "seconds", 0.123, method="arlo"),
        score("R2star", "bias", -0.0712, method="arlo", group="pallidum"),
        score("R2star", "rmse", 3.0, method="arlo", group="pallidum"),
    ]
    (table,) = qsm_tables(scores)
    assert table.title == "plain: bias of R2* in pure voxels [1/s]"
    assert table.columns == ("method", *STRUCTURES, "s")
    assert table.rows == [("arlo", "-0.07", *["n/a"] * (len(STRUCTURES) - 1), "0.12")]


def test_fields_by_stage_and_method() -> None:
    scores = [
        score("total field", "nrmse", 0.561, method="exact"),
        score("local field", "nrmse", 44.81, method="vsharp"),
        score("local field", "kept", 0.912, method="vsharp"),
        score("local field", "correlation", 0.8941, method="vsharp"),
        score("local field", "xsim", 0.8493, method="vsharp"),
        score("local field", "seconds", 6.291, method="vsharp"),
    ]
    (table,) = qsm_tables(scores)
    assert table.columns == FIELD_COLUMNS
    assert table.rows[0] == ("total field", "exact", "0.6", "n/a", "n/a", "n/a", "n/a")
    assert table.rows[1] == ("local field", "vsharp", "44.8", "0.894", "0.849", "91", "6.3")


def test_susceptibility_in_ppb_and_per_cent() -> None:
    scores = [
        score("Chi", "nrmse", 27.06),
        score("Chi", "mae", 0.0044),
        score("Chi", "kept", 0.887),
        score("Chi", "slope", 0.9923),
        score("Chi", "r", 0.99721),
        score("Chi", "mean", 0.1054, group="pallidum"),
        score("Chi", "true", 0.1078, group="pallidum"),
        score("Chi", "mean", 0.0954, group="pallidum", method="pdf+rts"),
    ]
    chi, regions = qsm_tables(scores)
    assert chi.columns == CHI_COLUMNS
    values = dict(zip(chi.columns, chi.rows[0], strict=True))
    assert values["method"] == "vsharp+wtv" and values["NRMSE %"] == "27.1"
    assert values["MAE ppb"] == "4.4" and values["kept %"] == "89"
    assert values["nuclei: slope"] == "0.992" and values["r"] == "0.9972" and values["HFEN %"] == "n/a"
    assert [row[:2] for row in regions.rows] == [("truth", "108"), ("vsharp+wtv", "105"), ("pdf+rts", "95")]
    assert regions.columns == ("method", *STRUCTURES)


def test_heads_of_a_set_are_averaged_and_sets_are_not() -> None:
    scores = [
        score("Chi", "nrmse", 20.0, dataset="plain one"),
        score("Chi", "nrmse", 30.0, dataset="plain two"),
        score("Chi", "nrmse", 50.0, dataset="calcified one"),
    ]
    tables = {table.title: table.rows for table in qsm_tables(scores)}
    assert tables["plain: susceptibility"][0][1] == "25.0"
    assert tables["calcified: susceptibility"][0][1] == "50.0"


def test_what_is_not_a_number_is_not_there() -> None:
    chi, *_ = qsm_tables([score("Chi", "nrmse", math.nan), score("Chi", "xsim", 0.5)])
    assert chi.rows[0][1] == "n/a"
    assert qsm_tables([]) == ()


def test_tables_are_no_wider_than_a_page() -> None:
    assert len(FIELD_COLUMNS) <= 8 and len(CHI_COLUMNS) <= 10 and len(STRUCTURES) <= 10
