import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.learn.examinations import examination
from tests.learn.lessons import head, slab_data, tiny
from tests.learn.names import (
    DIFFUSOR,
    FROM_SERIES,
    FROM_WEIGHTED,
    MAPS,
    MAPS_PGAN,
    POSTERIOR,
    RESIDUAL,
    RESNET,
)
from unweight.core.acquisition import Acquisition
from unweight.core.errors import InputError, UsageError
from unweight.core.estimator import Progress
from unweight.learn.t1.methods import for_protocol
from unweight.learn.t1.network_t1 import NetworkT1
from unweight.learn.t1.posterior import PosteriorT1, with_draws
from unweight.learn.t1.posterior_task import yardstick_for
from unweight.learn.t1.protocols import range_from_plain
from unweight.learn.t1.slabs import CONSTANT, SlabRecipe
from unweight.learn.training.conformal import conformal_from_plain
from unweight.learn.training.execution import PrecisionChoice, describe_precision
from unweight.learn.training.loop import Step, TrainingCallback
from unweight.learn.training.model_card import Card
from unweight.learn.training.recipe import Recipe
from unweight.learn.training.sample_cache import Heads
from unweight.learn.training.trainable import (
    load_base,
    load_estimator,
    recipe_from_plain,
    trainable,
)
from unweight.learn.training.trainer import train_model
from unweight.learn.training.weights import save_weights
from unweight.synth.iid_voxels import ScatterPrior, scatter
from unweight.synth.protocols.standard import seven_inversions

CPU = torch.device("cpu")
FEW = (2, 6)  # slabs for validation and for calibration


@pytest.fixture(scope="module", autouse=True)
def few_slabs() -> Iterator[None]:
    """Hold out fewer slabs than any real training does: their fits take most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        for family in ("t1", "weighted"):
            patch.setattr(f"unweight.learn.{family}.methods.held_out_shares", lambda n: FEW)
        yield


class InterruptionError(Exception):
    pass


@dataclass
class Ear(TrainingCallback):
    stop: int | None = None
    heard: list[Step] = field(default_factory=list)
    made: list[str] = field(default_factory=list)
    computed: str = ""

    def samples(self, part: str) -> Progress:
        def report(done: int, total: int) -> None:
            if done == total:
                self.made.append(f"{part} {total}")

        return report

    def precision(self, choices: tuple[PrecisionChoice, ...]) -> None:
        self.computed = describe_precision(choices)

    def step(self, step: Step) -> None:
        self.heard.append(step)
        if step.step == self.stop:
            raise InterruptionError


def learned(recipe: Recipe[Any, Any], **more: Any) -> tuple[dict[str, Tensor], Card]:
    kept = {"callback": more["report"]} if "report" in more else {}
    data = slab_data(recipe.method, **({"folder": more["folder"]} if "folder" in more else {}), **kept)
    rest = {name: value for name, value in more.items() if name != "report"}
    result = train_model(recipe, data, device=CPU, **rest, **kept)
    assert result is not None
    return result


def held_out(recipe: Recipe[Any, Any]) -> tuple[int, int]:
    return slab_data(recipe.method).source.held_out(recipe)


@cache
def learned_posterior() -> tuple[dict[str, Tensor], Card, Ear]:
    """The posterior, which takes longest to learn, with what was heard of it."""
    ear = Ear()
    tensors, card = learned(tiny(POSTERIOR), report=ear)
    return tensors, card, ear


def measured() -> Acquisition:
    scan = replace(seven_inversions(), model=CONSTANT)
    voxels = scatter(ScatterPrior(snr=(50.0, 50.0)), scan, (16, 12), torch.Generator().manual_seed(1))
    return Acquisition(signal=voxels.signal, protocol=scan.protocol)


@pytest.mark.filterwarnings("ignore:torch.searchsorted")  # of strided estimates; slower, not wrong
@pytest.mark.parametrize("method", [method for method in FROM_SERIES if method != RESIDUAL])
def test_weights_are_loaded_and_make_maps(method: str, tmp_path: Path) -> None:
    ear = Ear()
    recipe = tiny(method)
    if method == POSTERIOR:
        tensors, card, ear = learned_posterior()
    else:
        tensors, card = learned(recipe, report=ear)
    save_weights(tmp_path, tensors, card)
    estimator, loaded = load_estimator(method, tmp_path)
    if method == DIFFUSOR:
        assert isinstance(estimator, NetworkT1)
        estimator = estimator.drawing(n_steps=4, n_draws=2)
    maps = estimator(measured())
    assert maps.values.shape == (16, 12, 3)
    assert recipe_from_plain(loaded.recipe) == recipe
    assert [one.step for one in ear.heard] == [3, 6]
    assert all(one.checks is not None and "rmse_ln_t1" in one.checks for one in ear.heard)
    n_validation, n_calibration = held_out(recipe)
    expected = [f"validation {n_validation}", "train 4"]
    assert ear.made == expected + ([f"calibration {n_calibration}"] if n_calibration else [])
    assert loaded.seconds > 0
    assert loaded.precision == ear.computed == "float32 (the plan allows no other)"
    for name in ("procedural", "4 simulated slabs of 32 x 32", "Validated on"):
        assert name in loaded.trained_on
    assert "not a medical device" in loaded.limits


@pytest.fixture
def few_protocols(monkeypatch: pytest.MonkeyPatch) -> None:
    """Find the range of the card from fewer protocols."""
    monkeypatch.setattr("unweight.learn.weighted.protocol_range.N_DRAWS", 100)


@pytest.mark.usefixtures("few_protocols")
@pytest.mark.parametrize("method", [method for method in FROM_WEIGHTED if method != MAPS_PGAN])
def test_networks_of_weighted_images_are_taught_and_loaded(method: str, tmp_path: Path) -> None:
    ear, recipe = Ear(), tiny(method)
    tensors, card = learned(recipe, report=ear)
    save_weights(tmp_path, tensors, card, half=True)
    estimator, loaded = load_estimator(method, tmp_path)
    maps = estimator(examination())
    assert maps.values.shape == (24, 20, 2, 3) and torch.equal(maps.failed, ~examination().inside)
    assert recipe_from_plain(loaded.recipe) == recipe
    assert [one.step for one in ear.heard] == [3, 6]
    assert all(one.checks is not None and "psnr_t2" in one.checks for one in ear.heard)
    n_validation, n_calibration = held_out(recipe)
    assert ear.made == [f"validation {n_validation}", "train 4", f"calibration {n_calibration}"]
    assert set(loaded.calibration) == {"T1", "T2", "PD"}
    for name in ("t1", "t2", "pd"):
        # Calibrated on other slabs of the same heads, few of them.
        assert 0.7 < loaded.metrics[f"coverage_90_{name}"] <= 1
        assert loaded.metrics[f"psnr_{name}"] > 0
    for name in ("procedural", "4 simulated slabs of 32 x 32", "no lesions", "Validated on"):
        assert name in loaded.trained_on


@pytest.mark.usefixtures("few_protocols")
def test_stopped_lesson_of_weighted_images_goes_on(tmp_path: Path) -> None:
    whole, _ = learned(tiny(MAPS))
    with pytest.raises(InterruptionError):
        learned(tiny(MAPS), folder=tmp_path, report=Ear(stop=3))
    resumed, _ = learned(tiny(MAPS), folder=tmp_path)
    assert same(whole, resumed)


def test_draws_belong_to_the_posterior_they_were_learned_for(tmp_path: Path) -> None:
    posterior, posterior_card, _ = learned_posterior()
    save_weights(tmp_path, posterior, posterior_card)
    tensors, card = learned(tiny(RESIDUAL), base=load_base(POSTERIOR, tmp_path))
    save_weights(tmp_path, tensors, card)
    estimator, _ = load_estimator(POSTERIOR, tmp_path)
    assert isinstance(estimator, PosteriorT1)
    maps = with_draws(estimator, 3, tmp_path)(measured())
    assert maps.draws is not None and maps.draws.shape == (3, 16, 12, 3)
    assert bool(torch.isfinite(maps.draws[:, ~maps.failed]).all())
    with pytest.raises(InputError, match="does not compute maps by itself"):
        load_estimator(RESIDUAL, tmp_path)
    other = {
        name: values + 0.01 if values.is_floating_point() else values for name, values in posterior.items()
    }
    save_weights(tmp_path, other, posterior_card)
    with pytest.raises(InputError, match="trained with another t1-posterior"):
        with_draws(estimator, 3, tmp_path)


def test_a_residual_needs_its_posterior() -> None:
    with pytest.raises(UsageError, match="learns the residual of t1-posterior, which is not given"):
        learned(tiny(RESIDUAL))


def test_card_of_the_posterior() -> None:
    _, card, _ = learned_posterior()
    assert range_from_plain(card.ranges).longest == (0.6, 4.5)
    wanted = {
        "rmse_ln_t1",
        "rmse_ln_t1_fit",
        "rmse_over_exact",
        "coverage_90_t1",
        "coverage_90_uncalibrated",
    }
    assert wanted <= card.metrics.keys()
    # Calibrated on other slabs of the same heads, few of them.
    assert 0.75 < card.metrics["coverage_90_t1"] <= 1
    assert card.metrics["rmse_over_exact"] > 1
    widths = {name: conformal_from_plain(card.calibration[name]) for name in ("T1", "PD", "B")}
    assert len(widths["T1"].factors) == 6
    assert widths["PD"].edges == () and len(widths["B"].factors) == 1


def test_own_protocol_is_the_only_one_in_the_ranges() -> None:
    recipe = for_protocol(tiny(POSTERIOR), (0.05, 0.4, 1.1, 2.5), 2.55, 0.014)
    card = trainable(POSTERIOR).card_text(recipe, slab_data(POSTERIOR))
    assert card.ranges == {
        "n_inversions": (4, 4),
        "shortest": (0.05, 0.05),
        "longest": (2.5, 2.5),
        "repetition_time": (2.55, 2.55),
        "efficiency": (1.35, 2.05),
        "snr": (15.0, 300.0),
    }
    assert "Inversion times 0.05, 0.4, 1.1, 2.5 s, repetition time 2.55 s" in card.trained_on


def test_yardstick_is_the_same_each_time_and_far_below_the_prior(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its error over the prior is far below that of the prior, whose sd of ln T1 is ln(600)/√12 = 1.85."""
    yardstick = yardstick_for(SlabRecipe())
    assert yardstick.slab["channels"].shape[2:] == (40, 40)
    assert 0.05 < yardstick.exact < 0.09
    monkeypatch.setattr("unweight.learn.t1.posterior_task.PLANE", (12, 12))
    assert yardstick_for(SlabRecipe()).exact == yardstick_for(SlabRecipe()).exact


def test_stopped_lesson_goes_on(tmp_path: Path) -> None:
    recipe = tiny(RESNET)
    whole, _ = learned(recipe)
    with pytest.raises(InterruptionError):
        learned(recipe, folder=tmp_path, report=Ear(stop=3))
    ear = Ear()
    resumed, card = learned(recipe, folder=tmp_path, report=ear)
    assert [one.step for one in ear.heard] == [6]
    assert ear.made == [f"calibration {FEW[1]}"]  # the others were kept
    assert same(whole, resumed)
    assert {path.name for path in (tmp_path / "slabs").iterdir()} == {"calibration", "train", "validation"}
    again, second = learned(recipe, folder=tmp_path)
    assert same(whole, again)
    assert second.seconds == card.seconds > 0


def test_warm_start() -> None:
    first, _ = learned(tiny(RESNET))
    slow = replace(tiny(RESNET), plan=replace(tiny(RESNET).plan, learning_rate=1e-12, weight_decay=0.0))
    second, _ = learned(slow, start=first)
    for name, one in first.items():
        torch.testing.assert_close(second[name], one, atol=1e-6, rtol=1e-4)
    with pytest.raises(InputError, match="of another network"):
        learned(tiny(POSTERIOR), start=first)


def test_only_the_first_process_scores_and_describes(monkeypatch: pytest.MonkeyPatch) -> None:
    checks: list[object] = []

    def train(*_: object, check: object, **__: object) -> dict[str, Tensor]:
        checks.append(check)
        return {}

    monkeypatch.setattr("unweight.learn.training.trainer.train", train)
    for name, value in (("WORLD_SIZE", "2"), ("LOCAL_RANK", "1"), ("RANK", "1")):
        monkeypatch.setenv(name, value)
    assert train_model(tiny(RESNET), slab_data(RESNET), device=CPU) is None
    assert checks == [None]


def test_messages() -> None:
    with pytest.raises(UsageError, match="both training and validation"):
        Heads(train=(head("a"),), validation=(head("a"),))
    with pytest.raises(UsageError, match="patches of 64 voxels do not fit into slabs of 32"):
        learned(replace(tiny(RESNET), patch=64))


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_log_is_json(tmp_path: Path) -> None:
    learned(tiny(RESNET), folder=tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [3, 6]
    assert lines[-1]["checks"]["rmse_ln_t1_fit"] > 0
