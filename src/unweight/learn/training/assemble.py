"""From a recipe to what is trained, and from weights and their card to an estimator."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from unweight.core.acquisition import Acquisition
from unweight.core.errors import InputError, UsageError
from unweight.core.estimator import Estimator
from unweight.core.seeding import seeded_generator
from unweight.learn.t1.diffusor import DiffusorTask
from unweight.learn.t1.image_validator import image_estimator
from unweight.learn.t1.posterior import PosteriorT1
from unweight.learn.t1.posterior_task import PosteriorTask
from unweight.learn.t1.protocol_range import range_from_plain
from unweight.learn.t1.recurrent import RecurrentTask
from unweight.learn.t1.regression import RegressionTask
from unweight.learn.t1.residual import ResidualDraws, ResidualTask
from unweight.learn.training.conformal import Conformal, conformal_from_plain
from unweight.learn.training.model_card import Card
from unweight.learn.training.recipe import (
    FROM_WEIGHTED,
    POSTERIOR,
    RESIDUAL,
    Network,
    Recipe,
    recipe_from_plain,
)
from unweight.learn.training.task import Task
from unweight.learn.training.weights import fill, load_weights
from unweight.learn.weighted.estimator import WeightedMaps
from unweight.learn.weighted.pgan_task import PganTask
from unweight.learn.weighted.protocol_range import WeightingRange
from unweight.learn.weighted.task import MapsTask, view_of
from unweight.learn.weighted.validator import NAMES as MAP_NAMES
from unweight.nets.image_set import ImageSetConfig, ImageSetUNet
from unweight.nets.pgan import Pgan, PganConfig
from unweight.nets.recurrent import RecurrentConfig, RecurrentInference
from unweight.nets.resnet import ResNet, ResNetConfig
from unweight.nets.time_unet import TimeUNet, TimeUNetConfig
from unweight.nets.unet import UNet, UNetConfig


def task_of(recipe: Recipe, posterior: UNet | None = None) -> Task:
    """Return the task of a recipe, with the starting weights its seed gives.

    Args:
        recipe: What is trained.
        posterior: The one-pass network, whose residual a recipe may be about.

    Raises:
        UsageError: The recipe needs it, and it is not given.
    """
    generator = seeded_generator(recipe.seed, "weights", recipe.method)
    network = recipe.network
    if recipe.method in FROM_WEIGHTED:
        return _maps_task(network, generator)
    times = recipe.series.inversion_times
    if isinstance(network, ResNetConfig):
        return RegressionTask(resnet=ResNet(network, generator=generator))
    if isinstance(network, RecurrentConfig):
        return RecurrentTask(machine=RecurrentInference(network, generator=generator), inversion_time=times)
    if isinstance(network, TimeUNetConfig) and recipe.method == RESIDUAL:
        if posterior is None:
            raise UsageError(
                "what a posterior leaves cannot be learned without it",
                remedy="Train t1-posterior first, and give its folder with --base.",
            )
        return ResidualTask(unet=TimeUNet(network, generator=generator), posterior=posterior)
    if isinstance(network, TimeUNetConfig):
        return DiffusorTask(unet=TimeUNet(network, generator=generator))
    if not isinstance(network, UNetConfig):
        raise UsageError(f"nothing trains a {type(network).__name__}")
    return PosteriorTask(unet=UNet(network, generator=generator))


def _maps_task(network: Network, generator: torch.Generator) -> Task:
    if isinstance(network, PganConfig):
        return PganTask(pgan=Pgan(network, generator=generator))
    if isinstance(network, ImageSetConfig):
        images = ImageSetUNet(network, generator=generator)
        return MapsTask(maps=images, view=view_of(images))
    if not isinstance(network, UNetConfig):
        raise UsageError(f"no {type(network).__name__} makes maps of weighted images")
    plain = UNet(network, generator=generator)
    return MapsTask(maps=plain, view=view_of(plain))


def load_estimator(name: str, folder: Path | None = None) -> tuple[Estimator[Acquisition], Card]:
    """Return the estimator whose weights have this name, and their card.

    Args:
        name: `t1-posterior` …
        folder: Where the weights lie; None for those that come with the package.

    Raises:
        InputError: The weights are absent, damaged, or of another version of the program.
    """
    tensors, card = load_weights(name, folder)
    return estimator_of(card, tensors), card


def load_posterior_network(folder: Path | None = None) -> tuple[UNet, Card]:
    """Return the one-pass network, ready to use, and its card.

    Raises:
        InputError: The weights are absent, damaged, or of another network.
    """
    tensors, card = load_weights(POSTERIOR, folder)
    network = task_of(recipe_from_plain(card.recipe)).network
    fill(network, tensors)
    if not isinstance(network, UNet):
        raise InputError(f"the card of {POSTERIOR} is of another network")
    return network.eval(), card


def with_draws(estimator: PosteriorT1, n_draws: int, folder: Path | None = None) -> PosteriorT1:
    """Return the posterior with so many maps drawn beside its intervals.

    Raises:
        InputError: There are no weights for draws, or they belong to another posterior.
    """
    tensors, card = load_weights(RESIDUAL, folder)
    _, base = load_weights(POSTERIOR, folder)
    if card.calibration.get("base") != base.sha256:
        raise InputError(
            "the weights for draws belong to another posterior",
            remedy=f"Train them for this one: unweight train {RESIDUAL} --base DIR.",
        )
    recipe = recipe_from_plain(card.recipe)
    if not isinstance(recipe.network, TimeUNetConfig):
        raise InputError(f"the card of {RESIDUAL} is of another network")
    network = TimeUNet(recipe.network, generator=seeded_generator(0, "draws"))
    fill(network, tensors)
    draws = ResidualDraws(
        network=network.eval(),
        n_draws=n_draws,
        n_steps=int(card.calibration["n_steps"]),
        spread=float(card.calibration["spread"]),
    )
    return replace(estimator, draws=draws)


def estimator_of(card: Card, tensors: Mapping[str, Tensor]) -> Estimator[Acquisition]:
    """Build the estimator that a card describes.

    Raises:
        InputError: The card and the weights do not make one.
    """
    recipe = recipe_from_plain(card.recipe)
    if recipe.method in FROM_WEIGHTED:
        raise InputError(
            f"{recipe.method} maps weighted images, not inversion recovery", remedy="Use `unweight maps`."
        )
    if recipe.method == RESIDUAL:
        raise InputError(f"{RESIDUAL} makes no maps by itself", remedy="Use --method posterior --draws N.")
    network = task_of(recipe).network
    fill(network, tensors)
    network.eval()
    if isinstance(network, UNet):
        intervals = tuple(
            conformal_from_plain(card.calibration.get(name, {})) for name in ("T1", "PD", "B")
        )
        return PosteriorT1(
            network=network, protocols=range_from_plain(card.ranges), intervals=_three(intervals)
        )
    given = dict(card.calibration)
    if isinstance(network, TimeUNet):
        given = {"n_draws": given.get("n_draws") or 10, "n_steps": given.get("n_steps") or 1000}
    else:
        found = given.get("relative_sd")
        if not isinstance(found, list | tuple) or len(found) != 3:
            raise InputError(f"the card of {card.name} holds no relative_sd of three maps")
    return image_estimator(network, recipe, given, card.ranges.get("repetition_time"))


def load_weighted_maps(name: str, folder: Path | None = None) -> tuple[WeightedMaps, Card]:
    """Return what makes T1, T2 and PD maps of weighted images, and the card of its weights.

    Args:
        name: `maps`, `maps-unet` …
        folder: Where the weights lie; None for those that come with the package.

    Raises:
        InputError: The weights are absent, damaged, or for something else.
    """
    tensors, card = load_weights(name, folder)
    recipe = recipe_from_plain(card.recipe)
    if recipe.method not in FROM_WEIGHTED:
        raise InputError(f"{name} does not map weighted images", remedy="Use `unweight t1`.")
    network = task_of(recipe).network
    fill(network, tensors)
    network.eval()
    intervals = tuple(conformal_from_plain(card.calibration.get(one, {})) for one in MAP_NAMES)
    return (
        WeightedMaps(
            network=network,
            view=view_of(network),
            weightings=WeightingRange(card.ranges),
            intervals=_three(intervals),
            name=name,
        ),
        card,
    )


def _three(found: tuple[Conformal, ...]) -> tuple[Conformal, Conformal, Conformal]:
    one, two, three = found
    return one, two, three
