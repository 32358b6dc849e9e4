"""The recipes to begin with.

`cpu` is what two cores train within an hour; `gpu` the same system with more of everything; `paper` the
published configuration, where there is one.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from unweight.core.errors import UsageError
from unweight.learn.mprage.presets import T1W_RECIPES
from unweight.learn.t1.diffusor import published_unet, small_unet
from unweight.learn.t1.posterior_task import posterior_config
from unweight.learn.t1.recurrent import PUBLISHED
from unweight.learn.t1.residual import residual_config
from unweight.learn.t1.slabs import SlabRecipe
from unweight.learn.training.recipe import (
    DIFFUSOR,
    METHODS,
    POSTERIOR,
    RESIDUAL,
    RESNET,
    RIM,
    SEVEN,
    Recipe,
)
from unweight.learn.training.schedule import TrainingPlan
from unweight.learn.weighted.presets import MAPS_RECIPES
from unweight.nets.normalisation import Normalisation
from unweight.nets.resnet import ResNetConfig

# What the published networks were trained on: heads alone, normal tissue, seven inversions.
PUBLISHED_SLABS = SlabRecipe(
    inversion_times=SEVEN,
    repetition_time=10.0,
    readout=0.457,
    shapes=0.0,
    specks=False,
    scattered=0.0,
    tissue=1.0,
    moving=0.0,
    late=0.0,
    snr=(15.0, 150.0),
)


def recipe_for(method: str, preset: str) -> Recipe:
    """Return a preset.

    Raises:
        UsageError: There is none of this name.
    """
    presets = PRESET_RECIPES.get(method)
    if presets is None:
        raise UsageError(f"nothing is called {method}", remedy=f"There are {', '.join(METHODS)}.")
    if preset not in presets:
        raise UsageError(
            f"{method} has no preset called {preset}", remedy=f"There are {', '.join(presets)}."
        )
    return presets[preset]


def _plan(n_steps: int, batch_size: int, **other: Any) -> TrainingPlan:
    return TrainingPlan(n_steps=n_steps, batch_size=batch_size, bfloat16=True, **other)


_RESNET = ResNetConfig(in_channels=len(SEVEN), out_channels=3)
PRESET_RECIPES: Mapping[str, Mapping[str, Recipe]] = {
    POSTERIOR: {
        "cpu": Recipe(
            method=POSTERIOR,
            preset="cpu",
            slabs=SlabRecipe(),
            n_slabs=1600,
            patch=64,
            network=posterior_config((32, 64, 96, 128)),
            plan=_plan(7000, 16, warm_up=500),
        ),
        "gpu": Recipe(
            method=POSTERIOR,
            preset="gpu",
            slabs=SlabRecipe(),
            n_slabs=6000,
            patch=96,
            network=posterior_config((48, 64, 96, 128)),
            plan=_plan(20_000, 64),
        ),
    },
    RESIDUAL: {
        "cpu": Recipe(
            method=RESIDUAL,
            preset="cpu",
            slabs=SlabRecipe(),
            n_slabs=400,
            patch=64,
            network=residual_config((32, 64, 96)),
            plan=_plan(3000, 16, check_every=1500),
        ),
        "gpu": Recipe(
            method=RESIDUAL,
            preset="gpu",
            slabs=SlabRecipe(),
            n_slabs=6000,
            patch=96,
            network=residual_config((48, 64, 96, 128)),
            plan=_plan(20_000, 64),
        ),
    },
    RESNET: {
        "cpu": Recipe(
            method=RESNET,
            preset="cpu",
            slabs=PUBLISHED_SLABS,
            n_slabs=1500,
            patch=48,
            network=_RESNET,
            plan=_plan(1500, 8),
        ),
        "gpu": Recipe(
            method=RESNET,
            preset="gpu",
            slabs=PUBLISHED_SLABS,
            n_slabs=4000,
            patch=96,
            network=_RESNET,
            plan=_plan(20_000, 32),
        ),
        # As published: batch statistics at test time too, so that estimates depend on what else is there.
        "paper": Recipe(
            method=RESNET,
            preset="paper",
            slabs=replace(PUBLISHED_SLABS, size=240),
            n_slabs=3976,
            patch=240,
            network=replace(_RESNET, norm=Normalisation.BATCH),
            plan=_plan(49_700, 8),
        ),
    },
    RIM: {
        "cpu": Recipe(
            method=RIM,
            preset="cpu",
            slabs=PUBLISHED_SLABS,
            n_slabs=1500,
            patch=48,
            network=PUBLISHED,
            plan=replace(_plan(1500, 8), bfloat16=False),
        ),
        "gpu": Recipe(
            method=RIM,
            preset="gpu",
            slabs=PUBLISHED_SLABS,
            n_slabs=4000,
            patch=96,
            network=PUBLISHED,
            plan=replace(_plan(20_000, 32), bfloat16=False),
        ),
        "paper": Recipe(
            method=RIM,
            preset="paper",
            slabs=replace(PUBLISHED_SLABS, size=240),
            n_slabs=3976,
            patch=240,
            network=PUBLISHED,
            plan=replace(_plan(49_700, 8, learning_rate=1e-4), bfloat16=False),
        ),
    },
    DIFFUSOR: {
        "cpu": Recipe(
            method=DIFFUSOR,
            preset="cpu",
            slabs=PUBLISHED_SLABS,
            n_slabs=1500,
            patch=64,
            network=small_unet(len(SEVEN)),
            plan=_plan(6000, 16),
        ),
        "gpu": Recipe(
            method=DIFFUSOR,
            preset="gpu",
            slabs=PUBLISHED_SLABS,
            n_slabs=4000,
            patch=96,
            network=small_unet(len(SEVEN)),
            plan=_plan(40_000, 64),
        ),
        "paper": Recipe(
            method=DIFFUSOR,
            preset="paper",
            slabs=replace(PUBLISHED_SLABS, size=240),
            n_slabs=3976,
            patch=240,
            network=published_unet(len(SEVEN)),
            plan=_plan(49_700, 8, learning_rate=2.5e-5, weight_decay=0.0),
        ),
    },
    **MAPS_RECIPES,
    **T1W_RECIPES,
}
