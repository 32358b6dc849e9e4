"""`unweight train` for networks that learn from pairs of gradient echoes and T1w, simulated or real."""

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import final

import torch
from rich.console import Console

from unweight.cli.device import device_for
from unweight.cli.learning_commands import TRAIN
from unweight.cli.recipe_choice import recipe_from
from unweight.cli.terminal import Course, console, course, table
from unweight.cli.training_heads import LEARNING, chosen_heads
from unweight.cli.training_record import FOLDER, TrainingRecord
from unweight.cli.training_talk import Teller
from unweight.cli.training_time import n_cores, with_time
from unweight.core.errors import UsageError
from unweight.heads.brainweb import read_brainweb
from unweight.learn.mprage.assemble import T1wBase, load_base, t1w_task
from unweight.learn.mprage.cohort import CohortRecipe, person_pair
from unweight.learn.mprage.pair import Pair, load_pair
from unweight.learn.mprage.pair_set import make_pairs
from unweight.learn.mprage.pool import PairPool
from unweight.learn.mprage.real_pair import real_pair
from unweight.learn.mprage.real_subjects import FoundPairs, PairedSubject, contents_of, paired_subjects
from unweight.learn.mprage.trainer import PairParts, teach_pairs
from unweight.learn.training.model_card import Card
from unweight.learn.training.precision import Precision
from unweight.learn.training.recipe import FROM_PAIRS, STRUCTURES, T1W, T1W_UNET, Recipe
from unweight.learn.training.trainer import Silence, place
from unweight.learn.training.weights import available, load_weights, save_weights
from unweight.synth.anatomy.labels import Anatomy
from unweight.synth.anatomy.nuclei import with_nuclei
from unweight.synth.anatomy.split import split_subjects
from unweight.synth.anatomy.whole_head import whole_head

PAIRS = "pairs"
SHIPPED = "shipped"
OPTIONS = ("bids", "labels", "people", "pairs")
N_DRAWN = {"train": 4, "validation": 2}
REAL_SHARES = (0.8, 0.2, 0.0)
FEWEST_REAL = 2


def refuse_pair_options(arguments: argparse.Namespace) -> None:
    """Refuse what only networks of pairs take."""
    given = [TRAIN.spelling(name) for name in OPTIONS if getattr(arguments, name) is not None]
    if given:
        raise UsageError(
            f"{arguments.method} takes no {', '.join(given)}",
            remedy=f"They go with {', '.join(FROM_PAIRS)}.",
        )


def run(arguments: argparse.Namespace) -> int:
    """Train, or go on with a training, and write the weights; what a residual needs is trained first."""
    if arguments.workers is not None and arguments.workers < 0:
        raise UsageError(f"{arguments.workers} workers", remedy="Give 0 or more.")
    if arguments.bids is not None and (arguments.heads or arguments.people):
        raise UsageError("--bids-dir learns from real subjects; leave --brainweb-dir and --n-subjects out")
    if arguments.labels is not None and (arguments.bids is None or arguments.method != STRUCTURES):
        raise UsageError(f"--labels-dir goes with {STRUCTURES} and --bids-dir")
    if arguments.method == STRUCTURES and arguments.bids is not None and arguments.labels is None:
        raise UsageError(
            "structures are learned from labels", remedy="Give --labels-dir, or leave --bids-dir out."
        )
    if arguments.slabs is not None:
        raise UsageError(f"{arguments.method} learns from people, not slabs", remedy="Give --n-subjects.")
    if arguments.people is not None and min(arguments.people) < 1:
        raise UsageError(f"{arguments.people} people", remedy="Give at least one for each part.")
    if arguments.base is not None and arguments.method != T1W:
        raise UsageError(f"--base goes with {T1W} here")
    if arguments.method == T1W and arguments.base is None and T1W_UNET not in available(arguments.out):
        _train(argparse.Namespace(**{**vars(arguments), "method": T1W_UNET, "start": None}))
    return _train(arguments)


def _train(arguments: argparse.Namespace) -> int:
    quiet = arguments.quiet or place().rank > 0
    screen = console(quiet=quiet)
    device, precision = device_for(arguments.device), Precision(arguments.precision)
    asked = _recipe(arguments)
    base = _base(arguments, screen)
    start = None
    if arguments.start is not None:
        start = load_weights(
            arguments.method, None if arguments.start == SHIPPED else Path(arguments.start)
        )
    source = _source(arguments, asked, screen)
    record = TrainingRecord(
        folder=arguments.out / FOLDER / asked.method,
        asked={
            "recipe": asked.to_plain(),
            "minutes": arguments.minutes,
            "people": source.about,
            "from": None if start is None else start[1].sha256,
            "base": None if base is None else base.sha256,
        },
    )
    recipe = record.found()
    if asked.method in available(arguments.out):
        if recipe is None:
            raise UsageError(
                f"{arguments.out} holds weights called {asked.method} of another training",
                remedy="Choose another folder with -o.",
            )
        screen.print(f"the training of {asked.method} is complete")
        _summarise(screen, load_weights(asked.method, arguments.out)[1], arguments.out)
        return 0
    n_workers = arguments.workers if arguments.workers is not None else n_cores()
    with course(quiet=quiet) as shown:
        parts = source.parts(n_workers if n_workers > 1 else 0, shown)
        if recipe is None:
            recipe = _timed(asked, parts, device, arguments.minutes, base, precision)
            record.write(recipe)
        shown.line(
            f"{recipe.method}, preset {recipe.preset}, on {device.type}: {recipe.plan.n_steps} steps, "
            f"{len(parts.train)} people, scored on {len(parts.validation)} others"
        )
        learned = teach_pairs(
            recipe,
            parts,
            device=device,
            precision=precision,
            folder=record.folder,
            report=Silence() if quiet else Teller(shown=shown, what="people"),
            start=None if start is None else start[0],
            base=base,
        )
    if learned is not None:
        tensors, card = learned
        save_weights(arguments.out, tensors, card, half=True)
        _summarise(screen, load_weights(card.name, arguments.out)[1], arguments.out)
    return 0


def _recipe(arguments: argparse.Namespace) -> Recipe:
    recipe = recipe_from(arguments)
    cohort = recipe.cohort
    if arguments.people is not None:
        n_train, n_validation = arguments.people
        cohort = replace(cohort, n=(n_train, n_validation, cohort.n[2]))
    if arguments.seed:
        cohort = replace(cohort, seed=arguments.seed)
    return replace(recipe, slabs=cohort, n_slabs=cohort.n[0])


def _base(arguments: argparse.Namespace, screen: Console) -> T1wBase | None:
    """Return the regression whose residual is learned; one from elsewhere is copied beside the weights."""
    if arguments.method != T1W:
        return None
    if arguments.base is not None and T1W_UNET not in available(arguments.out):
        tensors, card = load_weights(T1W_UNET, arguments.base)
        save_weights(arguments.out, tensors, card, half=card.stored == "float16")
        screen.print(f"{T1W_UNET} copied to {arguments.out}")
    base = load_base(arguments.out)
    if arguments.base is not None and load_base(arguments.base).sha256 != base.sha256:
        raise UsageError(
            f"{arguments.out} holds another {T1W_UNET} than {arguments.base}",
            remedy="Choose another folder with -o.",
        )
    return base


def _timed(
    recipe: Recipe,
    parts: PairParts,
    device: torch.device,
    minutes: float | None,
    base: T1wBase | None,
    precision: Precision,
) -> Recipe:
    if minutes is None:
        return recipe
    pool = PairPool(parts.train[:2], recipe.patch, recipe.plan.batch_size)
    return with_time(recipe, partial(t1w_task, recipe, base), pool, device, minutes, precision)


@final
@dataclass(frozen=True, kw_only=True)
class _Source:
    """Where pairs come from.

    Attributes:
        folder: Where they are kept.
        about: What they are made from, as JSON values.
        heads: Files of simulated people; None for heads drawn from random numbers.
        heads_folder: Where these files are.
        cohort: Of simulated people.
        real: The parts of real people.
    """

    folder: Path
    about: Mapping[str, object]
    cohort: CohortRecipe
    heads: Mapping[str, Sequence[str]] | None = None
    heads_folder: Path | None = None
    real: Mapping[str, tuple[PairedSubject, ...]] | None = None

    def parts(self, n_workers: int, shown: Course) -> PairParts:
        """Make the pairs that are not kept yet."""
        made = {part: self._part(part, n_workers, shown) for part in LEARNING}
        return PairParts(train=made["train"], validation=made["validation"])

    def _part(self, part: str, n_workers: int, shown: Course) -> tuple[Pair, ...]:
        bar = shown.bar(f"people for {part}")
        if self.real is not None:
            chosen = self.real[part]
            about = {"part": part, "files": [contents_of(one) for one in chosen]}
            paths = make_pairs(
                partial(_pair_of, chosen),
                range(len(chosen)),
                self.folder / part,
                about,
                n_workers=n_workers,
                progress=bar,
            )
            return tuple(load_pair(path) for path in paths)
        heads = self._heads(part)
        made_from: dict[str, object] = {
            "method": T1W,
            "cohort": dataclasses.asdict(self.cohort),
            "heads": [one.subject for one in heads],
            "part": part,
        }
        paths = make_pairs(
            partial(person_pair, self.cohort, heads, part),
            self.cohort.indices(part),
            self.folder / part,
            made_from,
            n_workers=n_workers,
            progress=bar,
        )
        return tuple(load_pair(path) for path in paths)

    def _heads(self, part: str) -> tuple[Anatomy, ...]:
        if self.heads is not None and self.heads_folder is not None:
            return tuple(with_nuclei(read_brainweb(self.heads_folder / name)) for name in self.heads[part])
        return tuple(whole_head(self.cohort.seed, part, index) for index in range(N_DRAWN[part]))


def _pair_of(chosen: Sequence[PairedSubject], index: int) -> Pair:
    return real_pair(chosen[index])


def _source(arguments: argparse.Namespace, recipe: Recipe, screen: Console) -> _Source:
    folder = arguments.pairs if arguments.pairs is not None else arguments.out / FOLDER / PAIRS
    if arguments.bids is None:
        heads = chosen_heads(arguments.heads)
        about: dict[str, object] = {
            "heads": None if heads is None else {part: list(names) for part, names in heads.items()}
        }
        return _Source(
            folder=folder, about=about, cohort=recipe.cohort, heads=heads, heads_folder=arguments.heads
        )
    found = paired_subjects([arguments.bids], labels=arguments.labels)
    for left in found.left_out:
        screen.print(f"left out: {left.label} {left.reason}")
    for remark in found.remarks:
        screen.print(remark)
    by_label = {one.label: one for one in _with_labels(found, arguments)}
    if len(by_label) < FEWEST_REAL:
        needed = "MEGRE, T1w and labels" if arguments.labels is not None else "both MEGRE and T1w"
        raise UsageError(
            f"{len(by_label)} of {len(found.subjects)} subjects have {needed}",
            remedy=f"Give at least {FEWEST_REAL}.",
        )
    split = split_subjects(by_label, REAL_SHARES)
    names = {part: split[part] for part in LEARNING}
    if not names["validation"]:
        names = {"train": names["train"][1:], "validation": names["train"][:1]}
    return _Source(
        folder=folder,
        about={
            "files": {
                part: [contents_of(by_label[label]) for label in labels] for part, labels in names.items()
            }
        },
        cohort=recipe.cohort,
        real={part: tuple(by_label[label] for label in labels) for part, labels in names.items()},
    )


def _with_labels(found: FoundPairs, arguments: argparse.Namespace) -> tuple[PairedSubject, ...]:
    """Return whom to learn from: for structures, those with labels."""
    if arguments.method != STRUCTURES:
        return found.subjects
    return tuple(one for one in found.subjects if one.labels is not None)


def _summarise(screen: Console, card: Card, out: Path) -> None:
    rows = [(name, f"{value:.4g}") for name, value in card.metrics.items()]
    screen.print(table(("on held-out people", "value"), rows))
    screen.print(f"{card.seconds / 60:.1f} min of training; {out / card.name}.safetensors")
    if card.name == STRUCTURES:
        screen.print(f"use it with: unweight evaluate mprage -o SCORES --weights {out}")
        return
    method = "residual" if card.name == T1W else card.name.removeprefix("mprage-")
    screen.print(f"use it with: unweight mprage INPUT -o IMAGES --method {method} --weights {out}")
