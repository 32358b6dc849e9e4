"""How many samples and steps of a training fit into a time, measured here.

`--minutes` is the time of the whole command. Simulation of samples gets at most `SIMULATION_SHARE` of it,
checks during the training at most `CHECK_SHARE` of what is then left, and the final assessment what it
needs.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, final

import torch

from unweight.cli.training.options import CHECKS, with_steps
from unweight.learn.training.execution import Precision, PrecisionChoice
from unweight.learn.training.loop import train
from unweight.learn.training.recipe import Recipe
from unweight.learn.training.trainable import BaseNetwork, Batches, TrainingData, new_task, trainable

MEASURED_SECONDS, MOST_MEASURED = 4.0, 256
LEAST_STEPS = 100
SIMULATION_SHARE, CHECK_SHARE = 0.4, 0.15
FEWEST_CHECKS = 2
FEW = 16  # samples on which the assessment is timed


@final
@dataclass(frozen=True, kw_only=True)
class ScoringTime:
    """How long scoring takes.

    Attributes:
        check: A check during the training [s].
        assessment: Calibration and scores at the end [s].
    """

    check: float
    assessment: float

    def n_checks(self, seconds: float) -> int:
        """Return how many checks a training of these seconds can afford."""
        affordable = int(CHECK_SHARE * max(0.0, seconds) / max(self.check, 1e-6))
        return min(CHECKS, max(FEWEST_CHECKS, affordable))


def scoring_time(
    recipe: Recipe[Any, Any], data: TrainingData, base: BaseNetwork | None, device: torch.device
) -> ScoringTime:
    """Time the scoring of an untrained network; samples that are not there yet are computed.

    Args:
        recipe: What is trained.
        data: What it is scored on.
        base: The network whose residual is learned, where one is.
        device: Where to train.
    """
    network = new_task(recipe, base).network.to(device).eval()
    validator = trainable(recipe.method).validator(recipe, data, base)
    samples = data.calibration(recipe)
    with torch.no_grad():
        check = _seconds(partial(validator.check, network))
        if samples is None:
            return ScoringTime(check=check, assessment=_seconds(partial(validator.assess, network, None)))
        n = len(next(iter(samples.values())))
        few = {name: tensor[:FEW] for name, tensor in samples.items()}
        seconds = _seconds(partial(validator.assess, network, few))
    return ScoringTime(check=check, assessment=seconds * max(1.0, n / FEW))


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def with_checks(recipe: Recipe[Any, Any], n: int) -> Recipe[Any, Any]:
    """Return the recipe with at most so many checks during the training."""
    pause = max(recipe.plan.check_every, -(-recipe.plan.n_steps // n))
    return replace(recipe, plan=replace(recipe.plan, check_every=pause))


def with_time(
    recipe: Recipe[Any, Any],
    base: BaseNetwork | None,
    batches: Batches,
    device: torch.device,
    minutes: float,
    precision: Precision = Precision.AUTO,
) -> Recipe[Any, Any]:
    """Return the recipe with as many steps as fit into these minutes here, in tens.

    Args:
        recipe: What is trained.
        base: The network whose residual is learned, where one is.
        batches: A few of them are enough.
        device: Where to train.
        minutes: Of the steps, and of their timing here.
        precision: Of the losses.
    """
    start = time.perf_counter()
    taken: list[tuple[PrecisionChoice, ...]] = []
    count, seconds = 1, 0.0
    while seconds < MEASURED_SECONDS and count < MOST_MEASURED:
        count *= 4
        plan = replace(with_steps(recipe, count).plan, check_every=count, save_every=count)
        task = new_task(recipe, base)
        go = partial(train, task, batches, plan, seed=recipe.seed, device=device)
        go(precision=precision, announce=taken.append)  # the first pass also warms up
        precision = taken[-1][-1].precision  # a trial is made once
        began = time.perf_counter()
        go(precision=precision)
        seconds = time.perf_counter() - began
    wanted = (60 * minutes - (time.perf_counter() - start)) / (seconds / count)
    return with_steps(recipe, max(LEAST_STEPS, 10 * round(wanted / 10)))
