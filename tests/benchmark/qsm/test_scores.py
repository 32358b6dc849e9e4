"""Every stage of susceptibility mapping on one head with voxels of 3 mm, and targets on two of 1.5 mm."""

import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from matplotlib.image import imread

from tests.benchmark.qsm.test_heads import coarse_heads
from unweight.benchmark.qsm.figures import qsm_figures
from unweight.benchmark.qsm.heads import qsm_heads
from unweight.benchmark.qsm.scores import FROM_TRUTH, SOLVERS, STRUCTURES, QsmResult, evaluate_head, pairs
from unweight.benchmark.qsm.tables import qsm_tables
from unweight.metrics.scores import Score
from unweight.metrics.susceptibility import susceptibility_scores
from unweight.prepare.qsm_series import BACKGROUNDS, INVERSIONS

WAY = "vsharp+tkd"
Key = tuple[str, str, str, str]


def by_name(scores: Sequence[Score]) -> dict[Key, float]:
    """Return the scores by parameter, method, group and metric, each of which is there once."""
    found = {(one.parameter, one.method, one.group, one.metric): one.value for one in scores}
    assert len(found) == len(scores)
    return found


@cache
def tried() -> QsmResult:
    """Return what was measured with one way end to end."""
    return evaluate_head(coarse_heads()["plain"], (WAY,))


def test_ways_are_all_pairs() -> None:
    assert len(pairs()) == len(set(pairs())) == len(BACKGROUNDS) * len(INVERSIONS)
    assert {way.split("+")[0] for way in pairs()} == set(BACKGROUNDS)
    assert {way.split("+")[1] for way in pairs()} == set(INVERSIONS)


def test_every_stage_is_scored() -> None:
    measured = tried()
    value = by_name(measured.scores)
    assert {one.dataset for one in measured.scores} == {f"plain {measured.head.name}"}
    assert {one.n for one in measured.scores} == {int(measured.head.clean.sum())}
    methods = {parameter: set() for parameter, *_ in value}
    for parameter, method, *_ in value:
        methods[parameter].add(method)
    told = [f"{name} {FROM_TRUTH}" for name in INVERSIONS]
    assert methods == {
        "R2star": set(SOLVERS),
        "total field": {"exact", "laplacian"},
        "local field": set(BACKGROUNDS),
        "Chi": {*told, WAY},
    }
    assert set(measured.maps) == methods["Chi"]
    for parameter, names in methods.items():
        for name in names:
            assert value[parameter, name, "brain", "seconds"] > 0
            if parameter != "R2star":
                for metric in ("nrmse", "nrmse_detrended", "correlation", "xsim", "coverage"):
                    assert (parameter, name, "brain", metric) in value
    for name in methods["Chi"]:
        for metric in ("hfen", "slope", "r", "mae", "kept"):
            assert ("Chi", name, "brain", metric) in value
        for structure in STRUCTURES:
            assert ("Chi", name, structure, "mean") in value
    units = {one.metric: one.unit for one in measured.scores}
    assert units["nrmse"] == "%" and units["bias"] == "1/s" and units["mae"] == "ppm"


def test_exact_unwrapping_is_better_than_the_laplacian() -> None:
    """Measured: 0.6 against 59 %."""
    value = by_name(tried().scores)
    assert value["total field", "exact", "brain", "nrmse"] < 3.0
    assert value["total field", "laplacian", "brain", "nrmse"] > 20.0
    assert value["total field", "exact", "brain", "correlation"] > 0.999


def test_relaxation_has_hardly_a_bias() -> None:
    """SNR 60 in the first echo: R2* of a voxel has a deviation of about 0.8/s.

    In CSF the mean over thousands of voxels is limited by what voxels of 99 % CSF hold besides.
    """
    value = by_name(tried().scores)
    for solver in SOLVERS:
        for structure in ("putamen", "thalamus", "white_matter", "grey_matter"):
            assert abs(value["R2star", solver, structure, "bias"]) < 0.2
        assert abs(value["R2star", solver, "csf", "bias"]) < 0.5
        assert value["R2star", solver, "white_matter", "rmse"] < 1.2


def test_what_is_inverted_from_the_true_field_is_near_the_truth() -> None:
    """Measured with voxels of 3 mm: wtv 27 %, tv 26 %, tikhonov 34 %, tkd 39 %, rts 40 %."""
    value = by_name(tried().scores)
    for name in INVERSIONS:
        method = f"{name} {FROM_TRUTH}"
        assert value["Chi", method, "brain", "nrmse"] < 50
        assert value["Chi", method, "brain", "slope"] == pytest.approx(1.0, abs=0.15)
        assert value["Chi", method, "brain", "kept"] == 1.0
    best = min(INVERSIONS, key=lambda name: value["Chi", f"{name} {FROM_TRUTH}", "brain", "nrmse"])
    assert best in ("wtv", "tv")


def test_scores_are_those_of_the_maps() -> None:
    """Of what is known in brain voxels that are clean; the means of structures are relative to its mean."""
    measured = tried()
    head, value = measured.head, by_name(measured.scores)
    chi = measured.maps[WAY]
    known = head.clean & ~chi.isnan()
    scores = susceptibility_scores(chi, head.chi, known)
    assert value["Chi", WAY, "brain", "nrmse"] == scores.nrmse
    assert value["Chi", WAY, "brain", "xsim"] == scores.xsim
    assert value["Chi", WAY, "brain", "kept"] == float(known.sum() / head.clean.sum())
    told = measured.maps[f"tkd {FROM_TRUTH}"]
    assert torch.equal(~told.isnan(), head.clean)


def test_progress_counts_the_parts() -> None:
    seen: list[tuple[int, int]] = []
    with pytest.MonkeyPatch.context() as patch:
        for name, there in (("BACKGROUNDS", BACKGROUNDS), ("INVERSIONS", INVERSIONS)):
            few = {one: there[one] for one in ("vsharp", "tkd") if one in there}
            patch.setattr(f"unweight.benchmark.qsm.scores.{name}", few)
        evaluate_head(coarse_heads()["plain"], (), lambda done, total: seen.append((done, total)))
    n = len(SOLVERS) + 2 + 1 + 1  # fields, and what is left of removals and inversions
    assert seen == [(done, n) for done in range(1, n + 1)]


def test_pictures_are_named_by_set_and_head() -> None:
    """In the file name the kind comes first, so that pictures of a kind lie side by side."""
    measured = tried()
    figures = qsm_figures(measured)
    name = f"plain_{measured.head.name}"
    assert set(figures) == {
        f"qsm_inversion_{name}.png",
        f"qsm_end_to_end_{name}.png",
        f"qsm_{name}_structures.png",
    }
    sizes = {name: imread(io.BytesIO(png)).shape for name, png in figures.items()}
    assert {shape[1] for shape in sizes.values()} == {1200}
    assert sizes[f"qsm_{name}_structures.png"][0] == 650
    # Inversions fill two rows of four, one method end to end one.
    one, two = (sizes[f"qsm_{kind}_{name}.png"][0] for kind in ("end_to_end", "inversion"))
    assert two > 1.5 * one
    told = {label: chi for label, chi in measured.maps.items() if label.endswith(FROM_TRUTH)}
    assert set(qsm_figures(replace(measured, maps=told))) == {f"qsm_inversion_{name}.png"}


def test_tables_of_what_was_measured() -> None:
    relaxation, fields, chi, regions = qsm_tables(tried().scores)
    assert [row[0] for row in relaxation.rows] == list(SOLVERS)
    assert [row[1] for row in fields.rows] == ["exact", "laplacian", *BACKGROUNDS]
    assert [row[0] for row in chi.rows] == [*(f"{name} {FROM_TRUTH}" for name in INVERSIONS), WAY]
    assert [row[0] for row in regions.rows] == ["truth", *(row[0] for row in chi.rows)]


@pytest.mark.slow
def test_targets_on_heads_of_brainweb(shared_data: Callable[[str], Path]) -> None:
    """Two heads with voxels of 1.5 mm; the bounds are what each stage must reach.

    Measured: total field 0.6 %, V-SHARP 45 %, RESHARP 37 and 36 %, total variation 24 % with XSIM 0.80 and
    0.83; R2* within 0.08/s of the truth.
    """
    heads = shared_data("brainweb_crisp")
    for head in qsm_heads(heads, ("plain",)):
        value = by_name(evaluate_head(head, ("vsharp+wtv",)).scores)
        assert value["total field", "exact", "brain", "nrmse"] <= 6.0
        assert value["local field", "vsharp", "brain", "nrmse"] <= 66.0
        assert value["local field", "resharp", "brain", "nrmse"] <= 48.0
        assert value["Chi", f"tv {FROM_TRUTH}", "brain", "xsim"] >= 0.80
        assert value["Chi", f"tv {FROM_TRUTH}", "brain", "nrmse"] <= 31.0
        for structure, most in (
            ("pallidum", 0.15),
            ("putamen", 0.15),
            ("white_matter", 0.15),
            ("csf", 0.5),
        ):
            assert abs(value["R2star", "log-linear", structure, "bias"]) <= most
