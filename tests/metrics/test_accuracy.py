import math

import pytest
import torch

from unweight.core.errors import UsageError
from unweight.core.seeding import seeded_generator
from unweight.metrics.accuracy import (
    ABSOLUTE,
    RELATIVE,
    T1_BIN_NAMES,
    accuracy,
    median,
    t1_bins,
    terciles,
)
from unweight.metrics.scores import Groups, ScoreContext, scores_by_group

NAN = math.nan


def test_known_errors_give_known_numbers() -> None:
    truth = torch.tensor([1.0, 2.0, 1.0, 4.0])
    found = accuracy(torch.tensor([1.1, 1.8, 1.3, 4.0]), truth)
    logs = [math.log(1.1), math.log(0.9), math.log(1.3), 0.0]
    mean = sum(logs) / 4
    assert found["bias"] == pytest.approx(0.075, abs=1e-6)
    assert found["median_bias"] == pytest.approx(0.05, abs=1e-6)
    assert found["mape"] == pytest.approx(0.125, abs=1e-6)
    assert found["median_ape"] == pytest.approx(0.1, abs=1e-6)
    assert found["rmse_ln"] == pytest.approx(math.sqrt(sum(e**2 for e in logs) / 4), abs=1e-6)
    assert found["sd_ln"] == pytest.approx(math.sqrt(sum((e - mean) ** 2 for e in logs) / 3), abs=1e-6)
    assert (found["n"], found["missing"]) == (4, 0)


def test_log_normal_errors_have_the_moments_of_theory() -> None:
    truth = torch.linspace(0.2, 3.0, 40_000, dtype=torch.float64)
    noise = torch.randn(len(truth), generator=seeded_generator(1), dtype=torch.float64)
    found = accuracy(truth * torch.exp(0.02 + 0.1 * noise), truth)
    # Standard errors with 40 000 voxels are below 0.0006.
    assert found["bias"] == pytest.approx(math.exp(0.02 + 0.005) - 1, abs=0.002)
    assert found["median_bias"] == pytest.approx(math.exp(0.02) - 1, abs=0.002)
    assert found["sd_ln"] == pytest.approx(0.1, abs=0.002)
    assert found["rmse_ln"] == pytest.approx(math.hypot(0.1, 0.02), abs=0.002)


def test_voxels_without_value_are_counted_and_left_out() -> None:
    estimate = torch.tensor([1.0, NAN, -0.5, 1.0, 9.0])
    truth = torch.tensor([1.0, 1.0, 1.0, NAN, 1.0])
    found = accuracy(estimate, truth, selection=torch.tensor([True, True, True, True, False]))
    assert found["n"] == 1 and found["missing"] == pytest.approx(2 / 3)
    assert found["bias"] == 0 and math.isnan(found["sd_ln"])
    none = accuracy(estimate, torch.full((5,), NAN))
    assert none.pop("n") == 0 and all(math.isnan(value) for value in none.values())
    assert list(none)[:-1] == list(RELATIVE)


def test_differences_where_the_truth_may_be_negative() -> None:
    found = accuracy(torch.tensor([0.1, -0.3]), torch.tensor([0.0, -0.1]), positive=False)
    assert found["bias"] == pytest.approx(-0.05) and found["mae"] == pytest.approx(0.15)
    assert found["rmse"] == pytest.approx(math.sqrt(0.025))
    assert set(accuracy(torch.ones(2), torch.zeros(2), positive=False)) == {*ABSOLUTE, "missing", "n"}


def test_a_truth_without_sign_is_refused() -> None:
    with pytest.raises(UsageError, match=r"1 of 2 voxels have none\. Select"):
        accuracy(torch.ones(2), torch.tensor([1.0, 0.0]))


def test_scores_by_t1_bin() -> None:
    truth = torch.tensor([0.1, 0.15, 0.6, 1.1, 5.0, NAN])
    index = t1_bins(truth)
    assert index.tolist() == [0, 1, 2, 3, 4, -1]
    groups = Groups(names=T1_BIN_NAMES, index=index)
    scores = scores_by_group(
        lambda voxels: accuracy(1.1 * truth, truth, selection=voxels),
        groups,
        ScoreContext(method="fit", dataset="x"),
        {},
    )
    bias = [s for s in scores if s.metric == "bias"]
    assert [s.group for s in bias] == list(T1_BIN_NAMES)
    assert all(s.value == pytest.approx(0.1, abs=1e-6) and s.n == 1 and s.unit == "1" for s in bias)


def test_terciles_and_median() -> None:
    values = torch.tensor([5.0, 1.0, NAN, 3.0, 2.0, 6.0, 4.0])
    assert terciles(values).tolist() == [2, 0, -1, 1, 0, 2, 1]
    assert terciles(torch.ones(4)).tolist() == [0, 0, 0, 0]
    assert terciles(torch.tensor([NAN])).tolist() == [-1]
    assert median(torch.tensor([4.0, 1.0, 2.0, 3.0])) == 2.5
    assert math.isnan(median(torch.zeros(0)))
