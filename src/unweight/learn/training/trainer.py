"""One training from beginning to end: slabs, network, error bars, card.

    heads of training   → slabs → patches → weights
    heads of validation → slabs to score on, and other slabs to find the error bars on

Under torchrun every process makes its share of the slabs; the first alone scores, calibrates and writes.
"""

import dataclasses
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import final

import torch
from torch import Tensor

from unweight.core.errors import UsageError
from unweight.core.estimator import Progress
from unweight.files.text_files import parse_json, read_text
from unweight.learn.mprage.cohort import CohortRecipe
from unweight.learn.t1.features import FEATURES_VERSION
from unweight.learn.t1.image_validator import image_examination
from unweight.learn.t1.posterior_validator import PosteriorExamination, yardstick_for
from unweight.learn.t1.residual_validator import ResidualExamination
from unweight.learn.training.assemble import task_of
from unweight.learn.training.loop import LARGEST_LOG, LOG, Step, train
from unweight.learn.training.model_card import Card
from unweight.learn.training.model_card_text import Seen, card_of
from unweight.learn.training.pool import SlabPool
from unweight.learn.training.precision import Precision, PrecisionChoice, describe_precision
from unweight.learn.training.processes import TORCHRUN
from unweight.learn.training.recipe import DIFFUSOR, FROM_FITS, FROM_WEIGHTED, POSTERIOR, RESIDUAL, Recipe
from unweight.learn.training.sample_cache import Shelf, gather
from unweight.learn.training.slab_set import slab_set
from unweight.learn.training.validator import Examination
from unweight.learn.training.weights import fill
from unweight.learn.weighted.slabs import WHOLE
from unweight.learn.weighted.validator import MapsExamination
from unweight.nets.unet import UNet
from unweight.synth.anatomy.labels import Anatomy

SLABS = "slabs"
RESIDUAL_SLABS = (6, 12)  # for validation and for calibration
MOST_DRAWN = 4  # slabs on which a diffusor is scored, each takes thousands of evaluations


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Heads:
    """Whose heads are for what; none is in both parts.

    Attributes:
        train: To train on.
        validation: To score and to calibrate on.
    """

    train: tuple[Anatomy, ...]
    validation: tuple[Anatomy, ...]

    def __post_init__(self) -> None:
        both = {one.subject for one in self.train} & {one.subject for one in self.validation}
        if both:
            raise UsageError(f"{', '.join(sorted(both))} would be for training and for validation")


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Base:
    """The posterior whose residual is learned.

    Attributes:
        network: In `eval` mode.
        sha256: Of its weights.
    """

    network: UNet
    sha256: str


class Listener(ABC):
    """Is told how a lesson goes."""

    @abstractmethod
    def making(self, what: str) -> Progress | None:
        """Return what is told of slabs made and to make; `what` is `training`, `validation` …."""

    @abstractmethod
    def precision(self, choices: tuple[PrecisionChoice, ...]) -> None:
        """Hear before the first step what losses are computed in, first to last."""

    @abstractmethod
    def step(self, step: Step) -> None:
        """Hear of the training, at each check and each snapshot."""


@final
@dataclass(frozen=True)
class Silence(Listener):
    """Hears nothing."""

    def making(self, what: str) -> Progress | None:
        """Return nothing to tell."""
        return None

    def precision(self, choices: tuple[PrecisionChoice, ...]) -> None:
        """Let it pass."""

    def step(self, step: Step) -> None:
        """Let it pass."""


@final
@dataclass(frozen=True, kw_only=True)
class Place:
    """Which of the processes that torchrun started this is; the first and only one without it."""

    rank: int = 0
    n: int = 1


SILENCE, ALONE = Silence(), Place()


def place() -> Place:
    """Return which process this is."""
    if not all(name in os.environ for name in TORCHRUN):
        return ALONE
    return Place(rank=int(os.environ["RANK"]), n=int(os.environ["WORLD_SIZE"]))


def teach(
    recipe: Recipe,
    heads: Heads,
    *,
    device: torch.device,
    precision: Precision = Precision.AUTO,
    n_workers: int = 0,
    folder: Path | None = None,
    report: Listener = SILENCE,
    start: Mapping[str, Tensor] | None = None,
    base: Base | None = None,
) -> tuple[dict[str, Tensor], Card] | None:
    """Train, calibrate and describe a network.

    Args:
        recipe: What to train.
        heads: To cut slabs from.
        device: Where to train; under torchrun `cuda` becomes the device of the process.
        precision: Of the losses; `auto` is the faster one.
        n_workers: Processes that make slabs; 0 to make them here.
        folder: Where snapshot, log and slabs are kept; a training found there goes on.
        report: Told how it goes, in the first process only.
        start: Weights to start from instead of random ones.
        base: The posterior whose residual is learned, for `t1-residual`.

    Returns:
        Weights and their card; None in all processes but the first.

    Raises:
        UsageError: The recipe cannot be followed, or the folder holds another training.
        InputError: `start` is of another network, or a file in the folder is damaged.
        OutputError: The folder cannot be written to.
    """
    slabs = recipe.slabs
    if isinstance(slabs, CohortRecipe):
        raise UsageError(f"{recipe.method} learns from pairs of images, not from slabs")
    if recipe.patch > slabs.size:
        raise UsageError(f"patches of {recipe.patch} voxels do not fit into slabs of {slabs.size}")
    task = task_of(recipe, None if base is None else base.network)
    if start is not None:
        fill(task.network, start)
    here = place()
    maker = _Maker(recipe=recipe, heads=heads, n_workers=n_workers, folder=folder, report=report)
    first = here.rank == 0
    n_validation, n_calibration = held_out(recipe)
    examination = _examination(recipe, maker("validation", n_validation), base) if first else None
    pool = pool_of(recipe, maker("train", recipe.n_slabs, here))
    clock = Clock(report=report)
    tensors = train(
        task,
        pool,
        recipe.plan,
        seed=recipe.seed,
        device=device,
        precision=precision,
        folder=folder,
        check=None if examination is None else examination.check,
        report=clock,
        announce=clock.hear,
    )
    if examination is None:
        return None
    del pool
    fill(task.network, tensors)
    network = task.network.eval()
    others = maker("calibration", n_calibration) if n_calibration else None
    calibration = examination.calibrate(network, others)
    if base is not None:
        calibration = {**calibration, "base": base.sha256}
    seen = Seen(
        train=tuple(one.subject for one in heads.train),
        validation=tuple(one.subject for one in heads.validation),
        n_train=recipe.n_slabs,
        n_validation=n_validation,
        n_calibration=n_calibration,
    )
    metrics = examination.score(network, calibration)
    seconds = clock.seconds or _logged_seconds(folder)
    card = card_of(
        recipe,
        seen,
        calibration=calibration,
        metrics=metrics,
        seconds=seconds,
        precision=clock.precision,
    )
    return tensors, card


def pool_of(recipe: Recipe, slabs: Mapping[str, Tensor]) -> SlabPool:
    """Return what a training draws from."""
    whole = WHOLE if recipe.method in FROM_WEIGHTED else ()
    return SlabPool(slabs=slabs, patch=recipe.patch, batch_size=recipe.plan.batch_size, whole=whole)


def held_out(recipe: Recipe) -> tuple[int, int]:
    """Return how many slabs are for validation and how many for calibration."""
    if recipe.method == DIFFUSOR:
        return MOST_DRAWN, 0
    if recipe.method == RESIDUAL:
        return RESIDUAL_SLABS
    return min(32, max(4, recipe.n_slabs // 64)), min(400, max(16, recipe.n_slabs // 8))


def shelves(folder: Path) -> tuple[Path, ...]:
    """Return the folders of a training in which slabs are kept."""
    return tuple(sorted(path for path in (folder / SLABS).glob("*") if path.is_dir()))


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class _Maker:
    """Makes slabs, or takes them from where they are kept."""

    recipe: Recipe
    heads: Heads
    n_workers: int
    folder: Path | None
    report: Listener

    def __call__(self, part: str, length: int, here: Place = ALONE) -> dict[str, Tensor]:
        heads = self.heads.train if part == "train" else self.heads.validation
        dataset = slab_set(self.recipe, heads, part=part, length=length)
        if here.n > 1:
            if length < here.n:
                raise UsageError(f"{length} slabs for {here.n} processes", remedy="Ask for more slabs.")
            dataset = replace(dataset, chosen=range(here.rank, length, here.n))
        return gather(
            dataset,
            n_workers=self.n_workers,
            progress=self.report.making(part) if place().rank == 0 else None,
            shelf=self._shelf(part, length, here),
        )

    def _shelf(self, part: str, length: int, here: Place) -> Shelf | None:
        if self.folder is None:
            return None
        name = part if here.n == 1 else f"{part}-{here.rank + 1}-of-{here.n}"
        heads = self.heads.train if part == "train" else self.heads.validation
        about = {
            "method": self.recipe.method,
            "seed": self.recipe.seed,
            "slabs": dataclasses.asdict(self.recipe.slabs),
            "part": part,
            "length": length,
            "heads": [one.subject for one in heads],
        }
        if self.recipe.method in FROM_FITS:
            about["features"] = FEATURES_VERSION
        return Shelf(folder=self.folder / SLABS / name, about=about)


@final
@dataclass(kw_only=True)
class Clock:
    """Remembers how long the training has taken and in what precision, and passes on what it hears.

    Attributes:
        report: Told of each step.
        seconds: So far.
        precision: In words.
    """

    report: Listener
    seconds: float = field(default=0.0)
    precision: str = field(default="")

    def hear(self, choices: tuple[PrecisionChoice, ...]) -> None:
        """Hear of the precision."""
        self.precision = describe_precision(choices)
        self.report.precision(choices)

    def __call__(self, step: Step) -> None:
        """Hear of a step."""
        self.seconds = step.seconds
        self.report.step(step)


def _examination(recipe: Recipe, slabs: Mapping[str, Tensor], base: Base | None) -> Examination:
    if base is not None:
        return ResidualExamination(slabs=slabs, posterior=base.network)
    if recipe.method == POSTERIOR:
        return PosteriorExamination(slabs=slabs, yardstick=yardstick_for(recipe.series))
    if recipe.method in FROM_WEIGHTED:
        return MapsExamination(slabs=slabs)
    return image_examination(slabs, recipe)


def _logged_seconds(folder: Path | None) -> float:
    """Return how long a training took that was complete when it was found."""
    path = None if folder is None else folder / LOG
    if path is None or not path.exists():
        return 0.0
    lines = read_text(path, LARGEST_LOG).splitlines()
    return float(parse_json(lines[-1])["seconds"]) if lines else 0.0
