import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import final

import pytest
import torch

from unweight.benchmark.core.run import Dataset
from unweight.benchmark.t1.datasets import phantom_set, scattered_set
from unweight.benchmark.t1.heads import LESIONS, SULCUS, detail_set
from unweight.benchmark.t1.scores import evaluate_dataset
from unweight.benchmark.t1.stability import changed_images, refusal_of_stability, stability_scores
from unweight.core.acquisition import Acquisition
from unweight.core.errors import ProtocolError
from unweight.core.estimator import Estimator, Progress
from unweight.core.maps import ParameterMaps, VoxelStatus
from unweight.core.parameter import ParameterSpec
from unweight.fit.inversion_recovery import InversionRecoveryFit
from unweight.signals.parameters import PD, T1, B


@contextmanager
def watch(label: str) -> Iterator[Progress]:
    yield lambda done, total: None


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Known(Estimator):
    """Returns the truth times a factor, and how sure it is."""

    truth: ParameterMaps
    factor: float = 1.0
    relative_sd: float = 0.1
    interval: bool = False

    @property
    def parameters(self) -> tuple[ParameterSpec, ...]:
        return (T1, PD, B)

    def accept(self, acquisition: Acquisition) -> None:
        if acquisition.noise_sd is not None:
            raise ProtocolError("the noise is told", remedy="Keep it.")

    def __call__(self, acquisition: Acquisition, progress: Progress | None = None) -> ParameterMaps:
        self.accept(acquisition)
        values = self.truth.values * self.factor
        std = values * self.relative_sd
        ends = (values - std, values + std) if self.interval else (None, None)
        return replace(
            self.truth,
            values=values,
            std=std,
            lower=ends[0],
            upper=ends[1],
            interval_level=0.9 if self.interval else None,
        )


def truth_of(dataset: Dataset) -> ParameterMaps:
    """Return the truth of the first case as maps."""
    case = dataset.make(0)
    values = torch.stack([case.truth[name] for name in ("T1", "PD", "B")], dim=-1)
    known = torch.isfinite(values).all(-1)
    return ParameterMaps(
        specs=(T1, PD, B),
        values=values,
        std=torch.zeros_like(values).masked_fill(~known[..., None], torch.nan),
        status=torch.where(known, int(VoxelStatus.OK), int(VoxelStatus.MASKED)).to(torch.uint8),
    )


def known(dataset: Dataset, **changes: float) -> Known:
    return Known(truth=truth_of(dataset), **changes)


def test_scores_of_known_answers() -> None:
    """A method that is 5 % too high everywhere, with an SD of 10 %, is scored as just that."""
    made = phantom_set(1)
    evaluated = evaluate_dataset(made, {"high": known(made, factor=1.05, interval=True)}, watch)
    value = {(one.group, one.metric): one.value for one in evaluated.scores}
    assert value["all", "bias"] == pytest.approx(0.05)
    assert value["all", "rmse_ln"] == pytest.approx(math.log(1.05))
    assert value["1884 ms", "mean"] == pytest.approx(1.05 * 1.88397)
    assert value["1884 ms", "sd"] == pytest.approx(0, abs=1e-9)
    # Off by half a standard deviation: inside of 50 % intervals, and of those it gives itself.
    assert value["all", "coverage_50"] == value["all", "interval_90"] == 1
    assert value["all", "interval_90_width"] == pytest.approx(0.2)
    assert value["all", "usable"] == 1 and value["all", "missing"] == 0
    assert {one.unit for one in evaluated.scores if one.metric in ("mean", "seconds_per_slice")} == {"s"}
    keys = [(one.method, one.dataset, one.group, one.metric) for one in evaluated.scores]
    assert len(set(keys)) == len(keys)


def test_a_method_that_refuses_is_left_out_with_its_reason() -> None:
    made = scattered_set((8, 8))
    evaluated = evaluate_dataset(made, {"known": known(made), "ml": InversionRecoveryFit()}, watch)
    assert list(evaluated.predictions) == ["ml", "exact"]
    (refusal,) = evaluated.refusals
    assert (refusal.method, refusal.reason) == ("known", "the noise is told. Keep it.")
    ratios = [one for one in evaluated.scores if one.metric == "rmse_ln_to_exact" and one.group == "all"]
    assert [one.method for one in ratios] == ["ml"]
    assert ratios[0].value > 1


def test_detail_kept_and_lost() -> None:
    made = detail_set(1)
    truth = truth_of(made)
    inside = ~truth.failed[..., None]
    level = replace(truth, values=torch.where(inside, truth.values.nanmean((0, 1, 2)), torch.nan))
    flat = Known(truth=level)
    evaluated = evaluate_dataset(made, {"truth": known(made), "flat": flat}, watch)
    for name in (SULCUS, *LESIONS):
        for metric in ("recovered_linear", "recovered_free"):
            found = {
                one.method: one for one in evaluated.scores if one.group == name and one.metric == metric
            }
            assert found["truth"].value == pytest.approx(1)
            assert found["flat"].value == pytest.approx(0, abs=1e-4)
            assert found["truth"].n > 5


def test_changes_that_do_not_matter_to_the_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """It works in single precision and stops within a thousandth of ln T1."""
    base, *others = changed_images()
    few = [one for one in others if one.name in ("order of volumes", "cropped by 16")]
    monkeypatch.setattr("unweight.benchmark.t1.stability.changed_images", lambda: (base, *few))
    scores = stability_scores("ml", InversionRecoveryFit(), watch)
    assert {one.group for one in scores} == {one.name for one in few}
    for one in scores:
        assert one.value < 2e-3, one
    assert refusal_of_stability(InversionRecoveryFit()) is None


def test_changes_show_the_same_voxels() -> None:
    base, *others = changed_images()
    times = base.acquisition.protocol.require("inversion_time", "a test").tolist()
    for other in others:
        assert int(other.spheres.sum()) == int(base.spheres.sum())
        order = [
            other.acquisition.protocol.require("inversion_time", "a test").tolist().index(ti)
            for ti in times
        ]
        seen, known = (
            other.acquisition.signal[other.spheres][:, order],
            base.acquisition.signal[base.spheres],
        )
        scale = float(seen.sum() / known.sum())
        torch.testing.assert_close(seen, scale * known, rtol=1e-5, atol=1e-3)
    shapes = {one.name: one.acquisition.voxels[0] for one in others}
    assert (shapes["cropped by 3"], shapes["padded by 16"]) == (234, 272)
