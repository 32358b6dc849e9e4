"""`unweight train`: from heads, people or real images and a preset to weights, with card and error bars."""

import argparse
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import torch
from rich.console import Console

from unweight.cli.options import options_of
from unweight.cli.process import n_cores
from unweight.cli.terminal import Course, console, course, table
from unweight.cli.training.duration import SIMULATION_SHARE, scoring_time, with_checks, with_time
from unweight.cli.training.head_training import HeadTraining
from unweight.cli.training.options import TrainOptions, recipe_from
from unweight.cli.training.progress import ConsoleCallback
from unweight.cli.training.record import FOLDER, TrainingRecord
from unweight.cli.training.sources import PairTraining, SlabTraining, TrainingSource
from unweight.core.errors import UsageError
from unweight.files.atomic import write_bytes_atomic
from unweight.learn.labelled_heads.data import HeadMethod
from unweight.learn.pairs.pair_data import PairMethod
from unweight.learn.training.comparison import Comparison, comparison
from unweight.learn.training.execution import Precision, current_rank
from unweight.learn.training.loop import NULL_CALLBACK
from unweight.learn.training.model_card import Card
from unweight.learn.training.recipe import Recipe
from unweight.learn.training.sample_cache import SlabSource
from unweight.learn.training.trainable import (
    BaseNetwork,
    TrainingData,
    load_base,
    load_network,
    recipe_from_plain,
    trainable,
)
from unweight.learn.training.trainer import train_model
from unweight.learn.training.weights import available, load_weights, save_weights
from unweight.mapping.device import device_for
from unweight.registry import pipelines, trained_method, trained_methods

SHIPPED = "shipped"
TOO_SHORT = (
    "note: simulation and scoring take longer than --minutes {minutes:g}; the network is trained for the "
    "fewest steps, {steps}"
)
BASE_SHARE = 0.6  # of the minutes, for the network whose residual is learned afterwards
COMPARISON = "-comparison.json"


def run(arguments: argparse.Namespace) -> int:
    """Train, or resume a training, and write the weights; what a residual needs is trained first."""
    options = options_of(TrainOptions, arguments)
    base = trained_method(options.method).base
    if options.base is not None and not base:
        residuals = ", ".join(item.weights for item in trained_methods() if item.base)
        raise UsageError(f"--base applies to {residuals} only")
    source = _source(options)
    began = time.perf_counter()
    if base and source.keeps_base and options.base is None and base not in available(options.out):
        minutes = None if options.minutes is None else BASE_SHARE * options.minutes
        first = replace(options, method=base, start=None, minutes=minutes)
        _train(first, _source(first), began)
    return _train(options, source, began)


def _source(options: TrainOptions) -> TrainingSource:
    method = trainable(options.method)
    if isinstance(method, SlabSource):
        return SlabTraining(options=options, source=method)
    if isinstance(method, PairMethod):
        return PairTraining(options=options, method=method)
    if isinstance(method, HeadMethod):
        return HeadTraining(options=options, method=method)
    raise UsageError(f"{options.method} is not trained from the command line")


def _train(options: TrainOptions, source: TrainingSource, began: float) -> int:
    rank = current_rank()
    quiet = options.verbosity.quiet or rank.rank > 0
    screen = console(quiet=quiet)
    device, precision = device_for(options.device), Precision(options.precision)
    asked = source.adapted(recipe_from(options))
    name = asked.method
    base = _base(options, source, screen)
    start = None
    if options.start is not None:
        start = load_weights(name, _folder(options.start))
    if options.compare_with is not None:
        load_network(name, _folder(options.compare_with))
    source.find(asked, screen)
    record = TrainingRecord(
        folder=options.out / FOLDER / source.subfolder(name),
        asked={
            "recipe": asked.to_plain(),
            "minutes": options.minutes,
            **source.asked(),
            "from": None if start is None else start[1].sha256,
            "base": None if base is None else base.sha256,
        },
    )
    recipe = record.recipe()
    if name in available(options.out):
        if recipe is None:
            raise UsageError(
                f"{options.out} already contains weights {name} of a different training",
                remedy="Choose another folder with -o.",
            )
        screen.print(f"the training of {name} is complete")
        _summarise(screen, load_weights(name, options.out)[1], options.out, source)
        return 0
    workers = options.workers if options.workers is not None else n_cores() // rank.n
    with course(quiet=quiet) as display:
        callback = NULL_CALLBACK if quiet else ConsoleCallback(display=display, samples_are=source.samples)
        n_workers = workers if workers > 1 else 0
        timing = TrainingTime(options=options, device=device, precision=precision, base=base, began=began)
        planned = recipe or timing.simulation(asked, source, n_workers)
        data = source.data(planned, n_workers, record.folder, callback)
        if recipe is None:
            recipe = timing.steps(planned, data)
            if options.minutes is not None and timing.left() < 0:
                display.line(TOO_SHORT.format(minutes=options.minutes, steps=recipe.plan.n_steps))
            if rank.rank == 0:
                record.write(recipe)
        _introduce(display, recipe, source.description(recipe, data), device)
        trained = train_model(
            recipe,
            data,
            device=device,
            precision=precision,
            folder=record.folder,
            callback=callback,
            start=None if start is None else start[0],
            base=base,
        )
    if trained is not None:
        tensors, card = trained
        if start is not None:
            card = replace(card, trained_on=f"{card.trained_on} {_continued(start[1])}")
        save_weights(options.out, tensors, card, half=True)
        _summarise(screen, load_weights(card.name, options.out)[1], options.out, source)
        if options.compare_with is not None:
            other = _compared(card, options.out, _folder(options.compare_with), data, base)
            write_bytes_atomic(options.out / FOLDER / f"{name}{COMPARISON}", other.to_json().encode())
            screen.print(str(other))
    if rank.rank == 0:
        data.discard()
    return 0


def _continued(card: Card) -> str:
    """Return a sentence about the weights that a training started from."""
    n_steps = card.recipe.get("plan", {}).get("n_steps")
    steps = f", trained for {n_steps} steps" if n_steps else ""
    return f"Training started from other weights of this network (SHA-256 {card.sha256[:12]}{steps})."


def _folder(where: str) -> Path | None:
    """Return a folder of weights; None for that of the package."""
    return None if where == SHIPPED else Path(where)


def _compared(
    card: Card, new: Path, other: Path | None, data: TrainingData, base: BaseNetwork | None
) -> Comparison:
    """Score new weights and others, both as they are stored, on the held-out samples of the new ones."""
    recipe = recipe_from_plain(card.recipe)
    validator = trainable(card.name).validator(recipe, data, base)
    held_out = data.calibration(recipe)
    scores = [
        validator.assess(load_network(card.name, folder)[0], held_out).metrics for folder in (new, other)
    ]
    return comparison(card.name, *scores)


def _base(options: TrainOptions, source: TrainingSource, screen: Console) -> BaseNetwork | None:
    """Return the network whose residual is learned; where it is kept beside the weights, it is copied."""
    name = trained_method(options.method).base
    if not name:
        return None
    if not source.keeps_base:
        return load_base(name, options.base)
    if options.base is not None and name not in available(options.out):
        tensors, card = load_weights(name, options.base)
        save_weights(options.out, tensors, card, half=card.stored == "float16")
        screen.print(f"{name} copied to {options.out}")
    base = load_base(name, options.out)
    if options.base is not None and load_base(name, options.base).sha256 != base.sha256:
        raise UsageError(
            f"the {name} in {options.out} differs from the one in {options.base}",
            remedy="Choose another folder with -o.",
        )
    return base


@final
@dataclass(frozen=True, kw_only=True)
class TrainingTime:
    """The time that a training may take, and what it is spent on.

    Attributes:
        options: Of the command, with the minutes; without them recipes stay as they are.
        device: Where to train.
        precision: Of the losses.
        base: The network whose residual is learned, where one is.
        began: When the command began [s].
    """

    options: TrainOptions
    device: torch.device
    precision: Precision
    base: BaseNetwork | None
    began: float

    def left(self) -> float:
        """Return the seconds that are left."""
        return 60 * (self.options.minutes or 0.0) - (time.perf_counter() - self.began)

    def simulation(
        self, recipe: Recipe[Any, Any], source: TrainingSource, n_workers: int
    ) -> Recipe[Any, Any]:
        """Return the recipe with as many samples as can be simulated in their share of the time."""
        if self.options.minutes is None:
            return recipe
        return source.within(recipe, SIMULATION_SHARE * self.left(), n_workers)

    def steps(self, recipe: Recipe[Any, Any], data: TrainingData) -> Recipe[Any, Any]:
        """Return the recipe with as many steps as fit into what simulation and scoring leave."""
        if self.options.minutes is None:
            return recipe
        batches = data.batches(recipe)
        scoring = scoring_time(recipe, data, self.base, self.device)
        n_assessed = 1 if self.options.compare_with is None else 3
        seconds = self.left() - n_assessed * scoring.assessment
        n_checks = scoring.n_checks(seconds)
        minutes = max(0.0, seconds - n_checks * scoring.check) / 60
        timed = with_time(recipe, self.base, batches, self.device, minutes, self.precision)
        return with_checks(timed, n_checks)


def _introduce(display: Course, recipe: Recipe[Any, Any], description: str, device: torch.device) -> None:
    display.line(f"{recipe.method}, preset {recipe.preset}, on {device.type}: {recipe.plan.n_steps} steps")
    display.line(description)


def _summarise(screen: Console, card: Card, out: Path, source: TrainingSource) -> None:
    rows = [(name, f"{value:.4g}") for name, value in card.metrics.items()]
    screen.print(table((f"on held-out {source.samples}", "value"), rows))
    screen.print(f"{card.seconds / 60:.1f} min of training; {out / card.name}.safetensors")
    option = trained_method(card.name).weights_option
    screen.print(f"use it with: unweight {_usage(card.name)} {option} {out}")


def _usage(weights: str) -> str:
    """Return the command that uses weights, as the registry knows it."""
    method = trained_method(weights)
    if method.usage:
        return method.usage
    command = next(item.command for item in pipelines() if item.family == method.family)
    return f"{command} --method {method.name}"
