"""From recipes to tasks, and from files to what makes images."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.learn.lessons import narrow
from tests.learn.mprage.synthesisers import synthesiser_of
from tests.learn.names import (
    FROM_ECHOES,
    FROM_PAIRS,
    STRUCTURES,
    T1W,
    T1W_FAST,
    T1W_GAN,
    T1W_UNET,
)
from unweight.core.errors import InputError, UsageError
from unweight.core.seeding import seeded_generator
from unweight.diffusion.denoiser import Prediction
from unweight.learn.mprage.methods import load_base, load_network, load_synthesiser
from unweight.learn.mprage.synthesis import Diffusion, Planes, Regression, Residual
from unweight.learn.mprage.tasks import (
    EchoDiffusionTask,
    EchoGanTask,
    EchoRegressionTask,
    EchoResidualTask,
    ScheduleConfig,
    ShortSchedule,
)
from unweight.learn.pairs.echo_channels import MASK, N_CHANNELS
from unweight.learn.segmentation.structures import StructureTask
from unweight.learn.training.model_card import Card
from unweight.learn.training.recipe import Recipe
from unweight.learn.training.trainable import (
    BaseNetwork,
    Task,
    new_task,
    recipe_for,
    recipe_from_plain,
    trainable,
)
from unweight.learn.training.weights import save_weights
from unweight.nets.pgan import Pgan
from unweight.nets.unet import UNet

TASKS: dict[str, type[Task]] = {
    T1W: EchoResidualTask,
    T1W_UNET: EchoRegressionTask,
    "mprage-conditioned": EchoRegressionTask,
    T1W_GAN: EchoGanTask,
    T1W_FAST: EchoDiffusionTask,
    STRUCTURES: StructureTask,
}
PRESETS = [(method, preset) for method in FROM_PAIRS for preset in trainable(method).presets]
CHANNELS = torch.randn(N_CHANNELS, 12, 14, 16, generator=seeded_generator(0)) / 2
CHANNELS[MASK] = 1.0


def tiny(method: str, **changes: Any) -> Recipe[Any, Any]:
    recipe = recipe_for(method, "cpu")
    return replace(recipe, network=narrow(recipe.network), **changes)


def learnt(network: nn.Module) -> nn.Module:
    """Return the network with a head that says something."""
    inner = network.generator if isinstance(network, Pgan) else getattr(network, "unet", network)
    assert isinstance(inner, UNet)
    with torch.no_grad():
        inner.head.weight.normal_(0, 0.1, generator=seeded_generator(1))
    return network.eval()


def base(sha256: str = "0" * 64) -> BaseNetwork:
    network = learnt(new_task(tiny(T1W_UNET)).network)
    assert isinstance(network, UNet)
    return BaseNetwork(network=network, sha256=sha256)


def card(recipe: Recipe[Any, Any], calibration: dict[str, object]) -> Card:
    return Card(
        name=recipe.method,
        version=1,
        summary="Untrained.",
        intended_use="Tests.",
        limits="It knows nothing.",
        preset=recipe.preset,
        trained_on="Nothing.",
        seed=recipe.seed,
        recipe=recipe.to_plain(),
        ranges={"voxel_mm": (1.0, 1.5)},
        calibration=calibration,
        metrics={},
        seconds=0.0,
    )


def saved(folder: Path, method: str, **calibration: object) -> tuple[nn.Module, Recipe[Any, Any]]:
    """Write weights that say something, and return the network."""
    recipe = tiny(method)
    network = learnt(new_task(recipe, base() if method == T1W else None).network)
    save_weights(folder, network.state_dict(), card(recipe, calibration))
    return network, recipe


def written_base(folder: Path) -> str:
    """Write the regression and return the SHA-256 of its weights."""
    saved(folder, T1W_UNET, spread=1.25)
    return load_base(T1W_UNET, folder).sha256


def weights(task: Task) -> list[Tensor]:
    return [one.detach().clone() for one in task.network.parameters()]


@pytest.mark.parametrize("method", FROM_PAIRS)
def test_the_task_of_each_method_and_its_starting_weights(method: str) -> None:
    given = base() if method == T1W else None
    task = new_task(tiny(method), given)
    assert type(task) is TASKS[method]
    again, other = new_task(tiny(method), given), new_task(tiny(method, seed=1), given)
    assert all(map(torch.equal, weights(task), weights(again)))
    assert not all(map(torch.equal, weights(task), weights(other)))


def test_a_task_has_what_its_recipe_says() -> None:
    choice = ScheduleConfig(ladder=ShortSchedule.UNIFORM, prediction=Prediction.EPSILON)
    task = new_task(tiny(T1W_FAST, schedule=choice))
    assert isinstance(task, EchoDiffusionTask)
    assert (task.prediction, task.schedule.n_steps) == (Prediction.EPSILON, 11)
    given = base()
    residual = new_task(tiny(T1W), given)
    assert isinstance(residual, EchoResidualTask) and residual.base is given.network


def test_a_residual_needs_its_regression() -> None:
    with pytest.raises(
        UsageError, match="learns the residual of mprage-unet, which is not given"
    ) as refused:
        new_task(tiny(T1W))
    assert refused.value.remedy == "Train mprage-unet first, and give its folder with --base."
    with pytest.raises(UsageError, match="mprage requires the weights of mprage-unet"):
        synthesiser_of(tiny(T1W), new_task(tiny(T1W), base()).network, {})


@pytest.mark.parametrize(("method", "preset"), PRESETS)
def test_every_preset_comes_back_from_plain_values(method: str, preset: str) -> None:
    recipe = recipe_for(method, preset)
    read = recipe_from_plain(json.loads(json.dumps(recipe.to_plain(), allow_nan=False)))
    assert read == recipe and type(read.network) is type(recipe.network)
    assert (read.schedule is not None) is (method == T1W_FAST)
    assert read.schedule == recipe.schedule


def test_all_methods_of_pairs() -> None:
    assert set(FROM_PAIRS) == {*FROM_ECHOES, "mprage-conditioned", STRUCTURES}


@pytest.mark.parametrize("method", FROM_ECHOES)
def test_what_was_saved_makes_the_same_image(method: str, tmp_path: Path) -> None:
    calibration: dict[str, object] = {"spread": 1.5}
    given = None
    if method == T1W:
        calibration["base"] = written_base(tmp_path)
        given = load_base(T1W_UNET, tmp_path)
    network, recipe = saved(tmp_path, method, **calibration)
    made, told = load_synthesiser(method, tmp_path, seed=3)
    expected = synthesiser_of(recipe, network, calibration, base=given, seed=3)
    assert recipe_from_plain(told.recipe) == recipe
    one, other = made(CHANNELS), expected(CHANNELS)
    torch.testing.assert_close(one.mean, other.mean)
    torch.testing.assert_close(one.sd, other.sd, equal_nan=True)
    # Not the image of an untrained network.
    assert float(one.mean.std()) > 0.005


def test_calibration_widens_what_a_network_says(tmp_path: Path) -> None:
    sha256 = written_base(tmp_path)
    for method, extra in ((T1W_UNET, {}), (T1W, {"base": sha256})):
        recipe = tiny(method)
        given = base() if method == T1W else None
        network = learnt(new_task(recipe, given).network)
        plain, wide = (
            synthesiser_of(recipe, network, {**extra, **spread}, base=given)(CHANNELS).sd
            for spread in ({}, {"spread": 2.0})
        )
        torch.testing.assert_close(wide, 2 * plain)


def test_what_is_asked_for_is_handed_on(tmp_path: Path) -> None:
    saved(tmp_path, T1W, base=written_base(tmp_path))
    for method in (T1W_GAN, T1W_FAST):
        saved(tmp_path, method)
    unet, _ = load_synthesiser(T1W_UNET, tmp_path, planes=Planes.AXIAL)
    assert isinstance(unet, Regression)
    assert (unet.planes, unet.spread, unet.n_outputs) == (Planes.AXIAL, 1.25, 2)
    gan, _ = load_synthesiser(T1W_GAN, tmp_path)
    assert isinstance(gan, Regression) and (gan.planes, gan.n_outputs) == (Planes.THREE, 1)
    drawn, _ = load_synthesiser(T1W_FAST, tmp_path, device=torch.device("cpu"))
    assert isinstance(drawn, Diffusion)
    assert (drawn.planes, drawn.n_draws, drawn.seed) == (Planes.ALTERNATE, 4, 0)
    assert drawn.prediction is Prediction.VELOCITY
    drawn, _ = load_synthesiser(T1W_FAST, tmp_path, planes=Planes.THREE, n_draws=3, seed=5)
    assert isinstance(drawn, Diffusion)
    assert (drawn.planes, drawn.n_draws, drawn.seed) == (Planes.THREE, 3, 5)
    residual, _ = load_synthesiser(T1W, tmp_path, n_draws=2, seed=5)
    assert isinstance(residual, Residual)
    assert (residual.planes, residual.n_draws, residual.seed) == (Planes.ALTERNATE, 2, 5)
    assert load_synthesiser(T1W, tmp_path)[0].n_draws == 0  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="--draws 0"):
        load_synthesiser(T1W_FAST, tmp_path, n_draws=0)


def test_a_residual_belongs_to_its_regression(tmp_path: Path) -> None:
    saved(tmp_path, T1W, base="0" * 64)
    with pytest.raises(InputError, match="there are no weights called mprage-unet"):
        load_synthesiser(T1W, tmp_path)
    written_base(tmp_path)
    with pytest.raises(
        InputError, match="the weights of mprage were trained with another mprage-unet"
    ) as refused:
        load_synthesiser(T1W, tmp_path)
    assert "unweight train mprage --base DIR" in str(refused.value.remedy)
    saved(tmp_path, T1W)
    with pytest.raises(InputError, match="trained with another mprage-unet"):
        load_synthesiser(T1W, tmp_path)


def test_networks_are_loaded_ready_to_use(tmp_path: Path) -> None:
    for method in (T1W_UNET, T1W, STRUCTURES):
        before, recipe = saved(tmp_path, method)
        network, told = load_network(method, tmp_path)
        read = recipe_from_plain(told.recipe)
        assert not network.training and read == recipe and told.name == method
        for name, one in before.state_dict().items():
            assert torch.equal(network.state_dict()[name], one)
    assert not load_base(T1W_UNET, tmp_path).network.training
    with pytest.raises(UsageError, match="structures does not synthesise T1w images"):
        load_synthesiser(STRUCTURES, tmp_path)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    recipe = tiny(T1W_UNET)
    save_weights(tmp_path, new_task(tiny(T1W_GAN)).network.state_dict(), card(recipe, {}))
    with pytest.raises(InputError, match="these weights are of another network"):
        load_synthesiser(T1W_UNET, tmp_path)
