"""What `unweight train` learns from: slabs of heads, or pairs of echoes and T1w, simulated or real."""

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, final

from rich.console import Console

from unweight.cli.learning_commands import TRAIN
from unweight.cli.training.options import TrainOptions
from unweight.cli.training.record import FOLDER
from unweight.core.errors import UsageError
from unweight.core.seeding import seeded_generator
from unweight.heads.source import TRAIN as TRAIN_PART
from unweight.heads.source import (
    VALIDATION,
    HeadSource,
    ProceduralHeads,
    head_source,
    record_of_folder,
    whole_heads,
)
from unweight.learn.pairs.cohort import CohortRecipe, person_pair
from unweight.learn.pairs.pair import Pair, load_pair
from unweight.learn.pairs.pair_data import PairData, PairMethod, make_pairs
from unweight.learn.pairs.real_pair import real_pair
from unweight.learn.pairs.real_subjects import FoundPairs, PairedSubject, contents_of, paired_subjects
from unweight.learn.training.loop import TrainingCallback
from unweight.learn.training.recipe import Recipe, without_newer
from unweight.learn.training.sample_cache import Heads, SlabData, SlabSource
from unweight.learn.training.trainable import TrainingData, trainable
from unweight.registry import trained_methods
from unweight.synth.anatomy.split import split_subjects

LEARNING = (TRAIN_PART, VALIDATION)
# Of heads drawn from random numbers: eight centimetres around the deep nuclei.
HEAD_SHAPE, HEAD_VOXEL_MM = (360, 432, 160), (0.5, 0.5, 0.5)
HEAD_MIDDLE_MM = (0.0, -16.0, 12.0)
N_HEADS = {"train": 4, "validation": 2}
PAIRS, COHORT_OF = "pairs", "mprage"  # the cohort is the same for all that learn from it
OPTIONS = ("bids", "labels", "people", "pairs")
N_DRAWN = {"train": 4, "validation": 2}
REAL_SHARES = (0.8, 0.2, 0.0)
FEWEST_REAL = 2
FEWEST_SLABS, FEWEST_PEOPLE = 16, 4


class TrainingSource(ABC):
    """What a training learns from, as the command line asks for it.

    Attributes:
        samples: What it learns from, in a word.
        keeps_base: Whether the network of a residual is kept beside its weights.
    """

    samples: ClassVar[str]
    keeps_base: ClassVar[bool]

    @abstractmethod
    def adapted(self, recipe: Recipe[Any, Any]) -> Recipe[Any, Any]:
        """Return the recipe with what the options change in its samples."""

    @abstractmethod
    def find(self, recipe: Recipe[Any, Any], screen: Console) -> None:
        """Find whose images are for what, before anything is computed."""

    @abstractmethod
    def within(self, recipe: Recipe[Any, Any], seconds: float, n_workers: int) -> Recipe[Any, Any]:
        """Return the recipe with so few samples that their simulation takes at most these seconds.

        How many the call names, or the recipe has, is never exceeded; real images are all used.
        """

    @abstractmethod
    def asked(self) -> dict[str, Any]:
        """Return what decides the samples, as JSON values under one name."""

    @abstractmethod
    def subfolder(self, method: str) -> str:
        """Return where a training is kept below the folder of trainings."""

    @abstractmethod
    def data(
        self, recipe: Recipe[Any, Any], n_workers: int, folder: Path, callback: TrainingCallback
    ) -> TrainingData:
        """Return the samples."""

    @abstractmethod
    def description(self, recipe: Recipe[Any, Any], data: TrainingData) -> str:
        """Return how much it learns from, in a line."""


@final
@dataclass(kw_only=True)
class SlabTraining(TrainingSource):
    """Slabs of BrainWeb's heads, or of heads drawn from random numbers.

    Attributes:
        options: Of the command.
        source: The method that learns from them.
    """

    options: TrainOptions
    source: SlabSource
    heads: HeadSource = field(init=False)
    slabs: SlabData | None = field(default=None, init=False)
    samples: ClassVar[str] = "slabs"
    keeps_base: ClassVar[bool] = False

    def __post_init__(self) -> None:
        given = [TRAIN.spelling(name) for name in OPTIONS if getattr(self.options, name) is not None]
        if given:
            raise UsageError(
                f"{', '.join(given)} cannot be used with {self.options.method}",
                remedy=f"Only {', '.join(_pair_methods())} are trained on pairs.",
            )
        drawn = ProceduralHeads(
            generator=lambda part, index: seeded_generator(self.options.seed, "head", part, index),
            counts=N_HEADS,
            shape=HEAD_SHAPE,
            voxel_mm=HEAD_VOXEL_MM,
            centre_mm=HEAD_MIDDLE_MM,
        )
        self.heads = head_source(self.options.heads, drawn)

    def adapted(self, recipe: Recipe[Any, Any]) -> Recipe[Any, Any]:
        """Return the recipe as it is."""
        return recipe

    def find(self, recipe: Recipe[Any, Any], screen: Console) -> None:
        """Check that there are heads for every part."""
        self.heads.record(LEARNING)

    def within(self, recipe: Recipe[Any, Any], seconds: float, n_workers: int) -> Recipe[Any, Any]:
        """Return the recipe with fewer slabs, if the call gives no number."""
        if self.options.slabs is not None:
            return recipe
        each = self._slab_data().seconds_each(recipe) / max(1, n_workers)
        while recipe.n_slabs > FEWEST_SLABS:
            if each * (recipe.n_slabs + sum(self.source.held_out(recipe))) <= seconds:
                break
            recipe = replace(recipe, n_slabs=max(FEWEST_SLABS, int(0.9 * recipe.n_slabs)))
        return recipe

    def asked(self) -> dict[str, Any]:
        """Return the files of the heads."""
        return {"heads": self.heads.record(LEARNING)}

    def subfolder(self, method: str) -> str:
        """Return that it is the folder of trainings itself."""
        return ""

    def data(
        self, recipe: Recipe[Any, Any], n_workers: int, folder: Path, callback: TrainingCallback
    ) -> SlabData:
        """Return slabs of the heads."""
        return replace(self._slab_data(), n_workers=n_workers, folder=folder, callback=callback)

    def _slab_data(self) -> SlabData:
        if self.slabs is None:
            parts = {part: tuple(self.heads.heads(part)) for part in LEARNING}
            heads = Heads(train=parts[TRAIN_PART], validation=parts[VALIDATION])
            self.slabs = SlabData(source=self.source, heads=heads)
        return self.slabs

    def description(self, recipe: Recipe[Any, Any], data: TrainingData) -> str:
        """Return how many slabs, and whose heads."""
        heads = data.heads if isinstance(data, SlabData) else Heads(train=(), validation=())
        train, validation = (
            ", ".join(head.subject for head in part) for part in (heads.train, heads.validation)
        )
        return f"{recipe.n_slabs} slabs from {train}; scored on {validation}"


@final
@dataclass(kw_only=True)
class PairTraining(TrainingSource):
    """Pairs of echoes and T1w of simulated people, or of the subjects of a BIDS tree.

    Attributes:
        options: Of the command.
        method: What learns from them.
    """

    options: TrainOptions
    method: PairMethod[Any]
    real: Mapping[str, tuple[PairedSubject, ...]] | None = field(default=None, init=False)
    samples: ClassVar[str] = "people"
    keeps_base: ClassVar[bool] = True

    def __post_init__(self) -> None:
        options, name = self.options, self.options.method
        if options.bids is not None and (options.heads or options.people):
            remedy = "Leave --brainweb-dir and --n-subjects out."
            raise UsageError("--bids-dir trains on real subjects", remedy=remedy)
        if options.labels is not None and (options.bids is None or not self.method.needs_labels):
            raise UsageError(
                f"--labels-dir requires --bids-dir and one of {', '.join(_methods_of_labels())}"
            )
        if self.method.needs_labels and options.bids is not None and options.labels is None:
            raise UsageError(
                f"{name} are trained with labels", remedy="Give --labels-dir, or leave --bids-dir out."
            )
        if options.slabs is not None:
            raise UsageError(f"{name} is trained on subjects, not on slabs", remedy="Give --n-subjects.")
        if options.people is not None and min(options.people) < 1:
            raise UsageError(
                f"--n-subjects {' '.join(map(str, options.people))} is not possible",
                remedy="Give at least 1 for training and 1 for validation.",
            )

    def adapted(self, recipe: Recipe[Any, Any]) -> Recipe[Any, Any]:
        """Return the recipe with another cohort."""
        cohort: CohortRecipe = recipe.slabs
        if self.options.people is not None:
            n_train, n_validation = self.options.people
            cohort = replace(cohort, n=(n_train, n_validation, cohort.n[2]))
        if self.options.seed:
            cohort = replace(cohort, seed=self.options.seed)
        return replace(recipe, slabs=cohort, n_slabs=cohort.n[0])

    def find(self, recipe: Recipe[Any, Any], screen: Console) -> None:
        """Choose the heads of simulated people, or find the subjects of a tree."""
        if self.options.bids is None:
            self._heads(recipe.slabs).record(LEARNING)
            return
        result = paired_subjects([self.options.bids], labels=self.options.labels)
        for left in result.left_out:
            screen.print(f"left out: {left.label} {left.reason}")
        for remark in result.remarks:
            screen.print(remark)
        by_label = {subject.label: subject for subject in self._usable(result)}
        if len(by_label) < FEWEST_REAL:
            needed = "MEGRE, T1w and labels" if self.method.needs_labels else "both MEGRE and T1w"
            raise UsageError(
                f"{len(by_label)} of {len(result.subjects)} subjects have {needed}",
                remedy=f"Give at least {FEWEST_REAL}.",
            )
        split = split_subjects(by_label, REAL_SHARES)
        names = {part: split[part] for part in LEARNING}
        if not names["validation"]:
            names = {"train": names["train"][1:], "validation": names["train"][:1]}
        self.real = {part: tuple(by_label[label] for label in labels) for part, labels in names.items()}

    def within(self, recipe: Recipe[Any, Any], seconds: float, n_workers: int) -> Recipe[Any, Any]:
        """Return the recipe with fewer people, if the call gives no number and no real images."""
        if self.real is not None or self.options.people is not None:
            return recipe
        cohort: CohortRecipe = recipe.slabs
        head = self._heads(cohort).read(TRAIN_PART, 0)
        began = time.perf_counter()
        person_pair(cohort, (head,), TRAIN_PART, cohort.pair_indices(TRAIN_PART)[0])
        each = (time.perf_counter() - began) / max(1, n_workers)
        n = int(seconds / each)
        n_train, n_validation, n_test = cohort.n
        if n_train + n_validation <= n:
            return recipe
        n_validation = min(n_validation, max(1, n // 9))
        n_train = min(n_train, max(FEWEST_PEOPLE, n - n_validation))
        return replace(recipe, slabs=replace(cohort, n=(n_train, n_validation, n_test)), n_slabs=n_train)

    def asked(self) -> dict[str, Any]:
        """Return the files of the heads, or the contents of the images."""
        if self.real is None:
            return {"people": {"heads": record_of_folder(self.options.heads, LEARNING)}}
        files = {part: list(map(contents_of, subjects)) for part, subjects in self.real.items()}
        return {"people": {"files": files}}

    def subfolder(self, method: str) -> str:
        """Return the name of the method: several are trained in one folder."""
        return method

    def data(
        self, recipe: Recipe[Any, Any], n_workers: int, folder: Path, callback: TrainingCallback
    ) -> PairData:
        """Return the pairs; what is not kept yet is computed."""
        parts = {part: self._pairs(recipe.slabs, part, n_workers, callback) for part in LEARNING}
        return PairData(train=parts["train"], validation=parts["validation"])

    def description(self, recipe: Recipe[Any, Any], data: TrainingData) -> str:
        """Return how many people."""
        counts = (len(data.train), len(data.validation)) if isinstance(data, PairData) else (0, 0)
        return f"{counts[0]} people, scored on {counts[1]} others"

    def _usable(self, result: FoundPairs) -> tuple[PairedSubject, ...]:
        """Return whom to learn from: those with labels, where they are needed."""
        return tuple(
            subject
            for subject in result.subjects
            if not self.method.needs_labels or subject.labels is not None
        )

    def _pairs(
        self, cohort: CohortRecipe, part: str, n_workers: int, callback: TrainingCallback
    ) -> tuple[Pair, ...]:
        about: dict[str, object]
        if self.real is not None:
            chosen = self.real[part]
            about = {"part": part, "files": [contents_of(subject) for subject in chosen]}
            make, indices = partial(_pair_of, chosen), range(len(chosen))
        else:
            heads = tuple(self._heads(cohort).heads(part))
            about = {
                "method": COHORT_OF,
                "cohort": without_newer(cohort),
                "heads": [head.subject for head in heads],
                "part": part,
            }
            make, indices = partial(person_pair, cohort, heads, part), cohort.pair_indices(part)
        default = self.options.out / FOLDER / PAIRS
        folder = (default if self.options.pairs is None else self.options.pairs) / part
        progress = callback.samples(part)
        paths = make_pairs(make, indices, folder, about, n_workers=n_workers, progress=progress)
        return tuple(load_pair(path) for path in paths)

    def _heads(self, cohort: CohortRecipe) -> HeadSource:
        return head_source(self.options.heads, whole_heads(cohort.seed, N_DRAWN))


def _pair_methods() -> tuple[str, ...]:
    names = (record.weights for record in trained_methods())
    return tuple(name for name in names if isinstance(trainable(name), PairMethod))


def _methods_of_labels() -> tuple[str, ...]:
    methods = ((name, trainable(name)) for name in _pair_methods())
    return tuple(name for name, item in methods if isinstance(item, PairMethod) and item.needs_labels)


def _pair_of(chosen: Sequence[PairedSubject], index: int) -> Pair:
    return real_pair(chosen[index])
