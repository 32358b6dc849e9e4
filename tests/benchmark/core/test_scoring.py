"""Metrics by name: which can be computed from what, and that a new one is scored wherever it can be."""

import math

import pytest
import torch

from unweight import registry
from unweight.benchmark.core.scoring import (
    DEFAULT_METRICS,
    LabelPair,
    MetricChoice,
    VoxelSample,
    check_metrics,
    further_voxel_scores,
    image_pair,
    image_scores,
    measure,
)
from unweight.core.errors import UsageError
from unweight.core.seeding import seeded_generator
from unweight.metrics.accuracy import accuracy
from unweight.metrics.calibration import GaussianPrediction, calibration
from unweight.metrics.image_quality import psnr, ssim
from unweight.metrics.scores import Groups, ScoreContext
from unweight.registry import metric
from unweight.registry.metrics import METRICS
from unweight.registry.records import Inputs

SUBJECT = ScoreContext(method="fit", dataset="set", unit="s", parameter="T1")
SHAPE = (24, 22, 3)


def images() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = seeded_generator(0, "scoring")
    truth = 1 + torch.rand(SHAPE, generator=generator)
    estimate = truth + 0.1 * torch.randn(SHAPE, generator=generator)
    inside = torch.zeros(SHAPE, dtype=torch.bool)
    inside[2:-2, 2:-2] = True
    return estimate, truth, inside


def sample() -> VoxelSample:
    estimate, truth, inside = images()
    found, known = estimate[inside].double(), truth[inside].double()
    free = GaussianPrediction(mean=found.log(), sd=torch.full_like(found, 0.1), truth=known.log())
    return VoxelSample(
        estimate=found, truth=known, prediction=free, lower=0.8 * found, upper=1.2 * found, scale=found
    )


def test_every_metric_has_a_function_and_a_name_of_its_own() -> None:
    names = [(listed.name, listed.inputs) for listed in METRICS]
    assert len(set(names)) == len(names)
    pair = image_pair(*images(), 4.5)
    structure = images()[0] > 1.5
    inputs = {
        Inputs.IMAGE: pair,
        Inputs.VOXELS: sample(),
        Inputs.LABELS: LabelPair(estimate=structure, truth=structure.roll(1, 0), voxel_mm=(1.0, 1.0, 2.0)),
    }
    for listed in METRICS:
        (value,) = (
            value for name, value in measure((listed,), inputs[listed.inputs]).items() if name != "n"
        )
        assert math.isfinite(value), listed.name


def test_values_are_those_of_the_functions() -> None:
    estimate, truth, inside = images()
    pair = image_pair(estimate, truth, inside, 4.5)
    chosen = [metric(name, Inputs.IMAGE) for name in ("ssim", "psnr")]
    assert measure(chosen, pair) == {
        "ssim": ssim(estimate, truth, inside, 4.5),
        "psnr": psnr(estimate, truth, inside, 4.5),
    }
    voxels = sample()
    chosen = [metric(name, Inputs.VOXELS) for name in ("rmse_ln", "crps")]
    expected = accuracy(voxels.estimate, voxels.truth)
    assert voxels.prediction is not None
    measured = measure(chosen, voxels)
    assert measured["rmse_ln"] == expected["rmse_ln"]
    assert measured["crps"] == calibration(voxels.prediction)["crps"]


def test_what_the_inputs_lack_is_not_scored() -> None:
    """A method without standard deviations has no calibration; a map that may be negative no logarithm."""
    bare = VoxelSample(estimate=torch.tensor([1.0, 2.0]), truth=torch.tensor([1.0, 1.0]))
    assert measure([metric("ence", Inputs.VOXELS)], bare) == {}
    signed = VoxelSample(estimate=torch.tensor([-1.0, 2.0]), truth=torch.zeros(2), positive=False)
    assert measure([metric("rmse_ln", Inputs.VOXELS)], signed) == {}
    assert measure([metric("mae", Inputs.VOXELS)], signed) == {"mae": 1.5}


def test_a_slice_is_an_image_and_an_unknown_truth_is_outside() -> None:
    estimate, truth, inside = (values[..., 0] for values in images())
    truth = truth.clone()
    truth[5, 5] = math.nan
    pair = image_pair(estimate, truth, inside, 1.0)
    assert pair.estimate.shape == (*SHAPE[:2], 1)
    assert int(pair.inside.sum()) == int(inside.sum()) - 1


def test_scores_of_groups_and_of_images_have_units_and_counts() -> None:
    voxels = sample()
    n = len(voxels.truth)
    groups = Groups(names=("first", "rest"), index=(torch.arange(n) > 9).long())
    chosen = [metric(name, Inputs.VOXELS) for name in ("mae", "bias")]
    scores = further_voxel_scores(chosen, voxels, [groups], SUBJECT)
    assert [(score.metric, score.group, score.n, score.unit) for score in scores] == [
        ("mae", "first", 10, "s"),
        ("mae", "rest", n - 10, "s"),
        ("bias", "first", 10, "1"),
        ("bias", "rest", n - 10, "1"),
    ]
    pair = image_pair(*images(), 4.5)
    empty = image_pair(*images()[:2], torch.zeros(SHAPE, dtype=torch.bool), 4.5)
    (score,) = image_scores([metric("psnr", Inputs.IMAGE)], [pair, empty], SUBJECT)
    assert score.unit == "dB" and score.group == "all" and score.n == int(pair.inside.sum())
    assert score.value == psnr(*images(), 4.5)  # an image without a voxel has none


def test_choice() -> None:
    assert DEFAULT_METRICS.wants("anything") and DEFAULT_METRICS.further((), Inputs.IMAGE) == ()
    choice = MetricChoice(names=("fsim", "bias"))
    assert [listed.name for listed in choice.further(("bias",), Inputs.IMAGE)] == ["fsim"]
    assert choice.further(("bias",), Inputs.VOXELS) == ()
    assert [listed.name for listed in choice.of(("bias", "rmse_ln"), Inputs.VOXELS)] == ["bias"]


def test_names_that_nobody_has() -> None:
    check_metrics(["usable", "fsim"], ("usable",), (Inputs.IMAGE,))
    with pytest.raises(UsageError, match=r"no metric is called dice, magic\. There are usable, psnr, ssim"):
        check_metrics(["dice", "magic", "usable"], ("usable",), (Inputs.IMAGE,))
    with pytest.raises(UsageError, match="no metric of labels is called psnr"):
        registry.metric("psnr", Inputs.LABELS)
