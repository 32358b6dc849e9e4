"""The methods that learn from fitted slabs: the posterior network, and draws of its residual.

What they share with the published networks, presets and words for the card, is here too.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, final

import torch
from torch import nn

from unweight.core.acquisition import Acquisition
from unweight.core.errors import InputError, UsageError
from unweight.core.estimator import Estimator
from unweight.learn.t1.features import FEATURES_VERSION
from unweight.learn.t1.posterior import NAME, RESIDUAL_NAME, PosteriorT1
from unweight.learn.t1.posterior_task import (
    NAMES,
    PosteriorTask,
    PosteriorValidator,
    posterior_config,
    yardstick_for,
)
from unweight.learn.t1.protocols import ProtocolRange, range_from_plain
from unweight.learn.t1.residual import ResidualTask, ResidualValidator, residual_config
from unweight.learn.t1.slabs import ANY_INVERSIONS, SlabRecipe, slabs_of
from unweight.learn.training.conformal import conformal_from_plain
from unweight.learn.training.model_card import NOT_A_MEDICAL_DEVICE, Card, CardText
from unweight.learn.training.recipe import NetworkConfig, Recipe, TrainingPlan
from unweight.learn.training.sample_cache import (
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
    trainable,
)
from unweight.nets.time_unet import TimeUNet, TimeUNetConfig
from unweight.nets.unet import UNet, UNetConfig
from unweight.registry import trained_method

PosteriorRecipe = Recipe[SlabRecipe, UNetConfig]
ResidualRecipe = Recipe[SlabRecipe, TimeUNetConfig]
SlabRecipes = Recipe[SlabRecipe, Any]
N_RESIDUAL = (6, 12)  # slabs for validation and for calibration
USE = "Quantitative maps of the brain and of phantoms from magnitude inversion recovery, for research. "
SIMULATED = (
    "Trained on simulated images alone: what the simulation does not know (flow, fat shift, artefacts of "
    "reconstruction, coils that move) it has never seen. "
)
OWN = (
    "Intervals hold on average over voxels like those simulated, not for each voxel. Where neighbours are "
    "unlike, as in a structure of one voxel, the fit is the safer answer. "
)
KEY: Mapping[str, object] = MappingProxyType({"features": FEATURES_VERSION})


class T1Trainable(TrainableMethod[SlabRecipe, NetworkConfig, SlabData], SlabSource):
    """A method that learns from slabs of inversion recovery, of any protocol or of one."""

    @abstractmethod
    def network_for(self, config: NetworkConfig, n_images: int) -> NetworkConfig:
        """Return the configuration of a network that takes so many images."""


@final
@dataclass(frozen=True, kw_only=True)
class PosteriorMethod(T1Trainable[UNetConfig]):
    """A U-Net that corrects the fit of each voxel by its neighbours."""

    types: RecipeTypes
    presets: Mapping[str, PosteriorRecipe]
    cache_key: Mapping[str, object] = field(default_factory=lambda: KEY)
    ungridded: tuple[str, ...] = ()

    def check(self, recipe: PosteriorRecipe) -> None:
        """Return if patches fit into slabs."""
        check_patch(recipe, recipe.slabs.size)

    def network(self, recipe: PosteriorRecipe, generator: torch.Generator) -> UNet:
        """Return a U-Net."""
        return UNet(recipe.network, generator=generator)

    def task(self, network: nn.Module, recipe: PosteriorRecipe, base: BaseNetwork | None) -> Task:
        """Return its likelihood."""
        return PosteriorTask(unet=_unet(network))

    def dataset(
        self, recipe: PosteriorRecipe, anatomies: tuple[Any, ...], *, part: str, length: int
    ) -> Indexed[Sample]:
        """Return fitted slabs."""
        return t1_slabs(recipe, anatomies, part, length, fitted=True)

    def held_out(self, recipe: PosteriorRecipe) -> tuple[int, int]:
        """Return shares of the slabs for training."""
        return held_out_shares(recipe.n_slabs)

    def validator(
        self, recipe: PosteriorRecipe, data: SlabData, base: BaseNetwork | None
    ) -> PosteriorValidator:
        """Return what compares it with the fit and with exact posteriors."""
        return PosteriorValidator(slabs=data.validation(recipe), yardstick=yardstick_for(recipe.slabs))

    def card_text(self, recipe: PosteriorRecipe, data: SlabData) -> CardText:
        """Return the words and ranges of its card."""
        return fitted_card_text(recipe, data)

    def estimator(self, network: nn.Module, card: Card, folder: Path | None) -> Estimator[Acquisition]:
        """Return the posterior with calibrated intervals."""
        t1, pd, b = (conformal_from_plain(card.calibration.get(name, {})) for name in NAMES)
        return PosteriorT1(
            network=_unet(network), protocols=range_from_plain(card.ranges), intervals=(t1, pd, b)
        )

    def network_for(self, config: UNetConfig, n_images: int) -> UNetConfig:
        """Return the same configuration: it takes any number of images."""
        return config


@final
@dataclass(frozen=True, kw_only=True)
class ResidualMethod(T1Trainable[TimeUNetConfig]):
    """Few-step diffusion of the residual of the posterior."""

    types: RecipeTypes
    presets: Mapping[str, ResidualRecipe]
    cache_key: Mapping[str, object] = field(default_factory=lambda: KEY)
    ungridded: tuple[str, ...] = ()

    def check(self, recipe: ResidualRecipe) -> None:
        """Return if patches fit into slabs."""
        check_patch(recipe, recipe.slabs.size)

    def network(self, recipe: ResidualRecipe, generator: torch.Generator) -> TimeUNet:
        """Return a U-Net that is called with a time."""
        return TimeUNet(recipe.network, generator=generator)

    def task(self, network: nn.Module, recipe: ResidualRecipe, base: BaseNetwork | None) -> Task:
        """Return the denoising loss of the residual of `base`."""
        if base is None or not isinstance(network, TimeUNet):
            raise UsageError(f"{recipe.method} needs a trained {NAME}")
        return ResidualTask(unet=network, posterior=base.network)

    def dataset(
        self, recipe: ResidualRecipe, anatomies: tuple[Any, ...], *, part: str, length: int
    ) -> Indexed[Sample]:
        """Return fitted slabs."""
        return t1_slabs(recipe, anatomies, part, length, fitted=True)

    def held_out(self, recipe: ResidualRecipe) -> tuple[int, int]:
        """Return a few slabs: each is drawn many times."""
        return N_RESIDUAL

    def validator(
        self, recipe: ResidualRecipe, data: SlabData, base: BaseNetwork | None
    ) -> ResidualValidator:
        """Return what compares errors of regions with their spread."""
        if base is None:
            raise UsageError(f"{recipe.method} needs a trained {NAME}")
        return ResidualValidator(slabs=data.validation(recipe), posterior=base.network)

    def card_text(self, recipe: ResidualRecipe, data: SlabData) -> CardText:
        """Return the words and ranges of its card."""
        return fitted_card_text(recipe, data)

    def estimator(self, network: nn.Module, card: Card, folder: Path | None) -> Estimator[Acquisition]:
        """Raise an error: it only adds draws to the posterior."""
        raise InputError(f"{card.name} makes no maps by itself", remedy="Use --method posterior --draws N.")

    def network_for(self, config: TimeUNetConfig, n_images: int) -> TimeUNetConfig:
        """Return the same configuration: it takes any number of images."""
        return config


def _unet(network: nn.Module) -> UNet:
    if not isinstance(network, UNet):
        raise InputError(f"the card of {NAME} is of another network")
    return network


def t1_slabs(
    recipe: SlabRecipes, anatomies: tuple[Any, ...], part: str, length: int, *, fitted: bool
) -> Indexed[Sample]:
    """Return the slabs of one part of a training."""
    seed = seed_of_part(recipe, part)
    return slabs_of(recipe.slabs, anatomies, seed=seed, length=length, fitted=fitted)


def for_protocol(
    recipe: Recipe[Any, Any], inversion_times: tuple[float, ...], repetition_time: float, readout: float
) -> Recipe[Any, Any]:
    """Return the recipe for one set of inversion times [s]; the network takes as many images.

    Raises:
        UsageError: It is not of inversion recovery.
    """
    method = _t1_method(recipe)
    slabs = replace(
        recipe.slabs,
        inversion_times=inversion_times,
        repetition_time=repetition_time,
        readout=readout,
    )
    network = method.network_for(recipe.network, len(inversion_times))
    return replace(recipe, slabs=slabs, network=network)


def protocol_of(recipe: Recipe[Any, Any]) -> tuple[tuple[float, ...], float]:
    """Return the inversion times of a recipe, none if it takes any, and its repetition time [s].

    Raises:
        UsageError: It is not of inversion recovery.
    """
    _t1_method(recipe)
    slabs: SlabRecipe = recipe.slabs
    return slabs.inversion_times, slabs.repetition_time


def _t1_method(recipe: Recipe[Any, Any]) -> T1Trainable[Any]:
    method = trainable(recipe.method)
    if not isinstance(method, T1Trainable):
        raise UsageError(
            f"{recipe.method} takes images of any timings", remedy="Leave out inversion times."
        )
    return method


def plan_of(n_steps: int, batch_size: int, **other: Any) -> TrainingPlan:
    """Return a plan whose losses may be computed in bfloat16."""
    return TrainingPlan(n_steps=n_steps, batch_size=batch_size, bfloat16=True, **other)


def t1_card_text(
    recipe: SlabRecipes, data: SlabData, limits: str, ranges: Mapping[str, tuple[float, float]]
) -> CardText:
    """Return what the card of a T1 network says.

    Args:
        recipe: Of the network.
        data: What it was trained on.
        limits: Where it must not be trusted, beside the limits of simulation.
        ranges: What it accepts.
    """
    return CardText(
        summary=trained_method(recipe.method).card,
        intended_use=f"{USE}{NOT_A_MEDICAL_DEVICE}",
        limits=f"{limits}{SIMULATED}{NOT_A_MEDICAL_DEVICE}",
        trained_on=_trained_on(recipe, data),
        ranges=ranges,
    )


def fitted_card_text(recipe: SlabRecipes, data: SlabData) -> CardText:
    """Return what the card of a network says that learns from fitted slabs."""
    return t1_card_text(recipe, data, OWN, _ranges(recipe.slabs).to_plain())


def _ranges(slabs: SlabRecipe) -> ProtocolRange:
    """Return the protocols of the slabs: one, or those of the prior."""
    times, repetition = slabs.inversion_times, (slabs.repetition_time,) * 2
    if times:
        count = float(len(times))
        return ProtocolRange(
            n_inversions=(count, count),
            shortest=(min(times),) * 2,
            longest=(max(times),) * 2,
            repetition_time=repetition,
            snr=slabs.snr,
        )
    fewest, most = ANY_INVERSIONS.n_inversions
    return ProtocolRange(
        n_inversions=(float(fewest), float(most)),
        shortest=ANY_INVERSIONS.shortest,
        longest=ANY_INVERSIONS.longest,
        repetition_time=ANY_INVERSIONS.repetition_time,
        snr=slabs.snr,
    )


def _trained_on(recipe: SlabRecipes, data: SlabData) -> str:
    """Return what the training data were, in words."""
    slabs = recipe.slabs
    sentences = (
        f"{recipe.n_slabs} simulated slabs of {slabs.size} x {slabs.size} voxels of 1 mm, from "
        f"{describe_heads(data.heads.train)}",
        _mixture(slabs),
        f"Tissue: normal in {percent(slabs.tissue)} of subjects, white matter as one exponential; any T1 "
        "anywhere in the others",
        _protocols(slabs),
        f"Rician noise, brightest volume over noise {slabs.snr[0]:g} to {slabs.snr[1]:g}; heads move "
        f"between volumes with a probability of {percent(slabs.moving)}",
        describe_held_out(recipe, data),
    )
    return ". ".join(sentence for sentence in sentences if sentence) + "."


def _mixture(slabs: SlabRecipe) -> str:
    parts = []
    if slabs.shapes:
        parts.append(f"{percent(slabs.shapes)} of the rest are shapes of random material instead of heads")
    if slabs.specks:
        parts.append("half of the heads are strewn with specks of random material")
    if slabs.scattered:
        parts.insert(0, f"{percent(slabs.scattered)} are scattered voxels that know nothing of each other")
    text = "; ".join(parts)
    return text[:1].upper() + text[1:]


def _protocols(slabs: SlabRecipe) -> str:
    late = f"; in two of five slabs told wrong by up to {1e3 * slabs.late:g} ms" if slabs.late else ""
    if slabs.inversion_times:
        times = ", ".join(f"{ti:g}" for ti in slabs.inversion_times)
        return f"Inversion times {times} s, repetition time {slabs.repetition_time:g} s{late}"
    prior = ANY_INVERSIONS
    return (
        f"Protocols: {prior.n_inversions[0]} to {prior.n_inversions[1]} inversion times, the shortest "
        f"{prior.shortest[0]:g} to {prior.shortest[1]:g} s, the longest {prior.longest[0]:g} to "
        f"{prior.longest[1]:g} s, repetition time {prior.repetition_time[0]:g} to "
        f"{prior.repetition_time[1]:g} s; in {percent(slabs.published)} the seven inversions of Wang et "
        f"al. (arXiv 2407.16477){late}"
    )


POSTERIOR = PosteriorMethod(
    types=RecipeTypes(slabs=SlabRecipe, network=UNetConfig),
    presets=MappingProxyType(
        {
            "cpu": Recipe(
                method=NAME,
                preset="cpu",
                slabs=SlabRecipe(),
                n_slabs=1600,
                patch=64,
                network=posterior_config((32, 64, 96, 128)),
                plan=plan_of(7000, 16, warm_up=500),
            ),
            "gpu": Recipe(
                method=NAME,
                preset="gpu",
                slabs=SlabRecipe(),
                n_slabs=6000,
                patch=96,
                network=posterior_config((48, 64, 96, 128)),
                plan=plan_of(20_000, 64),
            ),
        }
    ),
)
RESIDUAL = ResidualMethod(
    types=RecipeTypes(slabs=SlabRecipe, network=TimeUNetConfig),
    presets=MappingProxyType(
        {
            "cpu": Recipe(
                method=RESIDUAL_NAME,
                preset="cpu",
                slabs=SlabRecipe(),
                n_slabs=400,
                patch=64,
                network=residual_config((32, 64, 96)),
                plan=plan_of(3000, 16, check_every=1500),
            ),
            "gpu": Recipe(
                method=RESIDUAL_NAME,
                preset="gpu",
                slabs=SlabRecipe(),
                n_slabs=6000,
                patch=96,
                network=residual_config((48, 64, 96, 128)),
                plan=plan_of(20_000, 64),
            ),
        }
    ),
)
