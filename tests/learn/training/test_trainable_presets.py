import json

import pytest

from tests.learn.names import (
    DIFFUSOR,
    FROM_HEADS,
    FROM_PAIRS,
    FROM_SERIES,
    FROM_WEIGHTED,
    METHODS,
    POSTERIOR,
    RESIDUAL,
    RESNET,
    RIM,
    STRUCTURES,
    T1W,
    T1W_FAST,
    T1W_GAN,
    T1W_UNET,
)
from unweight.core.errors import UsageError
from unweight.learn.brain_mask.network import WINDOW
from unweight.learn.pairs.cohort import CohortRecipe
from unweight.learn.pairs.echo_channels import N_SLAB
from unweight.learn.pairs.pair import LEAST
from unweight.learn.segmentation.any_contrast import N_COARSE, N_OUT
from unweight.learn.t1.features import CHANNELS
from unweight.learn.t1.posterior_task import OUTPUTS
from unweight.learn.t1.published import SEVEN
from unweight.learn.training.recipe import PRESETS
from unweight.learn.training.trainable import recipe_for, recipe_from_plain, trainable
from unweight.learn.weighted.features import NAMES
from unweight.learn.weighted.task import OUTPUTS as MAPS_OUTPUTS
from unweight.nets.conditioned_unet import ConditionedUNetConfig
from unweight.nets.image_set import ImageSetConfig
from unweight.nets.pgan import PganConfig
from unweight.nets.recurrent import RecurrentConfig
from unweight.nets.resnet import ResNetConfig
from unweight.nets.time_unet import TimeUNetConfig
from unweight.nets.unet import UNetConfig
from unweight.nets.volume_unet import VolumeUNetConfig
from unweight.synth.protocols.standard import seven_inversions

ALL = [(method, preset) for method in METHODS for preset in trainable(method).presets]


def channels(method: str, preset: str) -> tuple[int, int]:
    """Return what the network of a preset takes and gives."""
    network = recipe_for(method, preset).network
    network = network.generator if isinstance(network, PganConfig) else network
    if isinstance(network, ConditionedUNetConfig):
        network = network.unet
    assert isinstance(network, UNetConfig | TimeUNetConfig | ResNetConfig)
    return network.in_channels, network.out_channels


@pytest.mark.parametrize(("method", "preset"), ALL)
def test_round_trip_of_every_preset(method: str, preset: str) -> None:
    recipe = recipe_for(method, preset)
    assert (recipe.method, recipe.preset) == (method, preset)
    assert recipe_from_plain(json.loads(json.dumps(recipe.to_plain(), allow_nan=False))) == recipe
    assert recipe_from_plain(recipe.to_plain()) == recipe


def test_every_method_has_presets() -> None:
    for method in METHODS:
        assert {"cpu", "gpu"} <= set(trainable(method).presets) <= set(PRESETS)


@pytest.mark.parametrize(("method", "preset"), [one for one in ALL if one[0] in FROM_PAIRS])
def test_networks_of_pairs_see_slabs_and_say_images(method: str, preset: str) -> None:
    """A noisy image before the slab, and what the regression said behind it."""
    recipe = recipe_for(method, preset)
    expected = {
        T1W: (1 + N_SLAB + 2, 1),
        T1W_UNET: (N_SLAB, 2),
        "mprage-conditioned": (N_SLAB, 2),
        T1W_GAN: (N_SLAB, 1),
        T1W_FAST: (1 + N_SLAB, 1),
        STRUCTURES: (5 + 1, 8),
    }
    assert channels(method, preset) == expected[method]
    # Brains are kept no smaller.
    assert recipe.patch <= LEAST
    assert recipe.n_slabs == recipe.slabs.n[0]


def test_the_published_schedule_of_fast_ddpm_goes_with_its_network() -> None:
    said = {preset: recipe_for(T1W_FAST, preset).schedule for preset in PRESETS}
    assert {preset: one and one.prediction.value for preset, one in said.items()} == {
        "cpu": "velocity",
        "gpu": "velocity",
        "paper": "epsilon",
    }


@pytest.mark.parametrize(
    ("method", "preset"), [one for one in ALL if one[0] in (*FROM_SERIES, *FROM_WEIGHTED)]
)
def test_patches_fit_and_channels_match(method: str, preset: str) -> None:
    recipe = recipe_for(method, preset)
    assert not isinstance(recipe.slabs, CohortRecipe)
    assert recipe.patch <= recipe.slabs.size
    expected = {
        POSTERIOR: (len(CHANNELS), OUTPUTS),
        RESIDUAL: (3 + len(CHANNELS) + 6, 3),
        DIFFUSOR: (3 + len(SEVEN), 3),
        RESNET: (len(SEVEN), 3),
    }
    if isinstance(recipe.network, RecurrentConfig):
        assert recipe.network.state_channels == 3
    elif isinstance(recipe.network, ImageSetConfig):
        assert recipe.network.out_channels == MAPS_OUTPUTS
    elif method in FROM_WEIGHTED:
        assert channels(method, preset) == (len(NAMES) + 1, MAPS_OUTPUTS)
    else:
        assert channels(method, preset) == expected[method]


@pytest.mark.parametrize(("method", "preset"), [one for one in ALL if one[0] in FROM_HEADS])
def test_networks_of_heads_see_one_image_and_fill_their_window(method: str, preset: str) -> None:
    recipe = recipe_for(method, preset)
    assert isinstance(recipe.network, VolumeUNetConfig)
    expected = {"brain-mask": (1, 0, WINDOW), "brain-segmentation": (N_OUT, N_COARSE, 96)}
    n_outputs, n_guides, window = expected[method]
    assert (recipe.network.in_channels, recipe.network.out_channels) == (1, n_outputs)
    assert recipe.network.coarse_channels == n_guides
    assert recipe.patch == window and recipe.patch % recipe.network.stride == 0


def test_each_method_is_in_one_group() -> None:
    groups = (*FROM_SERIES, *FROM_WEIGHTED, *FROM_PAIRS, *FROM_HEADS)
    assert sorted(groups) == sorted(METHODS)


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


def test_messages() -> None:
    with pytest.raises(
        UsageError, match=r"nothing is called t2-posterior\. There are t1-posterior, .*, maps"
    ):
        recipe_for("t2-posterior", "cpu")
    with pytest.raises(UsageError, match=r"t1-posterior has no preset called paper\. There are cpu, gpu"):
        recipe_for(POSTERIOR, "paper")
    with pytest.raises(UsageError, match=r"maps has no preset called paper\. There are cpu, gpu"):
        recipe_for("maps", "paper")
