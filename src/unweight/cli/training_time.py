"""How many steps of a training fit into a time, measured here."""

import os
import time
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from unweight.cli.train_options import with_steps
from unweight.learn.training.execution import Precision, PrecisionChoice
from unweight.learn.training.loop import train
from unweight.learn.training.recipe import Recipe
from unweight.learn.training.trainable import BaseNetwork, Batches, new_task

MEASURED_SECONDS, MOST_MEASURED = 4.0, 256
LEAST_STEPS = 100


def with_time(
    recipe: Recipe[Any, Any],
    base: BaseNetwork | None,
    batches: Batches,
    device: torch.device,
    minutes: float,
    precision: Precision = Precision.AUTO,
) -> Recipe[Any, Any]:
    """Return the recipe with as many steps as fit into these minutes here, in hundreds.

    Args:
        recipe: What is trained.
        base: The network whose residual is learned, where one is.
        batches: A few of them are enough.
        device: Where to train.
        minutes: Of the training alone.
        precision: Of the losses.
    """
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
    wanted = 60 * minutes / (seconds / count)
    return with_steps(recipe, max(LEAST_STEPS, 100 * round(wanted / 100)))


def n_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
