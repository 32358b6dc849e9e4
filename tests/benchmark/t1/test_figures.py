import io
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from unweight.benchmark.core.run import no_progress
from unweight.benchmark.core.scoring import MetricChoice
from unweight.benchmark.t1.datasets import phantom_set
from unweight.benchmark.t1.figures import (
    MethodSlice,
    SphereBound,
    SphereSeries,
    draw_coverage,
    draw_error_by_bin,
    draw_methods,
    draw_sparsification,
    draw_spheres,
    figures_of,
)
from unweight.benchmark.t1.heads import brains_set, procedural_slices
from unweight.benchmark.t1.scores import evaluate_dataset
from unweight.core.errors import UsageError
from unweight.fit.inversion_recovery import InversionRecoveryFit
from unweight.metrics.accuracy import T1_BIN_NAMES
from unweight.metrics.calibration import GaussianPrediction, sparsification
from unweight.metrics.scores import Score
from unweight.signals.inversion_recovery import T1

NAN = math.nan


def size(png: bytes) -> tuple[int, int]:
    rows, columns, _ = imread(io.BytesIO(png)).shape
    return columns, rows


def series(method: str, factor: float, published: bool = False) -> SphereSeries:
    true = (0.03, 0.2, 1.9)
    mean = (NAN, *(factor * t1 for t1 in true[1:]))
    return SphereSeries(method=method, true=true, mean=mean, sd=(NAN, 0.01, NAN), published=published)


def score(method: str, group: str, value: float, dataset: str = "phantom") -> Score:
    return Score(method=method, dataset=dataset, group=group, metric="rmse_ln", value=value, n=5)


def test_spheres() -> None:
    bound = SphereBound(true=(0.03, 1.9), relative_sd=(0.1, 0.02))
    drawn = [series("fit", 1.02), series("net", 2.5), series("paper", 0.97, published=True)]
    assert size(draw_spheres(drawn, "title", bound=bound)) == (1200, 675)
    assert size(draw_spheres([], "nothing")) == (1200, 675)
    assert draw_spheres(drawn, "title") == draw_spheres(drawn, "title")


def test_coverage_and_sparsification() -> None:
    found = {"fit": {0.5: 0.4, 0.95: 0.9}, "net": {0.5: 0.5, 0.95: NAN}}
    assert size(draw_coverage(found, "title")) == (1200, 675)
    error = torch.linspace(-1, 1, 50, dtype=torch.float64)
    curve = sparsification(
        GaussianPrediction(mean=error, sd=error.abs() + 0.1, truth=torch.zeros_like(error))
    )
    assert size(draw_sparsification({"fit": curve, "net": curve}, "title")) == (1200, 675)


def test_error_by_bin() -> None:
    scores = [score(method, name, 0.02) for method in ("fit", "net") for name in T1_BIN_NAMES]
    assert size(draw_error_by_bin([*scores[:-1], score("net", "all", 0.1)], "title")) == (1200, 625)
    with pytest.raises(UsageError, match="found scores of brain, phantom"):
        draw_error_by_bin([*scores, score("fit", T1_BIN_NAMES[0], 0.1, "brain")], "title")


def test_methods() -> None:
    truth = np.full((12, 10), 1.2)
    found = 1.05 * truth
    found[3:5, 4] = NAN
    one = MethodSlice(method="fit", t1=found, sd=0.1 * found)
    assert size(draw_methods([one, one], truth, T1, "title"))[0] == 1200
    with pytest.raises(UsageError, match=r"fit: a slice of \(12, 10\), but the truth is \(10, 12\)"):
        draw_methods([one], truth.T, T1, "title")


def test_spheres_that_do_not_fit_together() -> None:
    with pytest.raises(UsageError, match="fit: 2 true values, 1 means and 2 standard deviations"):
        SphereSeries(method="fit", true=(1.0, 2.0), mean=(1.0,), sd=(0.1, 0.1))


def test_pictures_of_the_phantom_and_of_heads() -> None:
    """Each has its size; spheres are drawn of the phantom, maps of whole heads."""
    methods = {"ml": InversionRecoveryFit()}
    drawn = figures_of(evaluate_dataset(phantom_set(1), methods, no_progress))
    assert {name: size(png) for name, png in drawn.items()} == {
        "phantom_coverage.png": (1200, 675),
        "phantom_sparsification.png": (1200, 675),
        "phantom_error_by_bin.png": (1200, 625),
        "phantom_spheres.png": (1200, 675),
        "phantom_spheres_published.png": (1200, 675),
    }
    assert drawn["phantom_spheres.png"] != drawn["phantom_spheres_published.png"]
    result = evaluate_dataset(brains_set(procedural_slices(1, 1)), methods, no_progress)
    drawn = figures_of(result)
    width, height = size(drawn["brains_maps.png"])
    assert width == 1200 and height > 1200  # a column for the truth, and rows for value, error and SD
    none = figures_of(replace(result, predictions={}))
    assert none == {}


def test_without_their_metrics_pictures_are_left_out() -> None:
    metrics = MetricChoice(names=("usable",))
    result = evaluate_dataset(phantom_set(1), {"ml": InversionRecoveryFit()}, no_progress, metrics)
    assert {score.metric for score in result.scores} == {"usable"}
    assert not {"phantom_coverage.png", "phantom_error_by_bin.png"} & set(figures_of(result))
