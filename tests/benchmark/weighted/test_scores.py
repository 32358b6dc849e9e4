import io
import math

import pytest
import torch
from matplotlib.image import imread

from tests.run.heads import small_head
from tests.run.told_maps import ToldMaps, overheard, watch
from unweight.benchmark.core.run import Dataset
from unweight.benchmark.weighted.datasets import field_set, internal_set, lesions_set
from unweight.benchmark.weighted.figures import coverage_by_tissue, weighted_figures
from unweight.benchmark.weighted.scores import WeightedResult, evaluate_dataset, loss_scores
from unweight.benchmark.weighted.tables import VOXELS, weighted_tables
from unweight.metrics.scores import Score

HEADS = (small_head(),)
Key = tuple[str, str, str, str]


def tried(made: Dataset, **methods: ToldMaps) -> WeightedResult:
    known: dict[int, torch.Tensor] = {}
    for one in methods.values():
        one.known.update(known)
        object.__setattr__(one, "known", known)
    return evaluate_dataset(overheard(made, known), methods, watch)


def by_key(scores: list[Score]) -> dict[Key, Score]:
    found = {(one.method, one.parameter, one.group, one.metric): one for one in scores}
    assert len(found) == len(scores)
    return found


@pytest.fixture(scope="module")
def ill() -> WeightedResult:
    return tried(
        lesions_set(HEADS, 1, 2),
        high=ToldMaps(factor=1.05),
        flat=ToldMaps(level=(0.9, 0.08, 0.75), half_width=None),
    )


@pytest.fixture(scope="module")
def ill_scores(ill: WeightedResult) -> list[Score]:
    return list(ill.benchmark.scores)


def test_scores_of_known_answers() -> None:
    """A method that is 5 % too high everywhere, with intervals of 10 %, is scored as just that."""
    done = tried(internal_set(HEADS, 2, 1), high=ToldMaps(factor=1.05), holes=ToldMaps(share_missing=0.3))
    value = {key: one.value for key, one in by_key(list(done.benchmark.scores)).items()}
    truth = torch.cat([one.truth for one in done.benchmark.cases]).double()
    for place, name in enumerate(("T1", "T2", "PD")):
        for metric in ("bias", "mape", "median_ape"):
            assert value["high", name, "all", metric] == pytest.approx(0.05, rel=1e-3)
        assert value["high", name, "white matter", "rmse_ln"] == pytest.approx(math.log(1.05), rel=1e-3)
        assert value["high", name, "all", "mae"] == pytest.approx(
            0.05 * float(truth[:, place].mean()), rel=1e-3
        )
        rms = float(truth[:, place].square().mean().sqrt())
        assert value["high", name, "all", "rmse"] == pytest.approx(0.05 * rms, rel=1e-3)
        assert value["high", name, "all", "interval_90"] == 1
        assert value["high", name, "all", "interval_90_width"] == pytest.approx(0.21, rel=1e-3)
        assert value["high", name, "all", "missing"] == 0
        assert value["holes", name, "all", "missing"] == pytest.approx(0.3, abs=0.02)
        assert value["holes", name, "all", "psnr"] == math.inf
        assert value["holes", name, "all", "ssim"] < 0.9 < value["high", name, "all", "ssim"]
    assert value["high", "n/a", "all", "seconds_per_examination"] > 0
    each = [
        10 * math.log10(4.5**2 / float((0.05 * one.truth[:, 0].double()).square().mean()))
        for one in done.benchmark.cases
    ]
    assert value["high", "T1", "all", "psnr"] == pytest.approx(sum(each) / 2, abs=1e-3)
    assert value["high", "T1", "1.5 T", "psnr"] == pytest.approx(each[0], abs=1e-3)
    assert value["high", "T1", "all", "psnr_sd"] == pytest.approx(abs(each[0] - each[1]) / 2**0.5, abs=1e-3)
    tissue = truth[:, 1][truth[:, 1] <= 0.3]
    rough = 10 * math.log10(0.3**2 / float((0.05 * tissue).square().mean()))
    assert value["high", "T2", "all", "psnr_tissue"] == pytest.approx(rough, abs=0.3)  # a mean over two


def test_units_and_numbers() -> None:
    found = by_key(list(tried(internal_set(HEADS, 1, 1), high=ToldMaps(factor=1.05)).benchmark.scores))
    assert found["high", "T1", "all", "mae"].unit == "s" and found["high", "PD", "all", "mae"].unit == "1"
    assert (
        found["high", "T2", "all", "psnr"].unit == "dB" and found["high", "T2", "all", "ssim"].unit == "1"
    )
    whole = found["high", "T1", "all", "mape"].n
    tissues = ("white matter", "grey matter", "deep grey", "CSF", "mixed")
    assert sum(found["high", "T1", name, "mape"].n for name in tissues) == whole
    assert ("high", "T1", "tumour", "mape") not in found  # nothing there to measure
    assert sum(found["high", "PD", name, "mape"].n for name in ("PD < 0.7", "PD > 0.9")) < whole


def test_lesions(ill: WeightedResult, ill_scores: list[Score]) -> None:
    found = by_key(ill_scores)
    for group in ("MS lesion", "oedema"):
        assert found["high", "T2", group, "right_sign"].value == 1
        assert found["flat", "T2", group, "right_sign"].value == 0
        assert found["high", "T2", group, "right_sign"].n >= 1
        assert found["high", "T1", group, "error_over_white"].value == pytest.approx(1, rel=1e-3)
        assert found["flat", "T1", group, "error_over_white"].value > 0
    # White matter of the examinations that have the lesion, and of no others.
    plaques = ill.benchmark.cases[0]
    error = (0.08 / plaques.truth[:, 1].double() - 1).abs()
    ratio = error[plaques.tissue == 4].median() / error[plaques.tissue == 0].median()
    assert found["flat", "T2", "MS lesion", "error_over_white"].value == pytest.approx(
        float(ratio), rel=0.02
    )


def test_what_an_unseen_set_costs(ill_scores: list[Score]) -> None:
    base = tried(internal_set(HEADS, 1, 1), high=ToldMaps(factor=1.01), flat=ToldMaps(factor=1.05))
    scores = [*base.benchmark.scores, *ill_scores]
    losses = {(one.method, one.parameter, one.metric): one.value for one in loss_scores(scores)}
    value = {
        (one.dataset, *key): one.value
        for one in scores
        for key in [(one.method, one.parameter, one.group, one.metric)]
    }
    expected = (
        value["lesions", "high", "T1", "all", "psnr"] - value["internal", "high", "T1", "all", "psnr"]
    )
    assert losses["high", "T1", "loss_db"] == pytest.approx(expected)
    assert losses["high", "T1", "loss_db"] < -10
    assert ("flat", "T2", "loss_db_tissue") in losses
    assert loss_scores(ill_scores) == []


def test_a_method_that_refuses_is_left_out_with_its_reason() -> None:
    """Of two fields it refuses the second: what it said of the first does not count either."""
    done = tried(internal_set(HEADS, 2, 1), high=ToldMaps(), low=ToldMaps(refuses=3.0))
    assert list(done.benchmark.predictions) == ["high"]
    (refusal,) = done.benchmark.refusals
    assert (refusal.method, refusal.reason) == ("low", "no weights for 3 T. Use others.")
    assert [list(one.maps) for one in done.examples] == [["high"]]


def test_nothing_is_drawn_of_nothing() -> None:
    done = tried(field_set(HEADS, 1, 1), low=ToldMaps(refuses=2.2))
    assert done.benchmark.scores == () and weighted_figures(done) == {}


def test_tables(ill_scores: list[Score]) -> None:
    images, summary, kinds, groups, lesions = weighted_tables(ill_scores)
    assert images.rows[0][:2] == ("T1", "high") and images.rows[0][3] == "n/a"
    assert summary.columns == VOXELS and summary.title.startswith("lesions: brain")
    assert [row[:2] for row in summary.rows] == [
        (name, method) for name in ("T1", "T2", "PD") for method in ("high", "flat")
    ]
    high = dict(zip(VOXELS, summary.rows[0], strict=True))
    assert (high["mean err %"], high["bias %"], high["cover 90 %"], high["missing %"]) == (
        "5.0",
        "5.0",
        "100.0",
        "0.0",
    )
    assert high["MAE"].endswith(" ms")
    flat = dict(zip(VOXELS, summary.rows[1], strict=True))
    assert flat["cover 90 %"] == "n/a"
    assert {row[0] for row in kinds.rows} == {"plaques", "tumours"}
    assert groups.columns == ("voxels", "map", "high", "flat")
    assert ("MS lesion", "T2", "5.0") in {row[:3] for row in groups.rows}
    assert lesions.rows[0][:3] == ("MS lesion", "T1", "100 (1.00)")
    assert weighted_tables([]) == ()


def test_figures(ill: WeightedResult, ill_scores: list[Score]) -> None:
    drawn = weighted_figures(ill)
    assert set(drawn) == {"lesions_plaques.png", "lesions_tumours.png", "lesions_coverage.png"}
    sizes = {name: imread(io.BytesIO(png)).shape for name, png in drawn.items()}
    assert {shape[1] for shape in sizes.values()} == {1200}
    # Three maps with their errors of the truth and two methods; coverage is a panel for each map.
    assert sizes["lesions_plaques.png"][0] > 600 and sizes["lesions_coverage.png"][0] == 900
    assert drawn["lesions_plaques.png"] != drawn["lesions_tumours.png"]
    found = coverage_by_tissue(ill_scores)
    assert found["T1"]["high"]["MS lesion"] == 1 and found["T1"]["flat"] == {}
