"""Very short trainings of every trainable network, whose weights are compared between versions."""

import hashlib
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import final
from unittest.mock import patch

import torch
from torch import Tensor

from tests.learn.lessons import head, narrow
from tests.learn.mprage.test_trainer import pair
from unweight.core.estimator import Progress
from unweight.learn.mprage.assemble import T1wBase, t1w_task
from unweight.learn.mprage.trainer import PairParts, teach_pairs
from unweight.learn.t1.posterior_task import posterior_config
from unweight.learn.t1.slabs import SlabRecipe
from unweight.learn.training.assemble import task_of
from unweight.learn.training.loop import Step
from unweight.learn.training.model_card import Card
from unweight.learn.training.precision import PrecisionChoice
from unweight.learn.training.presets import recipe_for
from unweight.learn.training.recipe import (
    DIFFUSOR,
    FROM_PAIRS,
    POSTERIOR,
    RESIDUAL,
    T1W,
    T1W_UNET,
    Recipe,
)
from unweight.learn.training.trainer import SILENCE, Base, Heads, Listener, teach
from unweight.nets.unet import UNet

CPU = torch.device("cpu")
N_HELD_OUT = (2, 4)  # slabs to score and to calibrate on


def short_recipe(method: str) -> Recipe:
    """Return four steps on two slabs, or on two tiny brains, in float32."""
    recipe = recipe_for(method, "cpu")
    plan = replace(
        recipe.plan, n_steps=4, batch_size=2, warm_up=1, check_every=4, save_every=2, bfloat16=False
    )
    network = posterior_config((8, 8)) if method == POSTERIOR else narrow(recipe.network)
    slabs = recipe.slabs
    if method not in FROM_PAIRS:
        slabs = replace(slabs, size=24)
    if isinstance(slabs, SlabRecipe):
        slabs = replace(slabs, specks=False)
    return replace(recipe, slabs=slabs, n_slabs=2, patch=16, network=network, plan=plan)


class StoppedError(Exception):
    """The training was stopped on purpose."""


@final
@dataclass
class StopAt(Listener):
    """Keeps the steps it is called with, and stops the training at one of them."""

    stop: int | None = None
    steps: list[Step] = field(default_factory=list)

    def making(self, what: str) -> Progress | None:
        return None

    def precision(self, choices: tuple[PrecisionChoice, ...]) -> None:
        return

    def step(self, step: Step) -> None:
        self.steps.append(step)
        if step.step == self.stop:
            raise StoppedError


@cache
def base_of(method: str) -> UNet:
    """Return an untrained network whose residual is learned."""
    task = t1w_task(short_recipe(method)) if method in FROM_PAIRS else task_of(short_recipe(method))
    assert isinstance(task.network, UNet)
    return task.network.eval()


def trained(
    method: str, folder: Path | None = None, report: Listener = SILENCE
) -> tuple[dict[str, Tensor], Card]:
    """Train a network, and return its weights and card."""
    recipe = short_recipe(method)
    if method in FROM_PAIRS:
        parts = PairParts(train=(pair("a"), pair("b")), validation=(pair("c"),))
        base = T1wBase(network=base_of(T1W_UNET), sha256="1" * 64) if method == T1W else None
        learned = teach_pairs(recipe, parts, device=CPU, folder=folder, report=report, base=base)
    else:
        heads = Heads(train=(head("a"),), validation=(head("b"),))
        posterior = Base(network=base_of(POSTERIOR), sha256="1" * 64) if method == RESIDUAL else None
        held_out = (N_HELD_OUT[0], 0) if method == DIFFUSOR else N_HELD_OUT
        with (
            patch("unweight.learn.training.trainer.held_out", lambda _: held_out),
            patch("unweight.learn.weighted.protocol_range.N_DRAWS", 100),
        ):
            learned = teach(recipe, heads, device=CPU, folder=folder, report=report, base=posterior)
    assert learned is not None
    return learned


def digest_of(tensors: dict[str, Tensor]) -> str:
    """Return the SHA-256 over names and bytes."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].contiguous().numpy().tobytes())
    return digest.hexdigest()
