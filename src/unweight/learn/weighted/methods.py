"""The methods that learn from weighted images: four networks with the same data and steps."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, final

import torch
from torch import nn

from unweight.core.estimator import Estimator
from unweight.core.examination import WeightedImageSet
from unweight.learn.training.conformal import conformal_from_plain
from unweight.learn.training.model_card import NOT_A_MEDICAL_DEVICE, Card, CardText
from unweight.learn.training.recipe import Recipe, TrainingPlan
from unweight.learn.training.sample_cache import (
    TRAIN,
    Indexed,
    Sample,
    SlabData,
    SlabSource,
    check_patch,
    describe_heads,
    describe_held_out,
    held_out_shares,
    percent,
    seed_of_part,
)
from unweight.learn.training.trainable import (
    BaseNetwork,
    RecipeTypes,
    Task,
    TrainableMethod,
)
from unweight.learn.weighted.estimator import WeightedMaps
from unweight.learn.weighted.protocol_range import WeightingRange, trained_range
from unweight.learn.weighted.slabs import WHOLE, WeightedSlabRecipe, WeightedSlabs, as_examined
from unweight.learn.weighted.task import (
    Channels,
    Conditioned,
    Generator,
    InputAdapter,
    MapsTask,
    PganTask,
    Unconditioned,
    channels_config,
    conditioned_config,
    unconditioned_config,
)
from unweight.learn.weighted.validator import NAMES, MapsValidator
from unweight.nets.image_set import ImageSetConfig, ImageSetUNet
from unweight.nets.pgan import Pgan, PganConfig
from unweight.nets.unet import UNet, UNetConfig
from unweight.registry import trained_method

USE = "Quantitative maps of the brain from magnitude T1w, T2w and FLAIR, for research. "
LIMITS = (
    "Three images of unknown gain do not determine three maps: all estimates depend on a prior over normal "
    "tissue, and PD is relative to CSF. T2 of CSF is poorly determined at usual echo times. Intervals have "
    "their nominal coverage on average over voxels like those simulated (normal tissue), not in each "
    "voxel. Voxels whose images cannot be reproduced from the maps are flagged. "
)
SIMULATED = (
    "Trained on simulated images only; flow, chemical shift, reconstruction artefacts and moving coils are "
    "not simulated. "
)
CPU_WIDTHS, GPU_WIDTHS = (32, 64, 96, 128), (48, 96, 128, 192)
CPU_STEPS, GPU_STEPS = 6000, 40_000
WeightedRecipe = Recipe[WeightedSlabRecipe, Any]


@final
@dataclass(frozen=True, kw_only=True)
class WeightedMethod(TrainableMethod[WeightedSlabRecipe, Any, SlabData], SlabSource):
    """A network of T1w, T2w and FLAIR.

    Attributes:
        types: The configurations of its recipes.
        presets: Its recipes.
        build: Returns the network of a configuration.
        adapter: What the network gets of a batch.
    """

    types: RecipeTypes
    presets: Mapping[str, WeightedRecipe]
    build: Callable[[Any, torch.Generator], nn.Module]
    adapter: InputAdapter
    cache_key: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    ungridded: tuple[str, ...] = WHOLE

    def check(self, recipe: WeightedRecipe) -> None:
        """Return if patches fit into slabs."""
        check_patch(recipe, recipe.slabs.size)

    def network(self, recipe: WeightedRecipe, generator: torch.Generator) -> nn.Module:
        """Return the network."""
        return self.build(recipe.network, generator)

    def task(self, network: nn.Module, recipe: WeightedRecipe, base: BaseNetwork | None) -> Task:
        """Return its likelihood with a physics cycle, or the loss of a conditional GAN."""
        if isinstance(network, Pgan):
            return PganTask(pgan=network)
        return MapsTask(maps=network, adapter=self.adapter)

    def dataset(
        self, recipe: WeightedRecipe, anatomies: tuple[Any, ...], *, part: str, length: int
    ) -> Indexed[Sample]:
        """Return slabs; those of other parts than `train` are of heads with normal tissue alone."""
        return WeightedSlabs(
            recipe=recipe.slabs if part == TRAIN else as_examined(recipe.slabs),
            anatomies=anatomies,
            seed=seed_of_part(recipe, part),
            length=length,
        )

    def held_out(self, recipe: WeightedRecipe) -> tuple[int, int]:
        """Return shares of the slabs for training."""
        return held_out_shares(recipe.n_slabs)

    def validator(self, recipe: WeightedRecipe, data: SlabData, base: BaseNetwork | None) -> MapsValidator:
        """Return what compares the maps with the truth."""
        return MapsValidator(slabs=data.validation(recipe), adapter=self.adapter)

    def card_text(self, recipe: WeightedRecipe, data: SlabData) -> CardText:
        """Return the words of its card, and the timings it was trained for."""
        return CardText(
            summary=trained_method(recipe.method).card,
            intended_use=f"{USE}{NOT_A_MEDICAL_DEVICE}",
            limits=f"{LIMITS}{SIMULATED}{NOT_A_MEDICAL_DEVICE}",
            trained_on=_trained_on(recipe, data),
            ranges=trained_range(recipe.slabs.contrasts).to_plain(),
        )

    def estimator(self, network: nn.Module, card: Card, folder: Path | None) -> Estimator[WeightedImageSet]:
        """Return the maps with calibrated intervals."""
        t1, t2, pd = (conformal_from_plain(card.calibration.get(name, {})) for name in NAMES)
        return WeightedMaps(
            network=network,
            adapter=self.adapter,
            weightings=WeightingRange(card.ranges),
            intervals=(t1, t2, pd),
            name=card.name,
        )


def _trained_on(recipe: WeightedRecipe, data: SlabData) -> str:
    slabs = recipe.slabs
    sentences = (
        f"{recipe.n_slabs} simulated slabs of {slabs.size} x {slabs.size} voxels of 1 mm, from "
        f"{describe_heads(data.heads.train)}",
        f"{percent(slabs.shapes)} are shapes of random material instead of heads; in {percent(slabs.far)} "
        "of heads, T1, T2 and PD of all tissues except CSF are far from normal; there are no lesions",
        "Random TR, TE and TI at 1.5 and 3 T, T1w as spin echo, turbo spin echo or MPRAGE, except the "
        "timings held out for the test",
        *_low_angles(slabs),
        f"Slices of 1, 2 or 3 mm{f', {percent(slabs.thick)} of 5 mm' if slabs.thick else ''}",
        f"Rician noise, SNR of the brightest intensity {slabs.snr[0]:g} to {slabs.snr[1]:g}; smooth "
        f"receive sensitivity; one image of three is missing in {percent(slabs.missing)}",
        "Validation and calibration use heads with normal tissue",
        describe_held_out(recipe, data),
    )
    return ". ".join(sentences) + "."


def _low_angles(slabs: WeightedSlabRecipe) -> tuple[str, ...]:
    if not slabs.low_angles:
        return ()
    return (
        f"{percent(slabs.low_angles)} of T2w and of FLAIR are 3D turbo spin echoes with long trains of low "
        "refocusing angles, whose design is random and not an input",
    )


def _presets(name: str, config: Callable[[tuple[int, ...]], Any]) -> Mapping[str, WeightedRecipe]:
    cpu = TrainingPlan(n_steps=CPU_STEPS, batch_size=16, warm_up=500, bfloat16=True)
    gpu = TrainingPlan(n_steps=GPU_STEPS, batch_size=64, warm_up=1000, bfloat16=True, check_every=2000)
    slabs = WeightedSlabRecipe(low_angles=0.3, mprage_inversion_time=0.35, thick=0.2)
    return MappingProxyType(
        {
            "cpu": Recipe(
                method=name,
                preset="cpu",
                slabs=slabs,
                n_slabs=5000,
                patch=64,
                network=config(CPU_WIDTHS),
                plan=cpu,
            ),
            "gpu": Recipe(
                method=name,
                preset="gpu",
                slabs=slabs,
                n_slabs=16_000,
                patch=96,
                network=config(GPU_WIDTHS),
                plan=gpu,
            ),
        }
    )


def _image_set(config: ImageSetConfig, generator: torch.Generator) -> nn.Module:
    return ImageSetUNet(config, generator=generator)


CONDITIONED = WeightedMethod(
    types=RecipeTypes(slabs=WeightedSlabRecipe, network=ImageSetConfig),
    presets=_presets("maps", conditioned_config),
    build=_image_set,
    adapter=Conditioned(),
)
UNCONDITIONED = WeightedMethod(
    types=RecipeTypes(slabs=WeightedSlabRecipe, network=ImageSetConfig),
    presets=_presets("maps-no-embedding", unconditioned_config),
    build=_image_set,
    adapter=Unconditioned(),
)
CHANNELS = WeightedMethod(
    types=RecipeTypes(slabs=WeightedSlabRecipe, network=UNetConfig),
    presets=_presets("maps-unet", channels_config),
    build=lambda config, generator: UNet(config, generator=generator),
    adapter=Channels(),
)
GENERATOR = WeightedMethod(
    types=RecipeTypes(slabs=WeightedSlabRecipe, network=PganConfig),
    presets=_presets("maps-pgan", lambda widths: PganConfig(generator=channels_config(widths))),
    build=lambda config, generator: Pgan(config, generator=generator),
    adapter=Generator(),
)
