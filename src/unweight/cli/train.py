"""`unweight train`: from heads and a preset to weights, with their card and their error bars."""

import argparse
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, final

import torch
from rich.console import Console
from torch import Tensor

from unweight.bids.atomic import write_bytes_atomic
from unweight.bids.minc import find_brainweb, read_brainweb, subject_of
from unweight.cli.device import device_for
from unweight.cli.recipe_choice import recipe_from, with_steps
from unweight.cli.terminal import Course, console, course, table
from unweight.core.errors import InputError, UsageError
from unweight.core.estimator import Progress
from unweight.core.seeding import seeded_generator
from unweight.learn.assemble import load_posterior_network, task_of
from unweight.learn.card import Card
from unweight.learn.gather import Shelf, gather
from unweight.learn.lesson import Base, Heads, Listener, Silence, place, pool_of, shelves, teach
from unweight.learn.recipe import FROM_WEIGHTED, MAPS, RESIDUAL, Recipe, recipe_from_plain
from unweight.learn.slab_set import slab_set
from unweight.learn.training import Step, train
from unweight.learn.weights import available, load_weights, save_weights
from unweight.synth.anatomy import Anatomy
from unweight.synth.nuclei import with_nuclei
from unweight.synth.procedural_head import procedural_head
from unweight.synth.split import split_subjects

FOLDER, RECORD = "training", "recipe.json"
SHIPPED = "shipped"
# Of heads drawn from random numbers: eight centimetres around the deep nuclei.
HEAD_SHAPE, HEAD_VOXEL_MM = (360, 432, 160), (0.5, 0.5, 0.5)
HEAD_MIDDLE_MM = (0.0, -16.0, 12.0)
N_TRAIN, N_VALIDATION = 4, 2
MEASURED_SECONDS, MOST_MEASURED = 4.0, 256
LEAST_STEPS = 100


def run(arguments: argparse.Namespace) -> int:
    """Train, or go on with a training, and write the weights."""
    here = place()
    screen = console(quiet=arguments.quiet or here.rank > 0)
    device = device_for(arguments.device)
    if arguments.workers is not None and arguments.workers < 0:
        raise UsageError(f"{arguments.workers} workers", remedy="Give 0 or more.")
    asked = recipe_from(arguments)
    chosen = _chosen_heads(arguments)
    start, start_digest = _start(arguments)
    base = _base(arguments)
    record = _Record(
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
    if recipe is None:
        recipe = (
            asked if arguments.minutes is None else _timed(asked, heads, device, arguments.minutes, base)
        )
        if here.rank == 0:
            record.write(recipe)
    n_workers = arguments.workers if arguments.workers is not None else _cores() // here.n
    quiet = arguments.quiet or here.rank > 0
    _introduce(screen, recipe, heads, device)
    with course(quiet=quiet) as shown:
        learned = teach(
            recipe,
            heads,
            device=device,
            n_workers=n_workers if n_workers > 1 else 0,
            folder=record.folder,
            report=Silence() if quiet else _Teller(shown=shown),
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


@final
@dataclass(frozen=True, kw_only=True)
class _Record:
    """What a folder was asked to train, and the recipe that came of it."""

    folder: Path
    asked: Mapping[str, Any]

    def found(self) -> Recipe | None:
        """Return the recipe of the training in the folder, if it is the one asked for."""
        path = self.folder / RECORD
        if not path.exists():
            return None
        try:
            content = json.loads(path.read_bytes())
            told, recipe = content["asked"], recipe_from_plain(content["recipe"])
        except (OSError, ValueError, KeyError, TypeError, InputError) as error:
            raise InputError(
                "is not the record of a training", remedy="Choose another folder with -o.", path=path
            ) from error
        other = sorted(_differences(told, json.loads(json.dumps(self.asked))))
        if other:
            raise UsageError(
                f"{self.folder.parent} holds another training, with another {', '.join(other[:4])}",
                remedy="Choose another folder with -o, or call it as it was called first.",
            )
        return recipe

    def write(self, recipe: Recipe) -> None:
        content = {"asked": dict(self.asked), "recipe": recipe.to_plain()}
        write_bytes_atomic(self.folder / RECORD, (json.dumps(content, indent=2) + "\n").encode())


def _differences(one: Any, other: Any, name: str = "") -> list[str]:
    """Return the names under which two trees of JSON values differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = one.keys() | other.keys()
        return [
            each for key in keys for each in _differences(one.get(key), other.get(key), f"{name}.{key}")
        ]
    return [] if one == other else [name.removeprefix(".").removeprefix("recipe.") or "call"]


def _chosen_heads(arguments: argparse.Namespace) -> dict[str, tuple[str, ...]] | None:
    """Return the files of training and validation; None for heads drawn from random numbers."""
    if arguments.heads is None:
        return None
    files = {subject_of(path): path.name for path in find_brainweb(arguments.heads)}
    split = split_subjects(files)
    for part in ("train", "validation"):
        if not split[part]:
            raise UsageError(
                f"{len(files)} heads leave none for {part}",
                remedy="Give at least four, or leave --heads out.",
            )
    return {part: tuple(files[name] for name in split[part]) for part in ("train", "validation")}


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


def _timed(recipe: Recipe, heads: Heads, device: torch.device, minutes: float, base: Base | None) -> Recipe:
    """Return the recipe with as many steps as fit into these minutes here, in hundreds."""
    slabs = gather(slab_set(recipe, heads.train, part="timing", length=2))
    pool = pool_of(recipe, slabs)
    count, seconds = 1, 0.0
    while seconds < MEASURED_SECONDS and count < MOST_MEASURED:
        count *= 4
        plan = with_steps(recipe, count).plan
        task = task_of(recipe, None if base is None else base.network)
        begin = partial(train, task, pool, replace(plan, check_every=count, save_every=count))
        begin(seed=recipe.seed, device=device)  # the first pass also warms up
        began = time.perf_counter()
        begin(seed=recipe.seed, device=device)
        seconds = time.perf_counter() - began
    wanted = 60 * minutes / (seconds / count)
    return with_steps(recipe, max(LEAST_STEPS, 100 * round(wanted / 100)))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@final
@dataclass(frozen=True, kw_only=True)
class _Teller(Listener):
    """Tells how a lesson goes."""

    shown: Course

    def making(self, what: str) -> Progress:
        """Show a bar of the slabs made."""
        return self.shown.bar(f"slabs for {what}")

    def step(self, step: Step) -> None:
        """Say a line at each check."""
        self.shown.bar("training")(step.step, step.n_steps)
        if step.checks is not None:
            self.shown.line(step_line(step))


def step_line(step: Step) -> str:
    """Return how a training goes, in a line."""
    found = step.checks or {}
    parts = [f"step {step.step} of {step.n_steps}: loss {step.loss:.4g}"]
    if "psnr_t1" in found:
        said = (f"{name} {found[f'psnr_{name.lower()}']:.1f}" for name in ("T1", "T2", "PD"))
        parts.append(f"PSNR {', '.join(said)} dB")
    if "rmse_ln_t1" in found:
        parts.append(f"ln T1 off by {found['rmse_ln_t1']:.4f} (fit {found['rmse_ln_t1_fit']:.4f})")
    if "region_ratio" in found:
        parts.append(f"error of regions {found['region_ratio']:.2f} x their spread")
    if "rmse_over_exact" in found:
        parts.append(f"{found['rmse_over_exact']:.2f} x exact on single voxels")
    if "coverage_90" in found:
        parts.append(f"{100 * found['coverage_90']:.0f} % in 90 % intervals")
    if found.get("share_without_value"):
        parts.append(f"{100 * found['share_without_value']:.1f} % without value")
    if step.skipped:
        parts.append(f"{step.skipped} steps skipped")
    left = step.seconds / step.step * (step.n_steps - step.step)
    parts.append(f"{left / 60:.0f} min left" if left >= 90 else f"{left:.0f} s left")
    return ", ".join(parts)


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
