"""The four networks differ in what they are told and in nothing else."""

from dataclasses import replace

import pytest

from tests.learn.names import FROM_WEIGHTED, MAPS, MAPS_PGAN, MAPS_UNCONDITIONED, MAPS_UNET
from unweight.learn.training.trainable import new_task, recipe_for
from unweight.learn.weighted.task import Channels, Conditioned, MapsTask, PganTask, Unconditioned
from unweight.nets.image_set import ImageSetConfig
from unweight.nets.layers import count_parameters
from unweight.nets.pgan import PganConfig
from unweight.synth.protocols.prior import ContrastPrior


@pytest.mark.parametrize("preset", ["cpu", "gpu"])
def test_all_have_the_same_data_and_steps(preset: str) -> None:
    recipes = [recipe_for(method, preset) for method in FROM_WEIGHTED]
    first = recipes[0]
    for method, one in zip(FROM_WEIGHTED, recipes, strict=True):
        assert replace(one, method=first.method, network=first.network) == first
        assert (one.method, one.preset) == (method, preset)


@pytest.mark.parametrize("preset", ["cpu", "gpu"])
def test_the_ablation_and_the_generator_are_the_same_networks(preset: str) -> None:
    told, untold, plain, gan = (recipe_for(method, preset).network for method in FROM_WEIGHTED)
    assert isinstance(told, ImageSetConfig) and isinstance(gan, PganConfig)
    assert untold == replace(told, extra_channels=1)
    assert gan.generator == plain
    # The mask is among the further channels of both.
    assert told.extra_channels > 1


def test_they_are_about_as_large() -> None:
    """So that a difference is not one of size; a critic comes with the GAN alone."""
    tasks = {method: new_task(recipe_for(method, "cpu")) for method in FROM_WEIGHTED}
    sizes = {
        method: count_parameters(task.pgan.generator if isinstance(task, PganTask) else task.network)
        for method, task in tasks.items()
    }
    assert max(sizes.values()) < 1.2 * min(sizes.values())
    for method, adapter in (
        (MAPS, Conditioned()),
        (MAPS_UNCONDITIONED, Unconditioned()),
        (MAPS_UNET, Channels()),
    ):
        task = tasks[method]
        assert isinstance(task, MapsTask) and task.adapter == adapter
    assert isinstance(tasks[MAPS_PGAN], PganTask)


def test_they_learn_at_both_fields() -> None:
    assert ContrastPrior().field_strengths == (1.5, 3.0)
