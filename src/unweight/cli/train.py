"""`unweight train`: from heads and a preset to weights, with their card and their error bars."""

import argparse
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

from unweight.cli import train_pairs
from unweight.cli.device import device_for
from unweight.cli.recipe_choice import recipe_from
from unweight.cli.terminal import console, course, table
from unweight.cli.train_pairs import refuse_pair_options
from unweight.cli.training_heads import chosen_heads
from unweight.cli.training_record import FOLDER, TrainingRecord
from unweight.cli.training_talk import Teller
from unweight.cli.training_time import n_cores, with_time
from unweight.core.errors import UsageError
from unweight.core.seeding import seeded_generator
from unweight.heads.brainweb import read_brainweb
from unweight.learn.training.assemble import load_posterior_network, task_of
from unweight.learn.training.model_card import Card
from unweight.learn.training.precision import Precision
from unweight.learn.training.recipe import FROM_PAIRS, FROM_WEIGHTED, MAPS, RESIDUAL, Recipe
from unweight.learn.training.sample_cache import Shelf, gather
from unweight.learn.training.slab_set import slab_set
from unweight.learn.training.trainer import Base, Heads, Silence, place, pool_of, shelves, teach
from unweight.learn.training.weights import available, load_weights, save_weights
from unweight.synth.anatomy.labels import Anatomy
from unweight.synth.anatomy.nuclei import with_nuclei
from unweight.synth.anatomy.procedural_head import procedural_head

SHIPPED = "shipped"
# Of heads drawn from random numbers: eight centimetres around the deep nuclei.
HEAD_SHAPE, HEAD_VOXEL_MM = (360, 432, 160), (0.5, 0.5, 0.5)
HEAD_MIDDLE_MM = (0.0, -16.0, 12.0)
N_TRAIN, N_VALIDATION = 4, 2


def run(arguments: argparse.Namespace) -> int:
    """Train, or go on with a training, and write the weights."""
    if arguments.method in FROM_PAIRS:
        return train_pairs.run(arguments)
    refuse_pair_options(arguments)
    here = place()
    screen = console(quiet=arguments.quiet or here.rank > 0)
    device = device_for(arguments.device)
    if arguments.workers is not None and arguments.workers < 0:
        raise UsageError(f"{arguments.workers} workers", remedy="Give 0 or more.")
    asked = recipe_from(arguments)
    chosen = chosen_heads(arguments.heads)
    start, start_digest = _start(arguments)
    base = _base(arguments)
    record = TrainingRecord(
        folder=arguments.out / FOLDER,
        asked={
            "recipe": asked.to_plain(),
            "minutes": arguments.minutes,
            "heads": None if chosen is None else {part: list(paths) for part, paths in chosen.items()},
            "from": start_digest,
            "base": None if base is None else base.sha256,
        },
    )
    recipe = record.found()
    if recipe is None and asked.method in available(arguments.out):
        raise UsageError(
            f"{arguments.out} holds weights called {asked.method} of another training",
            remedy="Choose another folder with -o.",
        )
    if recipe is not None and asked.method in available(arguments.out):
        screen.print("the training is complete")
        _summarise(screen, load_weights(asked.method, arguments.out)[1], arguments.out)
        return 0
    heads = _heads(arguments, chosen)
    precision = Precision(arguments.precision)
    if recipe is None:
        recipe = asked
        if arguments.minutes is not None:
            recipe = _timed(asked, heads, device, arguments.minutes, base, precision)
        if here.rank == 0:
            record.write(recipe)
    n_workers = arguments.workers if arguments.workers is not None else n_cores() // here.n
    quiet = arguments.quiet or here.rank > 0
    _introduce(screen, recipe, heads, device)
    with course(quiet=quiet) as shown:
        learned = teach(
            recipe,
            heads,
            device=device,
            precision=precision,
            n_workers=n_workers if n_workers > 1 else 0,
            folder=record.folder,
            report=Silence() if quiet else Teller(shown=shown),
            start=start,
            base=base,
        )
    if learned is not None:
        tensors, card = learned
        save_weights(arguments.out, tensors, card, half=True)
        _summarise(screen, load_weights(card.name, arguments.out)[1], arguments.out)
    for shelf in shelves(record.folder) if here.rank == 0 else ():
        Shelf(folder=shelf, about={}).clear()
    return 0


def _heads(arguments: argparse.Namespace, chosen: Mapping[str, tuple[str, ...]] | None) -> Heads:
    if chosen is not None:
        parts = {
            part: tuple(with_nuclei(read_brainweb(arguments.heads / name)) for name in names)
            for part, names in chosen.items()
        }
    else:
        parts = {
            part: tuple(_drawn_head(arguments.seed, part, index) for index in range(count))
            for part, count in (("train", N_TRAIN), ("validation", N_VALIDATION))
        }
    return Heads(train=parts["train"], validation=parts["validation"])


def _drawn_head(seed: int, part: str, index: int) -> Anatomy:
    return procedural_head(
        seeded_generator(seed, "head", part, index),
        shape=HEAD_SHAPE,
        voxel_mm=HEAD_VOXEL_MM,
        centre_mm=HEAD_MIDDLE_MM,
    )


def _start(arguments: argparse.Namespace) -> tuple[dict[str, Tensor] | None, str | None]:
    """Return weights to start from, and what tells them from others."""
    if arguments.start is None:
        return None, None
    folder = None if arguments.start == SHIPPED else Path(arguments.start)
    tensors, card = load_weights(arguments.method, folder)
    return tensors, card.sha256


def _base(arguments: argparse.Namespace) -> Base | None:
    """Return the posterior whose residual is to be learned."""
    if arguments.method != RESIDUAL:
        if arguments.base is not None:
            raise UsageError(f"--base goes with {RESIDUAL} only")
        return None
    network, card = load_posterior_network(arguments.base)
    return Base(network=network, sha256=card.sha256)


def _timed(
    recipe: Recipe,
    heads: Heads,
    device: torch.device,
    minutes: float,
    base: Base | None,
    precision: Precision,
) -> Recipe:
    slabs = gather(slab_set(recipe, heads.train, part="timing", length=2))
    network = None if base is None else base.network
    pool = pool_of(recipe, slabs)
    return with_time(recipe, partial(task_of, recipe, network), pool, device, minutes, precision)


def _introduce(screen: Console, recipe: Recipe, heads: Heads, device: torch.device) -> None:
    names = [", ".join(one.subject for one in part) for part in (heads.train, heads.validation)]
    screen.print(f"{recipe.method}, preset {recipe.preset}, on {device.type}: {recipe.plan.n_steps} steps")
    screen.print(f"{recipe.n_slabs} slabs from {names[0]}; scored on {names[1]}")


def _summarise(screen: Console, card: Card, out: Path) -> None:
    rows = [(name, f"{value:.4g}") for name, value in card.metrics.items()]
    screen.print(table(("on held-out slabs", "value"), rows))
    screen.print(f"{card.seconds / 60:.1f} min of training; {out / card.name}.safetensors")
    screen.print(f"use it with: {_use(card.name)} --weights {out}")


def _use(name: str) -> str:
    if name in FROM_WEIGHTED:
        method = "embedding" if name == MAPS else name.removeprefix("maps-")
        return f"unweight maps --t1w T1W --t2w T2W --flair FLAIR -o MAPS --method {method}"
    method = "posterior --draws 8" if name == RESIDUAL else name.removeprefix("t1-")
    return f"unweight t1 INPUT -o MAPS --method {method}"
