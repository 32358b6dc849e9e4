"""Recipes and heads small enough for tests: seconds from slabs to weights."""

from dataclasses import replace
from functools import cache

from unweight.core.seeding import seeded_generator
from unweight.learn.lesson import Heads
from unweight.learn.posterior_task import posterior_config
from unweight.learn.presets import recipe_for
from unweight.learn.recipe import POSTERIOR, Recipe
from unweight.nets.recurrent import RecurrentConfig
from unweight.nets.resnet import ResNetConfig
from unweight.nets.time_unet import TimeUNetConfig
from unweight.synth.anatomy import Anatomy
from unweight.synth.procedural_head import procedural_head

HEAD_SHAPE = (180, 216, 16)


def tiny(method: str) -> Recipe:
    """Return a recipe of a method that is done within seconds."""
    recipe = recipe_for(method, "cpu")
    network = recipe.network
    if method == POSTERIOR:
        network = posterior_config((8, 8))
    elif isinstance(network, ResNetConfig | TimeUNetConfig):
        network = replace(network, widths=(8, 8))
    elif isinstance(network, RecurrentConfig):
        network = replace(network, widths=(8, 8, 8), n_steps=2)
    plan = replace(recipe.plan, n_steps=6, batch_size=2, warm_up=2, check_every=3, save_every=3)
    return replace(
        recipe,
        slabs=replace(recipe.slabs, size=32, specks=False),
        n_slabs=4,
        patch=16,
        network=network,
        plan=plan,
    )


@cache
def head(label: str) -> Anatomy:
    """Return a slice of a head."""
    return procedural_head(seeded_generator(0, "head", label), shape=HEAD_SHAPE, voxel_mm=(0.5, 0.5, 0.5))


def heads() -> Heads:
    """Return one head for each part."""
    return Heads(train=(head("a"),), validation=(head("b"),))
