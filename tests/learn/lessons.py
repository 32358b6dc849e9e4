"""Recipes and heads small enough for tests: seconds from slabs to weights."""

from dataclasses import replace
from functools import cache
from typing import Any

from unweight.core.seeding import seeded_generator
from unweight.learn.t1.posterior_task import posterior_config
from unweight.learn.t1.slabs import SlabRecipe
from unweight.learn.training.recipe import Recipe
from unweight.learn.training.sample_cache import Heads, SlabData, SlabSource
from unweight.learn.training.trainable import recipe_for, trainable
from unweight.nets.conditioned_unet import ConditionedUNetConfig
from unweight.nets.image_set import ImageSetConfig
from unweight.nets.pgan import PganConfig
from unweight.nets.recurrent import RecurrentConfig
from unweight.nets.resnet import ResNetConfig
from unweight.nets.time_unet import TimeUNetConfig
from unweight.nets.unet import UNetConfig
from unweight.nets.volume_unet import VolumeUNetConfig
from unweight.synth.anatomy.labels import Anatomy
from unweight.synth.anatomy.procedural_head import procedural_head

HEAD_SHAPE = (180, 216, 16)


def tiny(method: str) -> Recipe[Any, Any]:
    """Return a recipe of a method that is done within seconds."""
    recipe = recipe_for(method, "cpu")
    # float32, so that what is tested does not depend on the CPU.
    plan = replace(recipe.plan, n_steps=6, batch_size=2, warm_up=2, check_every=3, save_every=3)
    plan = replace(plan, bfloat16=False)
    slabs = replace(recipe.slabs, size=32)
    return replace(
        recipe,
        slabs=replace(slabs, specks=False) if isinstance(slabs, SlabRecipe) else slabs,
        n_slabs=4,
        patch=16,
        network=posterior_config((8, 8)) if method == "t1-posterior" else narrow(recipe.network),
        plan=plan,
    )


def narrow(network: Any) -> Any:
    """Return a network with two levels of eight channels."""
    if isinstance(network, RecurrentConfig):
        return replace(network, widths=(8, 8, 8), n_steps=2)
    if isinstance(network, ImageSetConfig):
        return replace(network, widths=(8, 8), stem=4, slots=3, embedding=8)
    if isinstance(network, PganConfig):
        return replace(network, generator=replace(network.generator, widths=(8, 8)), critic=(4, 8))
    if isinstance(network, ConditionedUNetConfig):
        return replace(network, unet=replace(network.unet, widths=(8, 8), condition_features=8), width=8)
    assert isinstance(network, ResNetConfig | TimeUNetConfig | UNetConfig | VolumeUNetConfig)
    return replace(network, widths=(8, 8))


@cache
def head(label: str) -> Anatomy:
    """Return a slice of a head."""
    return procedural_head(seeded_generator(0, "head", label), shape=HEAD_SHAPE, voxel_mm=(0.5, 0.5, 0.5))


def heads() -> Heads:
    """Return one head for each part."""
    return Heads(train=(head("a"),), validation=(head("b"),))


def slab_data(method: str, **more: Any) -> SlabData:
    """Return slabs of these heads for a method."""
    source = trainable(method)
    assert isinstance(source, SlabSource)
    return SlabData(source=source, heads=heads(), **more)
