"""The published T1 networks as methods: they learn from images of one protocol, normal heads alone."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, final

import torch
from torch import nn

from unweight.core.errors import InputError, UsageError
from unweight.learn.t1.diffusor import (
    LADDER,
    DiffusorTask,
    DrawnInference,
    published_unet,
    small_unet,
)
from unweight.learn.t1.image_validator import ImageValidator, image_estimator, image_validator
from unweight.learn.t1.methods import (
    T1Trainable,
    plan_of,
    t1_card_text,
    t1_slabs,
)
from unweight.learn.t1.network_t1 import NetworkT1, SliceInference
from unweight.learn.t1.recurrent import PUBLISHED as RIM_CONFIG
from unweight.learn.t1.recurrent import RecurrentTask, UnrolledInference
from unweight.learn.t1.regression import RegressionInference, RegressionTask
from unweight.learn.t1.slabs import SlabRecipe
from unweight.learn.training.model_card import Card, CardText
from unweight.learn.training.recipe import Recipe
from unweight.learn.training.sample_cache import Indexed, Sample, SlabData, check_patch, held_out_shares
from unweight.learn.training.trainable import (
    BaseNetwork,
    Calibration,
    RecipeTypes,
    Task,
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
    "It knows one set of inversion times and one repetition time, and T1 of normal brain tissue; its loss "
    "and its scaling give little weight to short T1, which are poor. What it sees depends on the field of "
    "view, by which intensities are scaled. It is a baseline to compare with. "
)
N_DRAWN = (4, 0)  # slabs on which a network is scored that draws: each takes thousands of evaluations
N_DRAWS, N_STEPS = 10, {"cpu": 100}
PublishedRecipe = Recipe[SlabRecipe, Any]


@final
@dataclass(frozen=True, kw_only=True)
class PublishedMethod(T1Trainable[Any]):
    """A network of weighted images of one protocol.

    Attributes:
        types: The configurations of its recipes.
        presets: Its recipes.
        build: Returns the network of a configuration.
        build_task: Returns the loss of a network.
        inference: Returns how the network is used, by what the card keeps of its calibration.
        draws: Whether it draws maps; else its errors are found in validation.
        n_other: Channels of the network beside the images; None if their number does not matter.
    """

    types: RecipeTypes
    presets: Mapping[str, PublishedRecipe]
    build: Callable[[Any, torch.Generator], nn.Module]
    build_task: Callable[[Any, PublishedRecipe], Task]
    inference: Callable[[Calibration], SliceInference]
    draws: bool = False
    n_other: int | None = 0
    cache_key: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    ungridded: tuple[str, ...] = ()

    def check(self, recipe: PublishedRecipe) -> None:
        """Return if there is one protocol, and patches fit into slabs."""
        if not recipe.slabs.inversion_times:
            raise UsageError(f"{recipe.method} is trained for one set of TIs", remedy="Give them.")
        check_patch(recipe, recipe.slabs.size)

    def network(self, recipe: PublishedRecipe, generator: torch.Generator) -> nn.Module:
        """Return the network."""
        return self.build(recipe.network, generator)

    def network_for(self, config: Any, n_images: int) -> Any:
        """Return the configuration of a network that takes so many images."""
        return config if self.n_other is None else replace(config, in_channels=self.n_other + n_images)

    def task(self, network: nn.Module, recipe: PublishedRecipe, base: BaseNetwork | None) -> Task:
        """Return the published loss."""
        return self.build_task(network, recipe)

    def dataset(
        self, recipe: PublishedRecipe, anatomies: tuple[Any, ...], *, part: str, length: int
    ) -> Indexed[Sample]:
        """Return slabs of images and true maps."""
        return t1_slabs(recipe, anatomies, part, length, fitted=False)

    def held_out(self, recipe: PublishedRecipe) -> tuple[int, int]:
        """Return shares of the slabs for training, or a few where maps are drawn."""
        return N_DRAWN if self.draws else held_out_shares(recipe.n_slabs)

    def validator(
        self, recipe: PublishedRecipe, data: SlabData, base: BaseNetwork | None
    ) -> ImageValidator:
        """Return what compares the maps with truth and with the fit."""
        drawn = {"n_draws": N_DRAWS, "n_steps": N_STEPS.get(recipe.preset, LADDER.n_steps)}
        return image_validator(
            data.validation(recipe), recipe, self.inference, drawn if self.draws else None
        )

    def card_text(self, recipe: PublishedRecipe, data: SlabData) -> CardText:
        """Return the words of its card, and its one TR."""
        ranges = {"repetition_time": (recipe.slabs.repetition_time,) * 2}
        return t1_card_text(recipe, data, LIMITS, ranges)

    def estimator(self, network: nn.Module, card: Card, folder: Path | None) -> NetworkT1:
        """Return the estimator for its protocol."""
        calibration: dict[str, Any] = dict(card.calibration)
        if not self.draws:
            spread = calibration.get("relative_sd")
            if not isinstance(spread, list | tuple) or len(spread) != 3:
                raise InputError(f"the card of {card.name} holds no relative_sd of three maps")
        recipe = recipe_from_plain(card.recipe)
        inference = self.inference(calibration)
        return image_estimator(network, recipe, inference, card.ranges.get("repetition_time"))


def _relative_sd(calibration: Calibration) -> tuple[float, float, float]:
    t1, pd, b = calibration["relative_sd"]
    return float(t1), float(pd), float(b)


def _regress(calibration: Calibration) -> SliceInference:
    return RegressionInference(relative_sd=_relative_sd(calibration))


def _unroll(calibration: Calibration) -> SliceInference:
    return UnrolledInference(relative_sd=_relative_sd(calibration))


def _draw(calibration: Calibration) -> SliceInference:
    return DrawnInference(
        n_draws=int(calibration.get("n_draws") or N_DRAWS),
        n_steps=int(calibration.get("n_steps") or LADDER.n_steps),
    )


def _presets(name: str, **recipes: Mapping[str, Any]) -> Mapping[str, PublishedRecipe]:
    """Return recipes by preset; those of `paper` are on whole slices."""
    return MappingProxyType(
        {
            preset: Recipe(
                method=name,
                preset=preset,
                slabs=replace(PUBLISHED_SLABS, size=240) if preset == "paper" else PUBLISHED_SLABS,
                n_slabs={"cpu": 1500, "gpu": 4000, "paper": 3976}[preset],
                **values,
            )
            for preset, values in recipes.items()
        }
    )


_RESNET = ResNetConfig(in_channels=len(SEVEN), out_channels=3)
RESNET = PublishedMethod(
    types=RecipeTypes(slabs=SlabRecipe, network=ResNetConfig),
    presets=_presets(
        "t1-resnet",
        cpu={"patch": 48, "network": _RESNET, "plan": plan_of(1500, 8)},
        gpu={"patch": 96, "network": _RESNET, "plan": plan_of(20_000, 32)},
        # As published: batch statistics at test time too, so that estimates depend on what else is there.
        paper={
            "patch": 240,
            "network": replace(_RESNET, norm=Normalisation.BATCH),
            "plan": plan_of(49_700, 8),
        },
    ),
    build=lambda config, generator: ResNet(config, generator=generator),
    build_task=lambda network, recipe: RegressionTask(resnet=network),
    inference=_regress,
)
RIM = PublishedMethod(
    types=RecipeTypes(slabs=SlabRecipe, network=RecurrentConfig),
    presets=_presets(
        "t1-rim",
        cpu={"patch": 48, "network": RIM_CONFIG, "plan": replace(plan_of(1500, 8), bfloat16=False)},
        gpu={"patch": 96, "network": RIM_CONFIG, "plan": replace(plan_of(20_000, 32), bfloat16=False)},
        paper={
            "patch": 240,
            "network": RIM_CONFIG,
            "plan": replace(plan_of(49_700, 8, learning_rate=1e-4), bfloat16=False),
        },
    ),
    build=lambda config, generator: RecurrentInference(config, generator=generator),
    build_task=lambda network, recipe: RecurrentTask(
        machine=network, inversion_time=recipe.slabs.inversion_times
    ),
    inference=_unroll,
    n_other=None,
)
DIFFUSOR = PublishedMethod(
    types=RecipeTypes(slabs=SlabRecipe, network=TimeUNetConfig),
    presets=_presets(
        "t1-diffusor",
        cpu={"patch": 64, "network": small_unet(len(SEVEN)), "plan": plan_of(6000, 16)},
        gpu={"patch": 96, "network": small_unet(len(SEVEN)), "plan": plan_of(40_000, 64)},
        paper={
            "patch": 240,
            "network": published_unet(len(SEVEN)),
            "plan": plan_of(49_700, 8, learning_rate=2.5e-5, weight_decay=0.0),
        },
    ),
    build=lambda config, generator: TimeUNet(config, generator=generator),
    build_task=lambda network, recipe: DiffusorTask(unet=network),
    inference=_draw,
    draws=True,
    n_other=3,
)
