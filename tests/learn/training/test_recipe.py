import json
from dataclasses import replace
from typing import Any

import pytest

from tests.learn.names import (
    DIFFUSOR,
    FROM_PAIRS,
    FROM_SERIES,
    FROM_WEIGHTED,
    MAPS,
    POSTERIOR,
    RESNET,
    RIM,
    T1W,
    T1W_FAST,
    T1W_UNET,
)
from unweight.core.errors import InputError, UsageError
from unweight.diffusion.denoiser import Prediction
from unweight.learn.mprage.tasks import ScheduleConfig, ShortSchedule
from unweight.learn.t1.methods import for_protocol, protocol_of
from unweight.learn.training.recipe import Recipe
from unweight.learn.training.trainable import check_recipe, recipe_for, recipe_from_plain
from unweight.nets.resnet import ResNetConfig
from unweight.nets.time_unet import TimeUNetConfig

UNIFORM = ScheduleConfig(ladder=ShortSchedule.UNIFORM, prediction=Prediction.EPSILON)
FOUR = (0.05, 0.4, 1.1, 2.5)


def stored(recipe: Recipe[Any, Any]) -> dict[str, Any]:
    """Return it as a card gives it back."""
    values: dict[str, Any] = json.loads(json.dumps(recipe.to_plain(), allow_nan=False))
    return values


@pytest.mark.parametrize("method", FROM_SERIES)
def test_round_trip_of_a_changed_recipe(method: str) -> None:
    recipe = replace(for_protocol(recipe_for(method, "gpu"), FOUR, 2.55, 0.014), seed=7, n_slabs=11)
    assert recipe_from_plain(stored(recipe)) == recipe


@pytest.mark.parametrize("method", FROM_SERIES)
def test_for_a_protocol_the_network_takes_as_many_images(method: str) -> None:
    before, after = recipe_for(method, "cpu"), for_protocol(recipe_for(method, "cpu"), FOUR, 2.55, 0.014)
    slabs = after.slabs
    assert (slabs.inversion_times, slabs.repetition_time, slabs.readout) == (FOUR, 2.55, 0.014)
    channels = {RESNET: 4, DIFFUSOR: 7}
    if method in channels:
        network = after.network
        assert isinstance(network, ResNetConfig | TimeUNetConfig)
        assert network.in_channels == channels[method]
        assert replace(network, in_channels=before.network.in_channels) == before.network  # type: ignore[union-attr]
    else:
        assert after.network == before.network  # it sees the fit, or one volume after the other


@pytest.mark.parametrize("method", FROM_WEIGHTED)
def test_round_trip_of_a_recipe_of_weighted_images(method: str) -> None:
    recipe = recipe_for(method, "gpu")
    recipe = replace(recipe, seed=7, slabs=replace(recipe.slabs, size=96, snr=(30.0, 90.0)))
    assert recipe_from_plain(stored(recipe)) == recipe


@pytest.mark.parametrize("method", FROM_WEIGHTED)
def test_networks_of_weighted_images_know_no_inversion_times(method: str) -> None:
    recipe = recipe_for(method, "cpu")
    with pytest.raises(UsageError, match=f"{method} accepts any timings"):
        for_protocol(recipe, FOUR, 2.55, 0.014)
    with pytest.raises(UsageError, match=f"{method} accepts any timings"):
        protocol_of(recipe)


@pytest.mark.parametrize("method", FROM_PAIRS)
def test_round_trip_of_a_recipe_of_pairs(method: str) -> None:
    recipe = recipe_for(method, "gpu")
    recipe = replace(recipe, seed=7, slabs=replace(recipe.slabs, n=(3, 2, 1), snr=(30.0, 90.0)))
    if recipe.schedule is not None:
        recipe = replace(recipe, schedule=UNIFORM)
    assert recipe_from_plain(stored(recipe)) == recipe
    assert ("descent" in stored(recipe)) is (method == T1W_FAST)


@pytest.mark.parametrize("method", FROM_PAIRS)
def test_networks_of_pairs_know_no_inversion_times(method: str) -> None:
    recipe = recipe_for(method, "cpu")
    with pytest.raises(UsageError, match=f"{method} accepts any timings"):
        for_protocol(recipe, FOUR, 2.55, 0.014)


def test_a_descent_that_is_damaged_or_missing_is_refused() -> None:
    values = stored(recipe_for(T1W_FAST, "cpu"))
    without_it = {name: one for name, one in values.items() if name != "descent"}
    for other in (
        without_it,
        values | {"descent": None},
        values | {"descent": values["descent"] | {"ladder": "rope"}},
        values | {"descent": values["descent"] | {"colour": "red"}},
        stored(recipe_for(T1W, "cpu")) | {"descent": values["descent"]},
    ):
        with pytest.raises(InputError, match="cannot be read by this version"):
            recipe_from_plain(other)


def changed(**values: Any) -> dict[str, Any]:
    return stored(recipe_for(POSTERIOR, "cpu")) | values


def without(name: str) -> dict[str, Any]:
    return {key: one for key, one in changed().items() if key != name}


def inside(part: str, **values: Any) -> dict[str, Any]:
    return changed(**{part: changed()[part] | values})


@pytest.mark.parametrize(
    "values",
    [
        {},
        changed(colour="red"),
        changed(method="t2-posterior"),
        changed(method=RESNET),
        changed(method=MAPS),
        without("plan"),
        without("n_slabs"),
        inside("slabs", colour="red"),
        inside("network", colour="red"),
        inside("plan", colour="red"),
        inside("network", widths=[]),
        inside("network", norm="moon"),
        inside("plan", n_steps=0),
    ],
)
def test_other_values_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="cannot be read by this version") as refused:
        recipe_from_plain(values)
    assert "Use weights that were trained with this version" in str(refused.value)


def test_messages() -> None:
    with pytest.raises(
        UsageError, match=r"nothing is called t2-posterior\. There are t1-posterior, .*, maps"
    ):
        check_recipe(replace(recipe_for(POSTERIOR, "cpu"), method="t2-posterior"))
    with pytest.raises(UsageError, match="t1-posterior is trained with a UNetConfig"):
        check_recipe(replace(recipe_for(POSTERIOR, "cpu"), network=recipe_for(RESNET, "cpu").network))
    with pytest.raises(UsageError, match=r"t1-rim is trained for one set of inversion times.*--ti"):
        check_recipe(replace(recipe_for(RIM, "cpu"), slabs=recipe_for(POSTERIOR, "cpu").slabs))
    for name, other, kind in (
        ("maps-unet", POSTERIOR, "SlabRecipe"),
        (POSTERIOR, MAPS, "WeightedSlabRecipe"),
        (T1W, POSTERIOR, "SlabRecipe"),
        (POSTERIOR, T1W, "CohortRecipe"),
    ):
        with pytest.raises(UsageError, match=f"{name} is not trained on slabs of a {kind}"):
            check_recipe(replace(recipe_for(name, "cpu"), slabs=recipe_for(other, "cpu").slabs))
    with pytest.raises(UsageError, match="mprage-fastddpm is trained with a ScheduleConfig"):
        check_recipe(replace(recipe_for(T1W_FAST, "cpu"), schedule=None))
    with pytest.raises(UsageError, match="mprage-unet is trained with no noise schedule"):
        check_recipe(replace(recipe_for(T1W_UNET, "cpu"), schedule=UNIFORM))
