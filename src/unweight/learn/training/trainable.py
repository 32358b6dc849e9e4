"""What can be trained, as contracts: a task, its validator, and the method they belong to.

A method is one network with all that a training of it needs. It lives in the package of its family, and the
record in `unweight.registry` says where: nothing here knows any method or family.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unweight.core.errors import InputError, UsageError
from unweight.core.estimator import Estimator
from unweight.core.seeding import seeded_generator
from unweight.learn.training.model_card import Card, CardText
from unweight.learn.training.recipe import (
    NetworkConfig,
    Recipe,
    SampleConfig,
    TrainingPlan,
    config_from_plain,
)
from unweight.learn.training.weights import fill, load_weights
from unweight.nets.unet import UNet
from unweight.registry import load, trained_method

Batch = Mapping[str, Tensor]
Batches = Callable[[torch.Generator], Batch]
"""Draws a batch; all its randomness comes from the generator, so that a batch can be drawn again."""
Samples = Mapping[str, Tensor]
Calibration = Mapping[str, Any]


class Task(ABC):
    """What a training step needs. Stateless but for the parameters of its network."""

    @property
    @abstractmethod
    def network(self) -> nn.Module:
        """The network whose parameters are trained."""

    @abstractmethod
    def loss(self, network: nn.Module, batch: Batch, generator: torch.Generator) -> Float[Tensor, ""]:
        """Return the loss of a batch, differentiable.

        Args:
            network: The network, or what wraps it for several devices; call this one.
            batch: What `Batches` gave, on the device of the network.
            generator: For noise that the loss draws; on the CPU.
        """


@final
@dataclass(frozen=True, kw_only=True)
class Assessment:
    """What validation finds of a trained network.

    Attributes:
        calibration: What makes its error bars hold, as the card keeps it.
        metrics: Scores on held-out samples; all are finite.
    """

    calibration: Calibration
    metrics: Mapping[str, float]


class Validator(ABC):
    """Scores a network on samples it is not trained on, while and after it is trained."""

    @abstractmethod
    def check(self, network: nn.Module) -> dict[str, float]:
        """Return scores of a network in training: `rmse_ln_t1`, `psnr`, `coverage_90` …."""

    @abstractmethod
    def assess(self, network: nn.Module, calibration: Samples | None) -> Assessment:
        """Calibrate and score a trained network.

        Args:
            network: Trained, in `eval` mode.
            calibration: Samples to calibrate on; None where those of the validation serve.
        """


class TrainingData(ABC):
    """What a training draws from, and what it is scored on; made when it is asked for."""

    @abstractmethod
    def batches(self, recipe: Recipe[Any, Any]) -> Batches:
        """Return what batches are drawn with, of the share of this process."""

    @abstractmethod
    def trial(self, recipe: Recipe[Any, Any]) -> Batches:
        """Return what batches of a few samples are drawn with, to time a step."""

    @abstractmethod
    def calibration(self, recipe: Recipe[Any, Any]) -> Samples | None:
        """Return samples to calibrate on; None where there are none beside those of the validation."""

    @abstractmethod
    def discard(self) -> None:
        """Remove what was kept for this training alone, once it is complete."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class BaseNetwork:
    """A trained network whose residual another one learns.

    Attributes:
        network: In `eval` mode.
        sha256: Of its weights.
    """

    network: UNet
    sha256: str


@final
@dataclass(frozen=True, kw_only=True)
class RecipeTypes:
    """The configurations that the recipes of a method hold.

    Attributes:
        slabs: Of the samples.
        network: Of the network.
        schedule: Of the noise schedule; None for methods without one.
        unnoted_schedule: What older cards, which hold none, were trained with.
    """

    slabs: type[Any]
    network: type[Any]
    schedule: type[Any] | None = None
    unnoted_schedule: Any = None


Data = TypeVar("Data", bound=TrainingData)


class TrainableMethod(ABC, Generic[SampleConfig, NetworkConfig, Data]):
    """A network that can be trained, with its data, loss, validation, presets, card and estimator.

    Attributes:
        types: The configurations of its recipes.
        presets: The recipes to begin with: `cpu` is what two cores train within an hour; `gpu` the same
            with more of everything; `paper` the published configuration, where there is one.
    """

    types: RecipeTypes
    presets: Mapping[str, Recipe[SampleConfig, NetworkConfig]]

    @abstractmethod
    def check(self, recipe: Recipe[SampleConfig, NetworkConfig]) -> None:
        """Return if a recipe with the right types can be followed.

        Raises:
            UsageError: It cannot.
        """

    @abstractmethod
    def network(self, recipe: Recipe[SampleConfig, NetworkConfig], generator: torch.Generator) -> nn.Module:
        """Return the network of a recipe, with starting weights drawn from the generator."""

    @abstractmethod
    def task(
        self, network: nn.Module, recipe: Recipe[SampleConfig, NetworkConfig], base: BaseNetwork | None
    ) -> Task:
        """Return the loss of a network.

        Args:
            network: What `network` returned.
            recipe: Of the network.
            base: Given where the record of the method names one.
        """

    @abstractmethod
    def validator(
        self, recipe: Recipe[SampleConfig, NetworkConfig], data: Data, base: BaseNetwork | None
    ) -> Validator:
        """Return what scores the network of a recipe."""

    @abstractmethod
    def card_text(self, recipe: Recipe[SampleConfig, NetworkConfig], data: Data) -> CardText:
        """Return the texts of the card of weights trained on these data."""

    @abstractmethod
    def estimator(self, network: nn.Module, card: Card, folder: Path | None) -> Estimator[Any]:
        """Return the estimator that trained weights become.

        Args:
            network: Of the recipe in the card, filled with the weights, in `eval` mode.
            card: Of the weights.
            folder: Where other weights lie that it needs; None for those that come with the package.

        Raises:
            InputError: The card does not hold what it needs, or it does not compute maps by itself.
        """


AnyMethod = TrainableMethod[Any, Any, Any]


def trainable(name: str) -> AnyMethod:
    """Return a method by the name of its weights.

    Raises:
        UsageError: Nothing is trained under this name.
    """
    record = trained_method(name)
    if not record.trainable:
        raise UsageError(f"{name} cannot be trained here")
    method: AnyMethod = load(record.trainable)
    return method


def recipe_for(name: str, preset: str) -> Recipe[Any, Any]:
    """Return a preset of a method.

    Raises:
        UsageError: There is none of this name.
    """
    presets = trainable(name).presets
    if preset not in presets:
        raise UsageError(f"{name} has no preset called {preset}", remedy=f"There are {', '.join(presets)}.")
    return presets[preset]


def check_recipe(recipe: Recipe[Any, Any]) -> None:
    """Return if a recipe can be followed.

    Raises:
        UsageError: Its method is unknown, or its parts do not belong to the method.
    """
    method = trainable(recipe.method)
    types = method.types
    if not isinstance(recipe.network, types.network):
        raise UsageError(f"{recipe.method} is trained with a {types.network.__name__}")
    if not isinstance(recipe.slabs, types.slabs):
        raise UsageError(f"{recipe.method} is not trained on slabs of a {type(recipe.slabs).__name__}")
    if not isinstance(recipe.schedule, types.schedule or type(None)):
        wanted = "no noise schedule" if types.schedule is None else f"a {types.schedule.__name__}"
        raise UsageError(f"{recipe.method} is trained with {wanted}")
    method.check(recipe)


def recipe_from_plain(values: Mapping[str, Any]) -> Recipe[Any, Any]:
    """Return the recipe that `Recipe.to_plain` gave.

    Raises:
        InputError: These are not the values of a recipe.
    """
    try:
        types = trainable(str(values["method"])).types
        parts = {"slabs": types.slabs, "network": types.network, "plan": TrainingPlan}
        built = {name: config_from_plain(kind, dict(values[name])) for name, kind in parts.items()}
        rest = {name: value for name, value in values.items() if name != "descent"}
        if "descent" in values:
            built["schedule"] = config_from_plain(types.schedule or object, dict(values["descent"]))
        elif types.unnoted_schedule is not None:
            built["schedule"] = types.unnoted_schedule
        recipe = Recipe(**{**rest, **built})
        check_recipe(recipe)
    except (KeyError, TypeError, ValueError, AttributeError, UsageError) as error:
        raise InputError(
            f"the training settings stored with the weights cannot be read by this version: {error}",
            remedy="Use weights that were trained with this version of the program.",
        ) from error
    return recipe


def new_network(recipe: Recipe[Any, Any]) -> nn.Module:
    """Return the network of a recipe, with the starting weights its seed gives."""
    generator = seeded_generator(recipe.seed, "weights", recipe.method)
    return trainable(recipe.method).network(recipe, generator)


def new_task(recipe: Recipe[Any, Any], base: BaseNetwork | None = None) -> Task:
    """Return the task of a recipe, with the starting weights its seed gives.

    Args:
        recipe: What is trained.
        base: The network whose residual is learned, where the method learns one.

    Raises:
        UsageError: The recipe cannot be followed, or needs a base that is not given.
    """
    check_recipe(recipe)
    needed = trained_method(recipe.method).base
    if needed and base is None:
        raise UsageError(
            f"{recipe.method} learns the residual of {needed}, which is not given",
            remedy=f"Train {needed} first, and give its folder with --base.",
        )
    return trainable(recipe.method).task(new_network(recipe), recipe, base)


def network_of(card: Card, tensors: Mapping[str, Tensor]) -> nn.Module:
    """Return the network that a card describes, filled with weights and ready to use.

    Raises:
        InputError: The weights are of another network.
    """
    network = new_network(recipe_from_plain(card.recipe))
    fill(network, tensors)
    return network.eval()


def load_network(name: str, folder: Path | None = None) -> tuple[nn.Module, Card]:
    """Return the network whose weights have this name, ready to use, and their card.

    Raises:
        InputError: The weights are absent, damaged, or of another network.
    """
    tensors, card = load_weights(name, folder)
    if card.recipe.get("method") != name:
        raise InputError(f"the card of {name} is about {card.recipe.get('method')}")
    return network_of(card, tensors), card


def load_base(name: str, folder: Path | None = None) -> BaseNetwork:
    """Return a trained network whose residual another one learns.

    Args:
        name: Of its weights.
        folder: Where they lie; None for those that come with the package.

    Raises:
        InputError: The weights are absent, damaged, or of another network.
    """
    network, card = load_network(name, folder)
    if not isinstance(network, UNet):
        raise InputError(f"the card of {name} is of another network")
    return BaseNetwork(network=network, sha256=card.sha256)


def check_base(card: Card, base_sha256: str) -> None:
    """Return if weights of a residual belong to this base.

    Raises:
        InputError: They belong to another.
    """
    if card.calibration.get("base") != base_sha256:
        raise InputError(
            f"the weights of {card.name} were trained with another {trained_method(card.name).base}",
            remedy=f"Train them for this one: unweight train {card.name} --base DIR.",
        )


def load_estimator(name: str, folder: Path | None = None) -> tuple[Estimator[Any], Card]:
    """Return the estimator whose weights have this name, and their card.

    Args:
        name: `t1-posterior` …
        folder: Where the weights lie; None for those that come with the package.

    Raises:
        InputError: The weights are absent, damaged, or of another version of the program.
    """
    tensors, card = load_weights(name, folder)
    return estimator_of(card, tensors, folder), card


def estimator_of(card: Card, tensors: Mapping[str, Tensor], folder: Path | None = None) -> Estimator[Any]:
    """Build the estimator that a card describes.

    Raises:
        InputError: The card and the weights do not make one.
    """
    network = network_of(card, tensors)
    return trainable(str(card.recipe["method"])).estimator(network, card, folder)
