"""From a recipe to what is trained on pairs, and from weights and their card to what makes T1w images."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from torch import nn

from unweight.core.errors import InputError, UsageError
from unweight.core.seeding import seeded_generator
from unweight.learn.mprage.planar_denoiser import Planes
from unweight.learn.mprage.synthesis import Diffusion, Regression, Residual, Synthesiser
from unweight.learn.mprage.tasks import EchoDiffusionTask, EchoGanTask, EchoRegressionTask, EchoResidualTask
from unweight.learn.segmentation.task import StructureTask
from unweight.learn.training.model_card import Card
from unweight.learn.training.recipe import (
    STRUCTURES,
    T1W,
    T1W_FAST,
    T1W_GAN,
    T1W_UNET,
    Recipe,
    recipe_from_plain,
)
from unweight.learn.training.task import Task
from unweight.learn.training.weights import fill, load_weights
from unweight.nets.pgan import Pgan, PganConfig
from unweight.nets.time_unet import TimeUNet, TimeUNetConfig
from unweight.nets.unet import UNet, UNetConfig

N_DRAWS = 4  # of a Fast-DDPM: enough for a standard deviation


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class T1wBase:
    """The regression whose residual is learned.

    Attributes:
        network: In `eval` mode.
        sha256: Of its weights.
    """

    network: UNet
    sha256: str


def t1w_task(recipe: Recipe, base: T1wBase | None = None) -> Task:
    """Return the task of a recipe, with the starting weights its seed gives.

    Args:
        recipe: What is trained.
        base: The regression, for `mprage`.

    Raises:
        UsageError: The recipe needs it, and it is not given, or nothing is trained so.
    """
    generator = seeded_generator(recipe.seed, "weights", recipe.method)
    network = recipe.network
    if recipe.method == T1W_GAN and isinstance(network, PganConfig):
        return EchoGanTask(pgan=Pgan(network, generator=generator))
    if recipe.method == STRUCTURES and isinstance(network, UNetConfig):
        return StructureTask(unet=UNet(network, generator=generator))
    if recipe.method == T1W_UNET and isinstance(network, UNetConfig):
        return EchoRegressionTask(unet=UNet(network, generator=generator))
    if not isinstance(network, TimeUNetConfig) or recipe.method not in (T1W, T1W_FAST):
        raise UsageError(f"nothing trains {recipe.method} on pairs of images")
    unet = TimeUNet(network, generator=generator)
    if recipe.descent is not None:
        return EchoDiffusionTask(
            unet=unet, ladder=recipe.descent.levels(), prediction=recipe.descent.prediction
        )
    if base is None:
        raise UsageError(
            "what a regression leaves cannot be learned without it",
            remedy=f"Train {T1W_UNET} first, and give its folder with --base.",
        )
    return EchoResidualTask(unet=unet, base=base.network)


def synthesiser_of(
    recipe: Recipe,
    network: nn.Module,
    calibration: Mapping[str, Any],
    *,
    base: T1wBase | None = None,
    planes: Planes | None = None,
    n_draws: int | None = None,
    seed: int = 0,
) -> Synthesiser:
    """Return what a trained network becomes.

    Args:
        recipe: Of the network.
        network: Trained.
        calibration: As the card keeps it.
        base: The regression, for `mprage`.
        planes: None for those of each kind.
        n_draws: None for the number of each kind.
        seed: Of the draws.

    Raises:
        UsageError: Nothing is made with it.
    """
    spread = float(calibration.get("spread", 1.0))
    if isinstance(network, Pgan):
        return Regression(network=network.generator, n_outputs=1, planes=planes or Planes.THREE)
    if isinstance(network, UNet) and recipe.method == T1W_UNET:
        return Regression(network=network, spread=spread, planes=planes or Planes.THREE)
    if isinstance(network, TimeUNet) and recipe.descent is not None:
        return Diffusion(
            network=network,
            ladder=recipe.descent.levels(),
            prediction=recipe.descent.prediction,
            n_draws=N_DRAWS if n_draws is None else n_draws,
            planes=planes or Planes.ALTERNATE,
            seed=seed,
            spread=spread,
        )
    if not isinstance(network, TimeUNet) or base is None:
        raise UsageError(f"{recipe.method} makes no T1w images")
    return Residual(
        base=base.network,
        network=network,
        n_draws=n_draws or 0,
        planes=planes or Planes.ALTERNATE,
        seed=seed,
        spread=spread,
    )


def load_network(name: str, folder: Path | None = None) -> tuple[nn.Module, Recipe, Card]:
    """Return a network of pairs, ready to use, with its recipe and card.

    Raises:
        InputError: The weights are absent, damaged, or of another network.
    """
    tensors, card = load_weights(name, folder)
    recipe = recipe_from_plain(card.recipe)
    if recipe.method != name:
        raise InputError(f"the card of {name} is about {recipe.method}")
    if name == T1W and isinstance(recipe.network, TimeUNetConfig):
        network: nn.Module = TimeUNet(recipe.network, generator=seeded_generator(0, "weights"))
    else:
        network = t1w_task(recipe).network
    fill(network, tensors)
    return network.eval(), recipe, card


def load_base(folder: Path | None = None) -> T1wBase:
    """Return the regression whose residual `mprage` knows.

    Raises:
        InputError: The weights are absent, damaged, or of another network.
    """
    network, _, card = load_network(T1W_UNET, folder)
    if not isinstance(network, UNet):
        raise InputError(f"the card of {T1W_UNET} is of another network")
    return T1wBase(network=network, sha256=card.sha256)


def load_synthesiser(
    name: str,
    folder: Path | None = None,
    *,
    device: torch.device | None = None,
    planes: Planes | None = None,
    n_draws: int | None = None,
    seed: int = 0,
) -> tuple[Synthesiser, Card]:
    """Return what makes T1w images, by the name of its weights, and their card.

    Raises:
        InputError: The weights are absent, damaged, or do not belong together.
        UsageError: The method makes no T1w images.
    """
    network, recipe, card = load_network(name, folder)
    base = load_base(folder) if name == T1W else None
    if base is not None and card.calibration.get("base") != base.sha256:
        raise InputError(
            f"the weights of {T1W} belong to another {T1W_UNET}",
            remedy=f"Train them for this one: unweight train {T1W} --base DIR.",
        )
    if device is not None:
        network = network.to(device)
        base = None if base is None else T1wBase(network=base.network.to(device), sha256=base.sha256)
    made = synthesiser_of(
        recipe, network, card.calibration, base=base, planes=planes, n_draws=n_draws, seed=seed
    )
    return made, card
