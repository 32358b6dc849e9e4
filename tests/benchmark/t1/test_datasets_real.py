"""Real data, here a simulated plate: compared with the fit, in spheres or voxel by voxel."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch

from unweight.benchmark.core.run import no_progress
from unweight.benchmark.t1.datasets import (
    REAL_BRAIN,
    RealSeries,
    known_maps,
    phantom_scan,
    plate,
    read_real,
    real_brain_set,
    real_phantom_set,
)
from unweight.benchmark.t1.figures import figures_of
from unweight.benchmark.t1.scores import evaluate_dataset
from unweight.core.errors import InputError
from unweight.fit.inversion_recovery import InversionRecoveryFit


@cache
def series() -> RealSeries:
    scan = phantom_scan(plate(), 0)
    affine = torch.diag(torch.tensor([1.0, 1.0, 2.0, 1.0], dtype=torch.float64))
    return RealSeries(name="real phantom x", acquisition=replace(scan, affine=affine))


def test_a_phantom_is_compared_sphere_by_sphere() -> None:
    (case,) = real_phantom_set(series(), 2).cases()
    names = [name for name in case.groups[1].names if name.startswith("plate 5")]
    assert len(names) == 14
    first = case.scored_truth("T1")[case.groups[1].index == case.groups[1].names.index(names[0])]
    assert len(first) > 50 and float(first.nanmedian()) == pytest.approx(1.884, rel=0.02)


def test_the_fit_is_not_compared_with_itself() -> None:
    dataset = real_brain_set(series())
    assert dataset.reference == "ml"
    (case,) = dataset.cases()
    assert not torch.isfinite(case.truth["T1"][~case.scored]).all()
    result = evaluate_dataset(
        dataset, {"ml": InversionRecoveryFit(), "again": InversionRecoveryFit()}, no_progress
    )
    value = {(score.method, score.group, score.metric): score.value for score in result.scores}
    assert ("ml", "all", "bias") not in value and value["again", "all", "bias"] == 0
    # Nobody knows the truth: medians, but no calibration and no picture of errors.
    assert ("ml", "all", "median") in value and ("again", "all", "coverage_90") not in value
    assert figures_of(result) == {}


def test_a_voxel_without_all_parameters_has_no_truth() -> None:
    maps = known_maps(torch.tensor([[1.0, 2.0, 1.9], [1.0, torch.nan, 1.9]]))
    assert list(maps) == ["T1", "PD", "B"]
    assert maps["T1"].isnan().tolist() == [False, True] and maps["B"].isnan().tolist() == [False, True]


def test_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        read_real(REAL_BRAIN, [tmp_path])
