"""A learned estimator of its own: what a contributor writes beside a network, in one file.

It tells T1 of inversion recovery from the signal of one voxel, by a line. One record makes it known.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unweight.core.acquisition import Acquisition
from unweight.core.estimator import Estimator, Progress
from unweight.core.maps import ParameterMaps, VoxelStatus, assemble_maps
from unweight.core.parameter import ParameterSpec
from unweight.core.seeding import seeded_generator
from unweight.learn.training.model_card import Card, CardText
from unweight.learn.training.recipe import Recipe, TrainingPlan
from unweight.learn.training.sample_cache import Indexed, Sample, SlabData, SlabSource, seed_of_part
from unweight.learn.training.trainable import (
    Assessment,
    BaseNetwork,
    Batch,
    RecipeTypes,
    Samples,
    Task,
    TrainableMethod,
    Validator,
)
from unweight.registry.records import Method
from unweight.signals.parameters import T1

TIMES = (0.1, 0.5, 1.0, 2.0)


@final
@dataclass(frozen=True, kw_only=True)
class ToySamples:
    """How slabs are simulated."""

    size: int = 8


@final
@dataclass(frozen=True, kw_only=True)
class ToyConfig:
    """A network without choices."""

    n_images: int = len(TIMES)


ToyRecipe = Recipe[ToySamples, ToyConfig]


@final
@dataclass(frozen=True)
class ToySlabs:
    """Noiseless slabs of random T1."""

    size: int
    seed: int
    length: int

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        generator = seeded_generator(self.seed, index)
        t1 = 0.3 + 2 * torch.rand(1, self.size, self.size, generator=generator)
        times = torch.tensor(TIMES)[:, None, None]
        return {"signal": (1 - 2 * torch.exp(-times / t1)).abs(), "truth": t1}


@final
@dataclass(frozen=True, eq=False)
class ToyTask(Task):
    """Mean square error of T1."""

    line: nn.Module

    @property
    def network(self) -> nn.Module:
        return self.line

    def loss(self, network: nn.Module, batch: Batch, generator: torch.Generator) -> Float[Tensor, ""]:
        error: Tensor = network(batch["signal"]) - batch["truth"]
        return error.square().mean()


@final
@dataclass(frozen=True, eq=False)
class ToyValidator(Validator):
    """Root mean square error of T1."""

    slabs: Samples

    def check(self, network: nn.Module) -> dict[str, float]:
        with torch.no_grad():
            error = network(self.slabs["signal"]) - self.slabs["truth"]
        return {"rmse_t1": float(error.square().mean().sqrt())}

    def assess(self, network: nn.Module, calibration: Samples | None) -> Assessment:
        metrics = self.check(network)
        return Assessment(calibration={"sd": metrics["rmse_t1"]}, metrics=metrics)


@final
@dataclass(frozen=True, eq=False)
class ToyT1(Estimator[Acquisition]):
    """T1 by a line."""

    network: nn.Module
    sd: float

    @property
    def parameters(self) -> tuple[ParameterSpec, ...]:
        return (T1,)

    def accept(self, measured: Acquisition, /) -> None:
        measured.protocol.require("inversion_time", "toy")

    def __call__(self, measured: Acquisition, /, progress: Progress | None = None) -> ParameterMaps:
        self.accept(measured)
        with torch.no_grad():
            values = self.network(measured.signal.permute(2, 0, 1)[None])[0].permute(1, 2, 0)
        status = torch.where(measured.inside, VoxelStatus.OK, VoxelStatus.MASKED).to(torch.uint8)
        std = torch.full_like(values, self.sd)
        return assemble_maps((T1,), values, std, status, like=measured.signal, affine=measured.affine)


@final
@dataclass(frozen=True, kw_only=True)
class ToyMethod(TrainableMethod[ToySamples, ToyConfig, SlabData], SlabSource):
    """The method."""

    types: RecipeTypes = field(default_factory=lambda: RecipeTypes(slabs=ToySamples, network=ToyConfig))
    presets: Mapping[str, ToyRecipe]
    cache_key: Mapping[str, object] = field(default_factory=dict)
    ungridded: tuple[str, ...] = ()

    def check(self, recipe: ToyRecipe) -> None:
        pass

    def network(self, recipe: ToyRecipe, generator: torch.Generator) -> nn.Module:
        line = nn.Conv2d(recipe.network.n_images, 1, 1)
        nn.init.normal_(line.weight, std=0.1, generator=generator)
        nn.init.zeros_(line.bias)  # type: ignore[arg-type]  # it has one
        return line

    def task(self, network: nn.Module, recipe: ToyRecipe, base: BaseNetwork | None) -> Task:
        return ToyTask(network)

    def dataset(
        self, recipe: ToyRecipe, anatomies: tuple[Any, ...], *, part: str, length: int
    ) -> Indexed[Sample]:
        return ToySlabs(recipe.slabs.size, seed_of_part(recipe, part), length)

    def held_out(self, recipe: ToyRecipe) -> tuple[int, int]:
        return 4, 0

    def validator(self, recipe: ToyRecipe, data: SlabData, base: BaseNetwork | None) -> Validator:
        return ToyValidator(data.validation(recipe))

    def card_text(self, recipe: ToyRecipe, data: SlabData) -> CardText:
        return CardText(
            summary="T1 by a line.",
            intended_use="Tests.",
            limits="It is a toy.",
            trained_on=f"{recipe.n_slabs} slabs.",
            ranges={"inversion_time": (min(TIMES), max(TIMES))},
        )

    def estimator(self, network: nn.Module, card: Card, folder: Path | None) -> Estimator[Acquisition]:
        return ToyT1(network, float(card.calibration["sd"]))


TOY = ToyMethod(
    presets={
        "cpu": Recipe(
            method="toy",
            preset="cpu",
            slabs=ToySamples(),
            n_slabs=8,
            patch=8,
            network=ToyConfig(),
            plan=TrainingPlan(n_steps=200, batch_size=4, learning_rate=0.05, warm_up=10),
        )
    }
)
RECORD = Method(
    name="toy",
    family="t1",
    summary="a line",
    target="unweight.learn.training.trainable:load_estimator",
    trainable="tests.learn.toy_method:TOY",
    weights="toy",
)
