"""One training from beginning to end: data, network, error bars, card.

Under torchrun every process draws from its share of the samples; the first alone scores, calibrates and
writes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from unweight.files.text_files import parse_json, read_text
from unweight.learn.training.execution import (
    Precision,
    PrecisionChoice,
    current_rank,
    describe_precision,
)
from unweight.learn.training.loop import (
    LARGEST_LOG,
    LOG,
    NULL_CALLBACK,
    Step,
    TrainingCallback,
    train,
)
from unweight.learn.training.model_card import Card, CardText
from unweight.learn.training.recipe import Recipe
from unweight.learn.training.trainable import (
    Assessment,
    BaseNetwork,
    TrainingData,
    new_task,
    trainable,
)
from unweight.learn.training.weights import fill


def train_model(
    recipe: Recipe[Any, Any],
    data: TrainingData,
    *,
    device: torch.device,
    precision: Precision = Precision.AUTO,
    folder: Path | None = None,
    callback: TrainingCallback = NULL_CALLBACK,
    start: Mapping[str, Tensor] | None = None,
    base: BaseNetwork | None = None,
) -> tuple[dict[str, Tensor], Card] | None:
    """Train, calibrate and describe a network.

    Args:
        recipe: What to train.
        data: What to train and to score on.
        device: Where to train; under torchrun `cuda` becomes the device of the process.
        precision: Of the losses; `auto` is the faster one.
        folder: Where snapshot and log are kept; a training in it is resumed.
        callback: Called as it proceeds, in the first process only.
        start: Weights to start from instead of random ones.
        base: The network whose residual is learned, where the method learns one.

    Returns:
        Weights and their card; None in all processes but the first.

    Raises:
        UsageError: The recipe cannot be followed, or the folder holds another training.
        InputError: `start` is of another network, or a file in the folder is damaged.
        OutputError: The folder cannot be written to.
    """
    task = new_task(recipe, base)
    if start is not None:
        fill(task.network, start)
    method = trainable(recipe.method)
    validator = method.validator(recipe, data, base) if current_rank().rank == 0 else None
    clock = _Clock(callback=callback)
    tensors = train(
        task,
        data.batches(recipe),
        recipe.plan,
        seed=recipe.seed,
        device=device,
        precision=precision,
        folder=folder,
        check=None if validator is None else validator.check,
        report=clock.step,
        announce=clock.announce,
    )
    if validator is None:
        return None
    fill(task.network, tensors)
    assessment = validator.assess(task.network.eval(), data.calibration(recipe))
    seconds = clock.seconds or _logged_seconds(folder)
    text = method.card_text(recipe, data)
    card = card_of(recipe, text, assessment, base=base, seconds=seconds, precision=clock.precision)
    return tensors, card


def card_of(
    recipe: Recipe[Any, Any],
    text: CardText,
    assessment: Assessment,
    *,
    base: BaseNetwork | None = None,
    seconds: float = 0.0,
    precision: str = "",
) -> Card:
    """Return the card of freshly trained weights."""
    origin = {} if base is None else {"base": base.sha256}
    return Card(
        name=recipe.method,
        version=1,
        summary=text.summary,
        intended_use=text.intended_use,
        limits=text.limits,
        preset=recipe.preset,
        trained_on=text.trained_on,
        seed=recipe.seed,
        recipe=recipe.to_plain(),
        ranges=text.ranges,
        calibration={**assessment.calibration, **origin},
        metrics=assessment.metrics,
        seconds=round(seconds, 3),
        precision=precision,
    )


@final
@dataclass(kw_only=True)
class _Clock:
    """Keeps how long the training has taken and in what precision, and passes it on."""

    callback: TrainingCallback
    seconds: float = field(default=0.0)
    precision: str = field(default="")

    def announce(self, choices: tuple[PrecisionChoice, ...]) -> None:
        self.precision = describe_precision(choices)
        self.callback.precision(choices)

    def step(self, step: Step) -> None:
        self.seconds = step.seconds
        self.callback.step(step)


def _logged_seconds(folder: Path | None) -> float:
    """Return how long a training took that was already complete."""
    path = None if folder is None else folder / LOG
    if path is None or not path.exists():
        return 0.0
    lines = read_text(path, LARGEST_LOG).splitlines()
    return float(parse_json(lines[-1])["seconds"]) if lines else 0.0
