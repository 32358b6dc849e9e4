"""The published T1 networks as methods: they learn from images of one protocol, normal heads alone."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from torch import nn

from unweight.core.errors import InputError
from unweight.learn.t1.diffusor import (
    PUBLISHED,
    SCHEDULE,
    VELOCITY,
    DiffusionConfig,
    DiffusorTask,
    DrawnInference,
    published_unet,
    small_unet,
)
from unweight.learn.t1.image_validator import ImageValidator, image_estimator, image_validator
from unweight.learn.t1.methods import PAPER_SIZE, T1Recipe, T1Trainable, plan_of, t1_presets
from unweight.learn.t1.network_t1 import NetworkT1, SliceInference
from unweight.learn.t1.recurrent import PUBLISHED as RIM_CONFIG
from unweight.learn.t1.recurrent import RecurrentTask, UnrolledInference
from unweight.learn.t1.regression import RegressionInference, RegressionTask
from unweight.learn.t1.slabs import SlabRecipe
from unweight.learn.training.model_card import Card
from unweight.learn.training.recipe import TrainingPlan
from unweight.learn.training.sample_cache import SlabData
from unweight.learn.training.trainable import (
    BaseNetwork,
    Calibration,
    RecipeTypes,
    recipe_from_plain,
)
from unweight.nets.normalisation import Normalisation
from unweight.nets.recurrent import RecurrentConfig, RecurrentInference
from unweight.nets.resnet import ResNet, ResNetConfig
from unweight.nets.time_unet import TimeUNet, TimeUNetConfig

SEVEN = (0.05, 0.10, 0.25, 0.50, 0.85, 1.50, 2.50)
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
LIMITS = (
    "Valid for one set of inversion times, one repetition time and T1 of normal brain tissue. Short T1 has "
    "a low weight in the loss and is estimated poorly. Intensities are scaled by the whole image, so "
    "estimates depend on the field of view. A baseline for comparison. "
)
N_DRAWN = (4, 0)  # slabs on which a network is scored that draws: each takes thousands of evaluations
N_DRAWS, N_STEPS = 10, {"cpu": 16, "gpu": 16}
InferenceOf = Callable[[Calibration, T1Recipe], SliceInference]


def _published(inference: InferenceOf, *, draws: bool = False, **fields: Any) -> T1Trainable:
    """Return a network of weighted images of one protocol.

    Args:
        inference: Returns how the network is used, by what the card keeps of its calibration.
        draws: Whether it draws maps; else its errors are found in validation.
        fields: The others of `T1Trainable`.
    """

    def validator(recipe: T1Recipe, data: SlabData, base: BaseNetwork | None) -> ImageValidator:
        drawn = {"n_draws": N_DRAWS, "n_steps": N_STEPS.get(recipe.preset, SCHEDULE.n_steps)}

        def used(calibration: Calibration) -> SliceInference:
            return inference(calibration, recipe)

        return image_validator(data.validation(recipe), recipe, used, drawn if draws else None)

    def estimator(network: nn.Module, card: Card) -> NetworkT1:
        calibration: dict[str, Any] = dict(card.calibration)
        if not draws:
            spread = calibration.get("relative_sd")
            if not isinstance(spread, list | tuple) or len(spread) != 3:
                raise InputError(f"the card of {card.name} does not contain relative_sd of three maps")
        recipe = recipe_from_plain(card.recipe)
        used = inference(calibration, recipe)
        return image_estimator(network, recipe, used, card.ranges.get("repetition_time"))

    return T1Trainable(
        build_validator=validator,
        build_estimator=estimator,
        limits=LIMITS,
        n_held_out=N_DRAWN if draws else None,
        **fields,
    )


def _scheduled(
    name: str, slabs: SlabRecipe, **recipes: tuple[int, int, Any, TrainingPlan]
) -> Mapping[str, T1Recipe]:
    """Return recipes by preset, that of the paper as published and the others with `VELOCITY`."""
    presets = t1_presets(name, slabs, **recipes)
    schedules = {preset: PUBLISHED if preset == "paper" else VELOCITY for preset in presets}
    return MappingProxyType(
        {preset: replace(recipe, schedule=schedules[preset]) for preset, recipe in presets.items()}
    )


def _relative_sd(calibration: Calibration) -> tuple[float, float, float]:
    t1, pd, b = calibration["relative_sd"]
    return float(t1), float(pd), float(b)


def _regress(calibration: Calibration, recipe: T1Recipe) -> SliceInference:
    return RegressionInference(relative_sd=_relative_sd(calibration))


def _unroll(calibration: Calibration, recipe: T1Recipe) -> SliceInference:
    return UnrolledInference(relative_sd=_relative_sd(calibration))


def _draw(calibration: Calibration, recipe: T1Recipe) -> SliceInference:
    return DrawnInference(
        config=recipe.schedule,
        n_draws=int(calibration.get("n_draws") or N_DRAWS),
        n_steps=int(calibration.get("n_steps") or SCHEDULE.n_steps),
    )


_RESNET = ResNetConfig(in_channels=len(SEVEN), out_channels=3)
RESNET = _published(
    _regress,
    types=RecipeTypes(slabs=SlabRecipe, network=ResNetConfig),
    presets=t1_presets(
        "t1-resnet",
        PUBLISHED_SLABS,
        cpu=(1500, 48, _RESNET, plan_of(1500, 8)),
        gpu=(4000, 96, _RESNET, plan_of(20_000, 32)),
        # As published: batch statistics at test time too, so that estimates depend on what else is there.
        paper=(3976, PAPER_SIZE, replace(_RESNET, norm=Normalisation.BATCH), plan_of(49_700, 8)),
    ),
    build=lambda config, generator: ResNet(config, generator=generator),
    build_task=lambda network, recipe, base: RegressionTask(resnet=network),
    n_other=0,
)
RIM = _published(
    _unroll,
    types=RecipeTypes(slabs=SlabRecipe, network=RecurrentConfig),
    presets=t1_presets(
        "t1-rim",
        PUBLISHED_SLABS,
        cpu=(1500, 48, RIM_CONFIG, replace(plan_of(1500, 8), bfloat16=False)),
        gpu=(4000, 96, RIM_CONFIG, replace(plan_of(20_000, 32), bfloat16=False)),
        paper=(
            3976,
            PAPER_SIZE,
            RIM_CONFIG,
            replace(plan_of(49_700, 8, learning_rate=1e-4), bfloat16=False),
        ),
    ),
    build=lambda config, generator: RecurrentInference(config, generator=generator),
    build_task=lambda network, recipe, base: RecurrentTask(
        machine=network, inversion_time=recipe.slabs.inversion_times
    ),
)
DIFFUSOR = _published(
    _draw,
    draws=True,
    types=RecipeTypes(
        slabs=SlabRecipe, network=TimeUNetConfig, schedule=DiffusionConfig, unnoted_schedule=PUBLISHED
    ),
    presets=_scheduled(
        "t1-diffusor",
        PUBLISHED_SLABS,
        cpu=(1500, 64, small_unet(len(SEVEN)), plan_of(6000, 16)),
        gpu=(4000, 96, small_unet(len(SEVEN)), plan_of(40_000, 64)),
        paper=(
            3976,
            PAPER_SIZE,
            published_unet(len(SEVEN)),
            plan_of(49_700, 8, learning_rate=2.5e-5, weight_decay=0.0),
        ),
    ),
    build=lambda config, generator: TimeUNet(config, generator=generator),
    build_task=lambda network, recipe, base: DiffusorTask(unet=network, config=recipe.schedule),
    n_other=3,
)
