from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.learn.examinations import ANY_TIMINGS, examination
from tests.learn.lessons import tiny
from tests.learn.names import (
    DIFFUSOR,
    MAPS,
    MAPS_PGAN,
    MAPS_UNCONDITIONED,
    MAPS_UNET,
    POSTERIOR,
    RESIDUAL,
    RESNET,
    RIM,
)
from tests.run.untrained import RANGES, write_untrained
from unweight.core.errors import InputError, UsageError
from unweight.learn.t1.diffusor import DiffusorTask, DrawnInference
from unweight.learn.t1.network_t1 import NetworkT1
from unweight.learn.t1.posterior import PosteriorT1, with_draws
from unweight.learn.t1.posterior_task import PosteriorTask
from unweight.learn.t1.protocols import TrainedProtocol, range_from_plain
from unweight.learn.t1.published import SEVEN
from unweight.learn.t1.recurrent import RecurrentTask, UnrolledInference
from unweight.learn.t1.regression import RegressionInference, RegressionTask
from unweight.learn.t1.residual import ResidualTask
from unweight.learn.training.conformal import Conformal
from unweight.learn.training.model_card import Card
from unweight.learn.training.recipe import Recipe
from unweight.learn.training.trainable import (
    BaseNetwork,
    Task,
    estimator_of,
    load_base,
    load_estimator,
    load_network,
    new_network,
    new_task,
)
from unweight.learn.training.weights import load_weights, save_weights
from unweight.learn.weighted.estimator import WeightedMaps
from unweight.learn.weighted.protocol_range import WeightingRange
from unweight.learn.weighted.task import (
    Channels,
    Conditioned,
    Generator,
    InputAdapter,
    MapsTask,
    PganTask,
    Unconditioned,
)
from unweight.nets.unet import UNet

TASKS: Mapping[str, type[Task]] = {
    POSTERIOR: PosteriorTask,
    RESNET: RegressionTask,
    RIM: RecurrentTask,
    DIFFUSOR: DiffusorTask,
    MAPS: MapsTask,
    MAPS_UNCONDITIONED: MapsTask,
    MAPS_UNET: MapsTask,
    MAPS_PGAN: PganTask,
}
ADAPTERS: Mapping[str, InputAdapter] = {
    MAPS: Conditioned(),
    MAPS_UNCONDITIONED: Unconditioned(),
    MAPS_UNET: Channels(),
    MAPS_PGAN: Generator(),
}
INTERVALS = (Conformal(), Conformal(edges=(1.0,), factors=(2.0, 3.0)), Conformal())


def card(recipe: Recipe[Any, Any], /, **changes: Any) -> Card:
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


def tensors(recipe: Recipe[Any, Any]) -> dict[str, Tensor]:
    """Return weights that are not those a network starts with."""
    return {name: one + 0.01 for name, one in new_task(recipe).network.state_dict().items()}


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("method", TASKS)
def test_task_of_a_recipe(method: str) -> None:
    task = new_task(tiny(method))
    assert type(task) is TASKS[method]
    assert same(task.network.state_dict(), new_task(tiny(method)).network.state_dict())
    other = new_task(replace(tiny(method), seed=1)).network.state_dict()
    assert not same(task.network.state_dict(), other)
    if isinstance(task, RecurrentTask):
        assert task.inversion_time == SEVEN


@pytest.mark.parametrize("method", ADAPTERS)
def test_files_make_an_estimator_of_weighted_images(method: str, tmp_path: Path) -> None:
    recipe = tiny(method)
    calibration = {name: one.to_plain() for name, one in zip(("T1", "T2", "PD"), INTERVALS, strict=True)}
    described = card(recipe, ranges=ANY_TIMINGS, calibration=calibration)
    save_weights(tmp_path, tensors(recipe), described)
    made, told = load_estimator(method, tmp_path)
    assert isinstance(made, WeightedMaps) and told.name == made.name == method
    assert same(made.network.state_dict(), tensors(recipe)) and not made.network.training
    assert made.adapter == ADAPTERS[method] and made.intervals == INTERVALS
    assert made.weightings == WeightingRange(ANY_TIMINGS)
    made.accept(examination())


@pytest.mark.parametrize("method", ADAPTERS)
def test_a_card_without_calibration_or_absent_weights(method: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there are no weights called maps"):
        load_estimator(method, tmp_path / "nowhere")
    bare = card(tiny(method), ranges=ANY_TIMINGS, calibration={})
    save_weights(tmp_path / "bare", tensors(tiny(method)), bare)
    with pytest.raises(InputError, match="no valid calibration"):
        load_estimator(method, tmp_path / "bare")


def test_the_residual_is_learned_beside_its_posterior() -> None:
    posterior = new_network(tiny(POSTERIOR))
    assert isinstance(posterior, UNet)
    task = new_task(tiny(RESIDUAL), BaseNetwork(network=posterior, sha256=""))
    assert isinstance(task, ResidualTask)
    assert task.posterior is posterior
    with pytest.raises(UsageError, match=r"which is not given. Train t1-posterior first.*--base"):
        new_task(tiny(RESIDUAL))


@pytest.mark.parametrize(
    ("method", "kind"),
    [(POSTERIOR, PosteriorT1), (RESNET, NetworkT1), (RIM, NetworkT1), (DIFFUSOR, NetworkT1)],
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
    assert isinstance(made, NetworkT1)
    assert made.trained == TrainedProtocol(inversion_time=SEVEN, repetition_time=(8.0, 12.0), recipe=method)
    if isinstance(made.inference, RegressionInference | UnrolledInference):
        assert made.inference.relative_sd == (0.1, 0.2, 0.05)


def test_draws_of_a_diffusor_are_those_of_its_card_or_those_published() -> None:
    recipe = tiny(DIFFUSOR)
    for calibration, expected in (({"n_steps": 20, "n_draws": 4}, (20, 4)), ({}, (1000, 10))):
        made = estimator_of(card(recipe, calibration=calibration), tensors(recipe))
        assert isinstance(made, NetworkT1) and isinstance(made.inference, DrawnInference)
        assert (made.inference.n_steps, made.inference.n_draws) == expected


def test_files_make_the_same_estimator(tmp_path: Path) -> None:
    recipe = tiny(POSTERIOR)
    save_weights(tmp_path, tensors(recipe), card(recipe))
    made, told = load_estimator(POSTERIOR, tmp_path)
    assert isinstance(made, PosteriorT1)
    assert same(made.network.state_dict(), tensors(recipe))
    assert told.name == POSTERIOR
    network, _ = load_network(POSTERIOR, tmp_path)
    assert same(network.state_dict(), tensors(recipe))


def residual_weights(folder: Path, base: str) -> None:
    """Write weights for draws that belong to the posterior with this fingerprint."""
    recipe = tiny(RESIDUAL)
    posterior = load_base(POSTERIOR, folder)
    calibration = {"base": base, "n_steps": 3, "spread": 1.1}
    save_weights(
        folder, new_task(recipe, posterior).network.state_dict(), card(recipe, calibration=calibration)
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
    with pytest.raises(InputError, match=r"trained with another t1-posterior\. .*train t1-residual --base"):
        with_draws(estimator, 5, tmp_path)
    with pytest.raises(
        InputError, match=r"t1-residual does not compute maps by itself\. Use --method posterior"
    ):
        load_estimator(RESIDUAL, tmp_path)


def test_messages() -> None:
    recipe = tiny(POSTERIOR)
    with pytest.raises(InputError, match="no valid calibration"):
        estimator_of(card(recipe, calibration={}), tensors(recipe))
    with pytest.raises(InputError, match="the card of the weights contains no range of protocols"):
        estimator_of(card(recipe, ranges={}), tensors(recipe))
    with pytest.raises(InputError, match="these weights are of another network"):
        estimator_of(card(recipe), tensors(tiny(RESNET)))
    with pytest.raises(InputError, match="cannot be read by this version"):
        estimator_of(card(recipe, recipe={}), tensors(recipe))
    for method in (RESNET, RIM):
        with pytest.raises(InputError, match=f"the card of {method} does not contain relative_sd"):
            estimator_of(card(tiny(method), calibration={"relative_sd": [0.1]}), tensors(tiny(method)))
