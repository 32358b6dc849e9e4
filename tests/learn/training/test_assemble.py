from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.learn.examinations import ANY_TIMINGS, examination
from tests.learn.lessons import tiny
from tests.run.untrained import RANGES, write_untrained
from unweight.core.errors import InputError, UsageError
from unweight.learn.t1.diffusor import DiffusorT1, DiffusorTask
from unweight.learn.t1.posterior import PosteriorT1
from unweight.learn.t1.posterior_task import PosteriorTask
from unweight.learn.t1.protocol_range import range_from_plain
from unweight.learn.t1.recurrent import RecurrentT1, RecurrentTask
from unweight.learn.t1.regression import RegressionT1, RegressionTask
from unweight.learn.t1.residual import ResidualTask
from unweight.learn.training.assemble import (
    estimator_of,
    load_estimator,
    load_posterior_network,
    load_weighted_maps,
    task_of,
    with_draws,
)
from unweight.learn.training.conformal import Conformal
from unweight.learn.training.model_card import Card
from unweight.learn.training.recipe import (
    DIFFUSOR,
    MAPS,
    MAPS_PGAN,
    MAPS_UNET,
    MAPS_UNTOLD,
    POSTERIOR,
    RESIDUAL,
    RESNET,
    RIM,
    SEVEN,
    Recipe,
)
from unweight.learn.training.task import Task
from unweight.learn.training.weights import load_weights, save_weights
from unweight.learn.weighted.estimator import WeightedMaps
from unweight.learn.weighted.pgan_task import PganTask
from unweight.learn.weighted.protocol_range import WeightingRange
from unweight.learn.weighted.task import Judged, MapsTask, Stacked, Told, Untold, View

TASKS: Mapping[str, type[Task]] = {
    POSTERIOR: PosteriorTask,
    RESNET: RegressionTask,
    RIM: RecurrentTask,
    DIFFUSOR: DiffusorTask,
    MAPS: MapsTask,
    MAPS_UNTOLD: MapsTask,
    MAPS_UNET: MapsTask,
    MAPS_PGAN: PganTask,
}
VIEWS: Mapping[str, View] = {
    MAPS: Told(),
    MAPS_UNTOLD: Untold(),
    MAPS_UNET: Stacked(),
    MAPS_PGAN: Judged(),
}
INTERVALS = (Conformal(), Conformal(edges=(1.0,), factors=(2.0, 3.0)), Conformal())


def card(recipe: Recipe, /, **changes: Any) -> Card:
    made = Card(
        name=recipe.method,
        version=1,
        summary="Untrained.",
        intended_use="Tests.",
        limits="It knows nothing.",
        preset=recipe.preset,
        trained_on="Nothing.",
        seed=0,
        recipe=recipe.to_plain(),
        ranges=RANGES if recipe.method == POSTERIOR else {"repetition_time": (8.0, 12.0)},
        calibration={
            "relative_sd": [0.1, 0.2, 0.05],
            **{name: one.to_plain() for name, one in zip(("T1", "PD", "B"), INTERVALS, strict=True)},
        },
        metrics={},
        seconds=0.0,
    )
    return replace(made, **changes)


def tensors(recipe: Recipe) -> dict[str, Tensor]:
    """Return weights that are not those a network starts with."""
    return {name: one + 0.01 for name, one in task_of(recipe).network.state_dict().items()}


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("method", TASKS)
def test_task_of_a_recipe(method: str) -> None:
    task = task_of(tiny(method))
    assert type(task) is TASKS[method]
    assert same(task.network.state_dict(), task_of(tiny(method)).network.state_dict())
    other = task_of(replace(tiny(method), seed=1)).network.state_dict()
    assert not same(task.network.state_dict(), other)
    if isinstance(task, RecurrentTask):
        assert task.inversion_time == SEVEN


@pytest.mark.parametrize("method", VIEWS)
def test_files_make_an_estimator_of_weighted_images(method: str, tmp_path: Path) -> None:
    recipe = tiny(method)
    calibration = {name: one.to_plain() for name, one in zip(("T1", "T2", "PD"), INTERVALS, strict=True)}
    described = card(recipe, ranges=ANY_TIMINGS, calibration=calibration)
    save_weights(tmp_path, tensors(recipe), described)
    made, told = load_weighted_maps(method, tmp_path)
    assert isinstance(made, WeightedMaps) and told.name == made.name == method
    assert same(made.network.state_dict(), tensors(recipe)) and not made.network.training
    assert made.view == VIEWS[method] and made.intervals == INTERVALS
    assert made.weightings == WeightingRange(ANY_TIMINGS)
    made.accept(examination())


@pytest.mark.parametrize("method", VIEWS)
def test_weighted_images_and_inversion_recovery_are_not_mixed_up(method: str, tmp_path: Path) -> None:
    write_untrained(tmp_path, (method, POSTERIOR))
    with pytest.raises(
        InputError, match=f"{method} maps weighted images, not inversion recovery. Use `unweight"
    ):
        load_estimator(method, tmp_path)
    with pytest.raises(InputError, match=r"t1-posterior does not map weighted images. Use `unweight t1`"):
        load_weighted_maps(POSTERIOR, tmp_path)
    with pytest.raises(InputError, match="there are no weights called maps"):
        load_weighted_maps(method, tmp_path / "nowhere")
    bare = card(tiny(method), ranges=ANY_TIMINGS, calibration={})
    with pytest.raises(InputError, match="holds no calibration of intervals"):
        save_weights(tmp_path / "bare", tensors(tiny(method)), bare)
        load_weighted_maps(method, tmp_path / "bare")


def test_the_residual_is_learned_beside_its_posterior() -> None:
    posterior = task_of(tiny(POSTERIOR)).network
    task = task_of(tiny(RESIDUAL), posterior)  # type: ignore[arg-type]
    assert isinstance(task, ResidualTask)
    assert task.posterior is posterior
    with pytest.raises(UsageError, match=r"cannot be learned without it. Train t1-posterior first.*--base"):
        task_of(tiny(RESIDUAL))


@pytest.mark.parametrize(
    ("method", "kind"),
    [(POSTERIOR, PosteriorT1), (RESNET, RegressionT1), (RIM, RecurrentT1), (DIFFUSOR, DiffusorT1)],
)
def test_estimator_of_a_card(method: str, kind: type) -> None:
    recipe = tiny(method)
    weights = tensors(recipe)
    made = estimator_of(card(recipe), weights)
    assert type(made) is kind
    network = made.network  # type: ignore[attr-defined]
    assert same(network.state_dict(), weights)
    assert not network.training
    if isinstance(made, PosteriorT1):
        assert made.protocols == range_from_plain(RANGES)
        assert made.intervals == INTERVALS
        assert made.draws is None
        return
    assert made.inversion_time == SEVEN  # type: ignore[attr-defined]
    assert made.repetition_time == (8.0, 12.0)  # type: ignore[attr-defined]
    if isinstance(made, RegressionT1 | RecurrentT1):
        assert made.relative_sd == (0.1, 0.2, 0.05)


def test_draws_of_a_diffusor_are_those_of_its_card_or_those_published() -> None:
    recipe = tiny(DIFFUSOR)
    for calibration, expected in (({"n_steps": 20, "n_draws": 4}, (20, 4)), ({}, (1000, 10))):
        made = estimator_of(card(recipe, calibration=calibration), tensors(recipe))
        assert isinstance(made, DiffusorT1)
        assert (made.n_steps, made.n_draws) == expected


def test_files_make_the_same_estimator(tmp_path: Path) -> None:
    recipe = tiny(POSTERIOR)
    save_weights(tmp_path, tensors(recipe), card(recipe))
    made, told = load_estimator(POSTERIOR, tmp_path)
    assert isinstance(made, PosteriorT1)
    assert same(made.network.state_dict(), tensors(recipe))
    assert told.name == POSTERIOR
    network, _ = load_posterior_network(tmp_path)
    assert same(network.state_dict(), tensors(recipe))


def residual_weights(folder: Path, base: str) -> None:
    """Write weights for draws that belong to the posterior with this fingerprint."""
    recipe = tiny(RESIDUAL)
    posterior, _ = load_posterior_network(folder)
    calibration = {"base": base, "n_steps": 3, "spread": 1.1}
    save_weights(
        folder, task_of(recipe, posterior).network.state_dict(), card(recipe, calibration=calibration)
    )


def test_draws_belong_to_one_posterior(tmp_path: Path) -> None:
    write_untrained(tmp_path, (POSTERIOR,))
    estimator, _ = load_estimator(POSTERIOR, tmp_path)
    assert isinstance(estimator, PosteriorT1)
    residual_weights(tmp_path, load_weights(POSTERIOR, tmp_path)[1].sha256)
    drawing = with_draws(estimator, 5, tmp_path).draws
    assert drawing is not None
    assert (drawing.n_draws, drawing.n_steps, drawing.spread) == (5, 3, 1.1)
    residual_weights(tmp_path, "0f" * 32)
    with pytest.raises(InputError, match=r"belong to another posterior\. .*train t1-residual --base"):
        with_draws(estimator, 5, tmp_path)
    with pytest.raises(InputError, match=r"t1-residual makes no maps by itself\. Use --method posterior"):
        load_estimator(RESIDUAL, tmp_path)


def test_messages() -> None:
    recipe = tiny(POSTERIOR)
    with pytest.raises(InputError, match="holds no calibration of intervals"):
        estimator_of(card(recipe, calibration={}), tensors(recipe))
    with pytest.raises(InputError, match="the card of the weights holds no range of protocols"):
        estimator_of(card(recipe, ranges={}), tensors(recipe))
    with pytest.raises(InputError, match="these weights are of another network"):
        estimator_of(card(recipe), tensors(tiny(RESNET)))
    with pytest.raises(InputError, match="holds no recipe of this version"):
        estimator_of(card(recipe, recipe={}), tensors(recipe))
    for method in (RESNET, RIM):
        with pytest.raises(InputError, match=f"the card of {method} holds no relative_sd of three maps"):
            estimator_of(card(tiny(method), calibration={"relative_sd": [0.1]}), tensors(tiny(method)))
