import json
from dataclasses import replace
from typing import Any

import pytest

from unweight.core.errors import InputError, UsageError
from unweight.learn.features import CHANNELS
from unweight.learn.posterior_task import OUTPUTS
from unweight.learn.recipe import (
    DIFFUSOR,
    METHODS,
    NETWORKS,
    POSTERIOR,
    PRESET_RECIPES,
    RESIDUAL,
    RESNET,
    RIM,
    SEVEN,
    Recipe,
    recipe_for,
    recipe_from_plain,
)
from unweight.nets.recurrent import RecurrentConfig
from unweight.nets.resnet import ResNetConfig
from unweight.nets.time_unet import TimeUNetConfig
from unweight.nets.unet import UNetConfig
from unweight.synth.protocols import seven_inversions

ALL = [(method, preset) for method, presets in PRESET_RECIPES.items() for preset in presets]
FOUR = (0.05, 0.4, 1.1, 2.5)


def stored(recipe: Recipe) -> dict[str, Any]:
    """Return it as a card gives it back."""
    values: dict[str, Any] = json.loads(json.dumps(recipe.to_plain(), allow_nan=False))
    return values


@pytest.mark.parametrize(("method", "preset"), ALL)
def test_round_trip_of_every_preset(method: str, preset: str) -> None:
    recipe = recipe_for(method, preset)
    assert (recipe.method, recipe.preset) == (method, preset)
    assert recipe_from_plain(stored(recipe)) == recipe
    assert recipe_from_plain(recipe.to_plain()) == recipe


@pytest.mark.parametrize("method", METHODS)
def test_round_trip_of_a_changed_recipe(method: str) -> None:
    recipe = replace(recipe_for(method, "gpu").for_protocol(FOUR, 2.55, 0.014), seed=7, n_slabs=11)
    assert recipe_from_plain(stored(recipe)) == recipe


def test_every_method_has_presets() -> None:
    assert set(PRESET_RECIPES) == set(METHODS) == set(NETWORKS)
    assert all({"cpu", "gpu"} <= set(presets) for presets in PRESET_RECIPES.values())


@pytest.mark.parametrize(("method", "preset"), ALL)
def test_patches_fit_and_channels_match(method: str, preset: str) -> None:
    recipe = recipe_for(method, preset)
    network = recipe.network
    assert recipe.patch <= recipe.slabs.size
    if isinstance(network, UNetConfig):
        assert (network.in_channels, network.out_channels) == (len(CHANNELS), OUTPUTS)
    elif isinstance(network, TimeUNetConfig):
        beside = len(CHANNELS) + 6 if method == RESIDUAL else len(SEVEN)
        assert (network.in_channels, network.out_channels) == (3 + beside, 3)
    elif isinstance(network, ResNetConfig):
        assert (network.in_channels, network.out_channels) == (len(SEVEN), 3)
    else:
        assert isinstance(network, RecurrentConfig)
        assert network.state_channels == 3


def test_the_published_networks_learn_from_the_published_protocol() -> None:
    """Seven inversions, TR 10 s, 64 echoes 7.14 ms apart: Wang et al., arXiv 2407.16477."""
    protocol = seven_inversions().protocol
    for method in (RESNET, RIM, DIFFUSOR):
        slabs = recipe_for(method, "cpu").slabs
        assert list(slabs.inversion_times) == protocol.require("inversion_time", "a test").tolist()
        assert {slabs.repetition_time} == set(protocol.require("repetition_time", "a test").tolist())
        readout = float(protocol.require("readout_time", "a test")[0])
        assert slabs.readout == pytest.approx(readout, abs=1e-3)
        assert (slabs.shapes, slabs.specks, slabs.tissue, slabs.late) == (0.0, False, 1.0, 0.0)


@pytest.mark.parametrize("method", METHODS)
def test_for_a_protocol_the_network_takes_as_many_images(method: str) -> None:
    before, after = recipe_for(method, "cpu"), recipe_for(method, "cpu").for_protocol(FOUR, 2.55, 0.014)
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
    with pytest.raises(InputError, match="holds no recipe of this version") as refused:
        recipe_from_plain(values)
    assert "Use weights and program that belong together" in str(refused.value)


def test_messages() -> None:
    with pytest.raises(UsageError, match=r"nothing is called t2-posterior\. There are t1-posterior, "):
        recipe_for("t2-posterior", "cpu")
    with pytest.raises(UsageError, match=r"t1-posterior has no preset called paper\. There are cpu, gpu"):
        recipe_for(POSTERIOR, "paper")
    with pytest.raises(UsageError, match="t1-posterior is trained with a UNetConfig"):
        replace(recipe_for(POSTERIOR, "cpu"), network=recipe_for(RESNET, "cpu").network)
    with pytest.raises(UsageError, match=r"t1-rim is trained for one set of TIs\. Give them"):
        replace(recipe_for(RIM, "cpu"), slabs=recipe_for(POSTERIOR, "cpu").slabs)
