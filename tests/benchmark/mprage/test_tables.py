"""Tables of an evaluation of T1w images: what is in them, and how it is written."""

import math
from dataclasses import replace

import pytest

from unweight.benchmark.core.tables import TextTable, headings
from unweight.benchmark.mprage.records import TRUTH
from unweight.benchmark.mprage.scores import SCORED_STRUCTURES, Biology, Gain
from unweight.benchmark.mprage.tables import LIKENESS, biology_tables, gain_table, t1w_tables
from unweight.metrics.agreement import Agreement, Equivalence, Limits
from unweight.metrics.linear_model import Coefficient, Interval
from unweight.metrics.scores import Score
from unweight.metrics.volume_effects import Effect, VolumeEffects


def score(
    metric: str,
    value: float,
    *,
    way: str = "unet",
    group: str = "brain",
    dataset: str = "healthy",
    n: int = 12,
) -> Score:
    return Score(method=way, dataset=dataset, group=group, metric=metric, value=value, n=n, parameter="T1w")


def only(*scores: Score) -> TextTable:
    (table,) = t1w_tables(scores)
    return table


def cells(table: TextTable, row: int = 0) -> dict[str, str]:
    return dict(zip(table.columns, table.rows[row], strict=True))


def effect(true: float, made: float, *, exists: bool = True, p: float = 0.4321) -> Effect:
    """Return an effect; 10 degrees of freedom, whose t of 97.5 % is 2.228."""

    def coefficient(estimate: float, error: float) -> Coefficient:
        return Coefficient(name="age", estimate=estimate, standard_error=error, degrees_of_freedom=10)

    error = 0.01 if exists else 10.0
    # With a standard error of 0 p is 0 or 1, else what the t of 10 degrees of freedom gives.
    away = {0.4321: 0.818154, 0.0: math.inf}[p]
    return Effect(
        true=coefficient(true, error),
        synthetic=coefficient(made, 0.01),
        interaction=coefficient(1.0, 0.0 if math.isinf(away) else 1 / away),
        ratio=Interval(estimate=made / true, lower=0.0, upper=2.0),
        equivalence_p=0.5,
    )


def judgement(age: bool | None, sex: bool | None, way: str = "unet", structure: str = "putamen") -> Biology:
    none = Coefficient(name="mean", estimate=0.0, standard_error=1.0, degrees_of_freedom=10)
    return Biology(
        method=way,
        structure=structure,
        effects=VolumeEffects(
            n=14,
            age=effect(-0.4, -0.38, exists=age is not None),
            sex=effect(8.0, 2.0, exists=sex is not None, p=0.0),
            head=effect(1.0, 1.0),
        ),
        agreement=Agreement(
            n=14,
            concordance=Interval(estimate=0.98765, lower=0.9, upper=1.0),
            difference=Limits(bias=0.1, lower=0.0, upper=0.2),
            relative=Limits(bias=-2.345, lower=-4.0, upper=0.0),
            equivalence=Equivalence(margin=5.0, difference=none, p_lower=0.5, p_upper=0.5),
            calibration_slope=none,
        ),
        age_preserved=age,
        sex_preserved=sex,
    )


def test_likeness() -> None:
    table = only(
        score("psnr", 31.4159),
        score("ssim", 0.93126),
        score("slice jumps", 1.0234),
        score("seconds", 12.345),
        score("cnr white-grey", 2.345, way=TRUTH, n=5),
    )
    assert table.title == "healthy: similarity to the true image, means over subjects"
    assert table.columns == ("way", "n", *headings(LIKENESS))
    made, true = cells(table), cells(table, 1)
    assert (made["way"], made["n"]) == ("unet", "12")
    assert (made["PSNR dB"], made["SSIM"], made["slice jumps"], made["s"]) == (
        "31.42",
        "0.9313",
        "1.023",
        "12.3",
    )
    assert made["CNR WM-GM"] == made["FSIM"] == "n/a"
    # The true image is compared with nothing, and people are not counted.
    assert (true["way"], true["n"], true["PSNR dB"], true["CNR WM-GM"]) == (TRUTH, "", "n/a", "2.35")


def test_dice_with_means_of_tissues_and_of_deep_grey() -> None:
    table = only(
        score("dice", 0.8, group="csf"),
        score("dice", 0.6, group="grey_matter"),
        score("dice", 0.91234, group="putamen"),
    )
    assert table.title == "healthy: Dice with the segmentation of the true image"
    assert table.columns == (
        "way",
        *(name.replace("_", " ") for name in SCORED_STRUCTURES),
        "tissues",
        "deep grey",
    )
    row = cells(table)
    assert (row["csf"], row["grey matter"], row["putamen"]) == ("0.800", "0.600", "0.912")
    assert row["white matter"] == row["thalamus"] == "n/a"
    assert (row["tissues"], row["deep grey"]) == ("0.700", "0.912")


def test_deep_grey_that_is_nowhere_found() -> None:
    row = cells(only(score("dice of labels", 0.5, group="csf")))
    assert (row["tissues"], row["deep grey"]) == ("0.500", "n/a")


def test_distances_and_volumes_have_no_means() -> None:
    tables = t1w_tables(
        [score("hd95", 1.2345, group="putamen"), score("volume error", -0.04321, group="putamen")]
    )
    assert [one.title for one in tables] == ["healthy: HD95 [mm]", "healthy: relative error of volume"]
    assert [cells(one)["putamen"] for one in tables] == ["1.23", "-0.043"]
    assert all(
        one.columns == ("way", *(name.replace("_", " ") for name in SCORED_STRUCTURES)) for one in tables
    )


def test_sets_apart_and_ways_in_their_order() -> None:
    first, second = t1w_tables(
        [
            score("psnr", 30.0, way="gan"),
            score("psnr", 20.0),
            score("psnr", 10.0, dataset="iron_overload", n=6),
        ]
    )
    assert [row[:3] for row in first.rows] == [("gan", "12", "30.00"), ("unet", "12", "20.00")]
    assert second.title.startswith("iron_overload: ")
    assert [row[:3] for row in second.rows] == [("unet", "6", "10.00")]


def test_ways_without_a_number_have_no_row() -> None:
    first, second = t1w_tables([score("psnr", 30.0), score("dice", 0.5, way="gan", group="putamen")])
    assert [row[0] for row in first.rows] == ["unet"] and [row[0] for row in second.rows] == ["gan"]
    assert t1w_tables([]) == () and t1w_tables([score("psnr", math.nan)]) == ()


def test_gains_in_hundredths_with_intervals() -> None:
    gain = Gain(structure="putamen", condition="+ QSM", mean=0.01234, lower=-0.002, upper=0.03, n=9)
    table = gain_table(
        [gain, replace(gain, condition="+ both", mean=-0.005), replace(gain, structure="thalamus")],
        "healthy",
    )
    assert table.title == (
        "healthy: change relative to magnitude only: Dice with the segmentation of the true image [0.01], "
        "95 % over subjects"
    )
    assert table.columns == ("structure", "+ QSM", "+ both")
    assert table.rows == [
        ("putamen", "+1.23 (-0.20 to +3.00)", "-0.50 (-0.20 to +3.00)"),
        ("thalamus", "+1.23 (-0.20 to +3.00)", "n/a"),
    ]


@pytest.mark.parametrize(
    ("measure", "told", "cell"),
    [
        ("dice", "[0.01]", "+50.00 (-10.00 to +75.00)"),
        ("dice_labels", "the true labels [0.01]", "+50.00 (-10.00 to +75.00)"),
        ("psnr", "PSNR in each structure [dB]", "+0.50 (-0.10 to +0.75)"),
    ],
)
def test_gains_of_each_measure_in_its_unit(measure: str, told: str, cell: str) -> None:
    gain = Gain(structure="putamen", condition="+ QSM", mean=0.5, lower=-0.1, upper=0.75, n=9)
    table = gain_table([gain], "healthy", measure)
    assert told in table.title and table.rows == [("putamen", cell)]


def test_age_and_sex() -> None:
    age, sex = biology_tables([judgement(True, False)], "healthy")
    assert age.title == "healthy: age on volumes [% a year]"
    assert sex.title == "healthy: sex on volumes [%, men less women]"
    row = cells(age)
    assert (row["way"], row["structure"]) == ("unet", "putamen")
    assert row["true"] == "-0.400 (-0.422 to -0.378)" and row["synthetic"] == "-0.380 (-0.402 to -0.358)"
    assert (row["ratio"], row["interaction p"], row["kept"]) == ("0.95", "0.432", "yes")
    assert (row["CCC"], row["bias %"]) == ("0.988", "-2.3")
    row = cells(sex)
    assert (row["true"], row["ratio"], row["interaction p"], row["kept"]) == (
        "+8.000 (+7.978 to +8.022)",
        "0.25",
        "0.000",
        "NO",
    )


def test_no_ratio_to_an_effect_that_is_none() -> None:
    tables = biology_tables([judgement(None, None), judgement(True, True, way="gan")], "healthy")
    for table in tables:
        none, one = cells(table), cells(table, 1)
        assert (none["ratio"], none["kept"]) == ("n/a", "no effect")
        assert (one["way"], one["kept"]) == ("gan", "yes") and one["ratio"] != "n/a"
    assert [table.rows for table in biology_tables([], "healthy")] == [[], []]
