"""The methods that learn T1 from slabs of inversion recovery: what they share, and those that use fits.

The posterior network corrects the fit of each voxel by its neighbours; few-step diffusion of its residual
draws maps. The published networks are in `learn.t1.published`.
"""

from collections.abc import Callable, Mapping
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
    FEATURES,
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
from unweight.learn.training.recipe import Recipe, TrainingPlan
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
    Validator,
    trainable,
)
from unweight.nets.time_unet import TimeUNet, TimeUNetConfig
from unweight.nets.unet import UNet, UNetConfig
from unweight.registry import trained_method

T1Recipe = Recipe[SlabRecipe, Any]
PAPER_SIZE = 240  # voxels along each side of a published slice
N_RESIDUAL = (6, 12)  # slabs for validation and for calibration
USE = "Quantitative maps of the brain and of phantoms from magnitude inversion recovery, for research. "
SIMULATED = (
    "Trained on simulated images only; flow, chemical shift, reconstruction artefacts and moving coils are "
    "not simulated. "
)
OWN = (
    "Intervals have their nominal coverage on average over voxels like those simulated, not in each voxel. "
    "Where neighbouring tissues differ, as around one-voxel structures, the maximum-likelihood fit is more "
    "reliable. "
)
# As fits of real scans have it: any efficiency, high SNR, filtered noise, errors between volumes. No preset
# trains on them yet: 2500 steps from the shipped weights were no better on held-out heads.
SCANNERS = SlabRecipe(snr=(15.0, 1000.0), constant=0.1, measured=True, filtered=0.4, unstable=0.45)
UNNOTED_FEATURES = 2  # of cards that do not note the version
KEY: Mapping[str, object] = MappingProxyType({"features": FEATURES_VERSION})


@final
@dataclass(frozen=True, kw_only=True)
class T1Trainable(TrainableMethod[SlabRecipe, Any, SlabData], SlabSource):
    """A network that learns from slabs of inversion recovery, of any protocol or of one.

    Attributes:
        types: The configurations of its recipes.
        presets: Its recipes.
        build: Returns the network of a configuration.
        build_task: Returns the loss of a network.
        build_validator: Returns what scores it.
        build_estimator: Returns what weights become.
        limits: Where it must not be trusted, for the card.
        fitted: Whether it learns from fits of the slabs, so from any protocol; else from images of one.
        n_held_out: Slabs for validation and calibration; None for shares of those for training.
        n_other: Channels of the network beside the images; None if the number of images does not matter.
        cache_key: What else than the recipe decides the slabs.
        ungridded: None of the tensors of a slab.
    """

    types: RecipeTypes
    presets: Mapping[str, T1Recipe]
    build: Callable[[Any, torch.Generator], nn.Module]
    build_task: Callable[[Any, T1Recipe, BaseNetwork | None], Task]
    build_validator: Callable[[T1Recipe, SlabData, BaseNetwork | None], Validator]
    build_estimator: Callable[[Any, Card], Estimator[Acquisition]]
    limits: str
    fitted: bool = False
    n_held_out: tuple[int, int] | None = None
    n_other: int | None = None
    cache_key: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    ungridded: tuple[str, ...] = ()

    def check(self, recipe: T1Recipe) -> None:
        """Return if there is one protocol where one is needed, and patches fit into slabs."""
        if not self.fitted and not recipe.slabs.inversion_times:
            raise UsageError(
                f"{recipe.method} is trained for one set of inversion times", remedy="Give --ti."
            )
        check_patch(recipe, recipe.slabs.size)

    def network(self, recipe: T1Recipe, generator: torch.Generator) -> nn.Module:
        """Return the network."""
        return self.build(recipe.network, generator)

    def network_for(self, config: Any, n_images: int) -> Any:
        """Return the configuration of a network that takes so many images."""
        return config if self.n_other is None else replace(config, in_channels=self.n_other + n_images)

    def task(self, network: nn.Module, recipe: T1Recipe, base: BaseNetwork | None) -> Task:
        """Return its loss."""
        return self.build_task(network, recipe, base)

    def dataset(
        self, recipe: T1Recipe, anatomies: tuple[Any, ...], *, part: str, length: int
    ) -> Indexed[Sample]:
        """Return fitted slabs, or slabs of images and true maps."""
        seed = seed_of_part(recipe, part)
        return slabs_of(recipe.slabs, anatomies, seed=seed, length=length, fitted=self.fitted)

    def held_out(self, recipe: T1Recipe) -> tuple[int, int]:
        """Return a fixed number of slabs, or shares of those for training."""
        return self.n_held_out or held_out_shares(recipe.n_slabs)

    def validator(self, recipe: T1Recipe, data: SlabData, base: BaseNetwork | None) -> Validator:
        """Return what scores it."""
        return self.build_validator(recipe, data, base)

    def card_text(self, recipe: T1Recipe, data: SlabData) -> CardText:
        """Return the words of its card, and the protocols or the one TR it was trained for."""
        one_tr = {"repetition_time": (recipe.slabs.repetition_time,) * 2}
        return CardText(
            summary=trained_method(recipe.method).card,
            intended_use=f"{USE}{NOT_A_MEDICAL_DEVICE}",
            limits=f"{self.limits}{SIMULATED}{NOT_A_MEDICAL_DEVICE}",
            trained_on=_trained_on(recipe, data),
            ranges=_ranges(recipe.slabs).to_plain() if self.fitted else one_tr,
        )

    def estimator(self, network: nn.Module, card: Card, folder: Path | None) -> Estimator[Acquisition]:
        """Return what weights become."""
        return self.build_estimator(network, card)


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


def _t1_method(recipe: Recipe[Any, Any]) -> T1Trainable:
    method = trainable(recipe.method)
    if not isinstance(method, T1Trainable):
        raise UsageError(f"{recipe.method} accepts any timings", remedy="Omit the inversion times (--ti).")
    return method


def plan_of(n_steps: int, batch_size: int, **other: Any) -> TrainingPlan:
    """Return a plan whose losses may be computed in bfloat16."""
    return TrainingPlan(n_steps=n_steps, batch_size=batch_size, bfloat16=True, **other)


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


def _trained_on(recipe: T1Recipe, data: SlabData) -> str:
    """Return what the training data were, in words."""
    slabs = recipe.slabs
    sentences = (
        f"{recipe.n_slabs} simulated slabs of {slabs.size} x {slabs.size} voxels of 1 mm, from "
        f"{describe_heads(data.heads.train)}",
        _mixture(slabs),
        f"Tissue: normal in {percent(slabs.tissue)} of subjects, with mono-exponential white matter; "
        "arbitrary T1 in the others",
        _protocols(slabs),
        f"Rician noise, SNR of the brightest volume {slabs.snr[0]:g} to {slabs.snr[1]:g}; motion between "
        f"volumes with a probability of {percent(slabs.moving)}",
        _scanner(slabs),
        describe_held_out(recipe, data),
    )
    return ". ".join(sentence for sentence in sentences if sentence) + "."


def _scanner(slabs: SlabRecipe) -> str:
    """Return how the measurements differ from those of an ideal scanner, in words."""
    parts = []
    if slabs.measured:
        parts.append(
            f"inversion efficiencies from {slabs.efficiency.limits[0]:g} to "
            f"{slabs.efficiency.limits[1]:g}, as in fits of real scans, in part following B1+"
        )
    if slabs.filtered:
        parts.append(f"k-space filtered or zero-filled in {percent(slabs.filtered)} of slabs")
    if (errors := slabs.measurement.instability) is not None:
        gain, added = (f"{percent(ends[0])} to {percent(ends[1])}" for ends in (errors.gain, errors.added))
        parts.append(
            f"errors between volumes, of gain ({gain}) or added ({added} of the signal), smooth over "
            f"{errors.length[0]:g} to {errors.length[1]:g} voxels in {percent(errors.probability)} of slabs"
        )
    text = "; ".join(parts)
    return text[:1].upper() + text[1:]


def _mixture(slabs: SlabRecipe) -> str:
    parts = []
    if slabs.shapes:
        parts.append(f"{percent(slabs.shapes)} of the others are random shapes of random material")
    if slabs.specks:
        parts.append("half of the heads contain small inclusions of random material")
    if slabs.scattered:
        parts.insert(0, f"{percent(slabs.scattered)} are spatially independent voxels")
    text = "; ".join(parts)
    return text[:1].upper() + text[1:]


def _protocols(slabs: SlabRecipe) -> str:
    late = (
        f"; in 40 % of slabs with errors of the nominal times of up to {1e3 * slabs.late:g} ms"
        if slabs.late
        else ""
    )
    if slabs.inversion_times:
        times = ", ".join(f"{ti:g}" for ti in slabs.inversion_times)
        return f"Inversion times {times} s, repetition time {slabs.repetition_time:g} s{late}"
    prior = ANY_INVERSIONS
    return (
        f"Protocols: {prior.n_inversions[0]} to {prior.n_inversions[1]} inversion times, the shortest "
        f"{prior.shortest[0]:g} to {prior.shortest[1]:g} s, the longest {prior.longest[0]:g} to "
        f"{prior.longest[1]:g} s, repetition time {prior.repetition_time[0]:g} to "
        f"{prior.repetition_time[1]:g} s; in {percent(slabs.published)} the seven inversion times of Wang "
        f"et al. (arXiv 2407.16477){late}"
    )


def t1_presets(
    name: str, slabs: SlabRecipe, **recipes: tuple[int, int, Any, TrainingPlan]
) -> Mapping[str, T1Recipe]:
    """Return recipes by preset.

    Args:
        name: Of the method.
        slabs: Of all recipes; those of `paper` are whole slices.
        recipes: Number of slabs, patch, network and plan of each preset.
    """
    return MappingProxyType(
        {
            preset: Recipe(
                method=name,
                preset=preset,
                slabs=replace(slabs, size=PAPER_SIZE) if preset == "paper" else slabs,
                n_slabs=n_slabs,
                patch=patch,
                network=network,
                plan=plan,
            )
            for preset, (n_slabs, patch, network, plan) in recipes.items()
        }
    )


def _posterior(network: UNet, card: Card) -> Estimator[Acquisition]:
    """Return the posterior with calibrated intervals.

    Raises:
        InputError: The weights were trained on other features than are computed here.
    """
    version = card.calibration.get(FEATURES, UNNOTED_FEATURES)
    if version != FEATURES_VERSION:
        raise InputError(
            f"the weights of {card.name} were trained on version {version} of the features, and this "
            f"program computes version {FEATURES_VERSION}",
            remedy="Train them again, or use the version of the program that they were trained with.",
        )
    t1, pd, b = (conformal_from_plain(card.calibration.get(name, {})) for name in NAMES)
    return PosteriorT1(network=network, protocols=range_from_plain(card.ranges), intervals=(t1, pd, b))


def _no_maps(network: TimeUNet, card: Card) -> Estimator[Acquisition]:
    """Raise an error: a residual only adds draws to the posterior."""
    raise InputError(
        f"{card.name} does not compute maps by itself", remedy="Use --method posterior --draws N."
    )


def _base(base: BaseNetwork | None) -> UNet:
    if base is None:
        raise UsageError(
            f"{RESIDUAL_NAME} requires the weights of {NAME}",
            remedy="Give their folder with --base of `unweight train`.",
        )
    return base.network


POSTERIOR = T1Trainable(
    types=RecipeTypes(slabs=SlabRecipe, network=UNetConfig),
    build=lambda config, generator: UNet(config, generator=generator),
    build_task=lambda network, recipe, base: PosteriorTask(unet=network),
    build_validator=lambda recipe, data, base: PosteriorValidator(
        slabs=data.validation(recipe), yardstick=yardstick_for(recipe.slabs)
    ),
    build_estimator=_posterior,
    limits=OWN,
    fitted=True,
    cache_key=KEY,
    presets=t1_presets(
        NAME,
        SlabRecipe(),
        cpu=(1600, 64, posterior_config((32, 64, 96, 128)), plan_of(7000, 16, warm_up=500)),
        gpu=(6000, 96, posterior_config((48, 64, 96, 128)), plan_of(20_000, 64)),
    ),
)
RESIDUAL = T1Trainable(
    types=RecipeTypes(slabs=SlabRecipe, network=TimeUNetConfig),
    build=lambda config, generator: TimeUNet(config, generator=generator),
    build_task=lambda network, recipe, base: ResidualTask(unet=network, posterior=_base(base)),
    build_validator=lambda recipe, data, base: ResidualValidator(
        slabs=data.validation(recipe), posterior=_base(base)
    ),
    build_estimator=_no_maps,
    limits=OWN,
    fitted=True,
    n_held_out=N_RESIDUAL,
    cache_key=KEY,
    presets=t1_presets(
        RESIDUAL_NAME,
        SlabRecipe(),
        cpu=(400, 64, residual_config((32, 64, 96)), plan_of(3000, 16, check_every=1500)),
        gpu=(6000, 96, residual_config((48, 64, 96, 128)), plan_of(20_000, 64)),
    ),
)
