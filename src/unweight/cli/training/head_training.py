"""Labelled heads for `unweight train brain-mask` and `brain-segmentation`, kept beside the training."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, final

from rich.console import Console

from unweight.cli.learning_commands import TRAIN
from unweight.cli.training.options import TrainOptions
from unweight.cli.training.sources import LEARNING, OPTIONS, TrainingSource
from unweight.core.errors import UsageError
from unweight.heads.source import TRAIN as TRAIN_PART
from unweight.heads.source import BrainwebHeads, HeadSource, record_of_folder
from unweight.learn.labelled_heads.data import HeadData, HeadMethod
from unweight.learn.labelled_heads.store import MakeAnatomy, labelled_heads, procedural_heads
from unweight.learn.training.loop import TrainingCallback
from unweight.learn.training.recipe import Recipe
from unweight.learn.training.trainable import TrainingData
from unweight.synth.anatomy.head_parts import LabelledHead

HEADS = "heads"
N_VALIDATION = 1


@final
@dataclass(kw_only=True)
class HeadTraining(TrainingSource):
    """Labelled heads with random contrast: those of BrainWeb with procedural ones, or these alone.

    Attributes:
        options: Of the command.
        method: What learns from them.
    """

    options: TrainOptions
    method: HeadMethod
    samples: ClassVar[str] = "images"
    keeps_base: ClassVar[bool] = False

    def __post_init__(self) -> None:
        given = [TRAIN.spelling(name) for name in OPTIONS if getattr(self.options, name) is not None]
        if given:
            names = ", ".join(given)
            raise UsageError(f"{names} cannot be used with {self.options.method}", remedy=f"Omit {names}.")

    def adapted(self, recipe: Recipe[Any, Any]) -> Recipe[Any, Any]:
        """Return the recipe with the procedural heads asked for."""
        return recipe

    def find(self, recipe: Recipe[Any, Any], screen: Console) -> None:
        """Find the heads."""
        for name, source in self._sources(recipe).items():
            for part in LEARNING:
                if not source.names(part):
                    raise UsageError(f"no heads of {name} for {part}")

    def within(self, recipe: Recipe[Any, Any], seconds: float, n_workers: int) -> Recipe[Any, Any]:
        """Return the recipe as it is: its heads are few, and images are drawn during the training."""
        return recipe

    def asked(self) -> dict[str, Any]:
        """Return the files of the heads."""
        return {"heads": record_of_folder(self.options.heads, LEARNING)}

    def subfolder(self, method: str) -> str:
        """Return the name of the method."""
        return method

    def data(
        self, recipe: Recipe[Any, Any], n_workers: int, folder: Path, callback: TrainingCallback
    ) -> HeadData:
        """Return the heads; what is not kept yet is computed."""
        parts = {part: self._heads(recipe, part, folder / HEADS, callback) for part in LEARNING}
        return self.method.data(parts[LEARNING[0]], parts[LEARNING[1]])

    def description(self, recipe: Recipe[Any, Any], data: TrainingData) -> str:
        """Return whose heads."""
        if not isinstance(data, HeadData):
            return ""
        train, validation = data.names()
        return f"images of {train}; scored on {validation}"

    def _sources(self, recipe: Recipe[Any, Any]) -> Mapping[str, HeadSource]:
        """Return where heads come from, by the beginning of the names of their files."""
        counts = {TRAIN_PART: recipe.n_slabs, LEARNING[1]: N_VALIDATION}
        drawn = procedural_heads(recipe.seed, counts)
        folder = self.options.heads
        return (
            {"procedural": drawn}
            if folder is None
            else {"brainweb": BrainwebHeads(folder), "procedural": drawn}
        )

    def _heads(
        self, recipe: Recipe[Any, Any], part: str, folder: Path, callback: TrainingCallback
    ) -> tuple[LabelledHead, ...]:
        sources: list[tuple[str, MakeAnatomy]] = [
            (f"{kind}-{part}-{index}", partial(source.read, part, index))
            for kind, source in self._sources(recipe).items()
            for index in range(len(source.names(part)))
        ]
        return labelled_heads(sources, folder, recipe.seed, callback.samples(part))
