"""Very short trainings of every trainable network, whose weights are compared between versions."""

import hashlib
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, final
from unittest.mock import patch

import torch
from torch import Tensor

from tests.learn.lessons import head, narrow
from tests.learn.pairs.brains import pair
from tests.synth.anatomy.balls import ball_head
from unweight.core.estimator import Progress
from unweight.learn.labelled_heads.data import HeadMethod
from unweight.learn.pairs.pair_data import PairData
from unweight.learn.t1.diffusor import PUBLISHED
from unweight.learn.t1.posterior_task import posterior_config
from unweight.learn.t1.slabs import SlabRecipe
from unweight.learn.training.execution import PrecisionChoice
from unweight.learn.training.loop import NULL_CALLBACK, Step, TrainingCallback
from unweight.learn.training.model_card import Card
from unweight.learn.training.recipe import Recipe
from unweight.learn.training.sample_cache import Heads, SlabData, SlabSource
from unweight.learn.training.trainable import (
    BaseNetwork,
    TrainingData,
    new_network,
    recipe_for,
    trainable,
)
from unweight.learn.training.trainer import train_model
from unweight.learn.weighted.slabs import WeightedSlabRecipe
from unweight.nets.normalisation import Normalisation
from unweight.nets.unet import UNet
from unweight.registry import trained_method, trained_methods

METHODS = tuple(record.weights for record in trained_methods())
CPU = torch.device("cpu")
N_HELD_OUT = (2, 4)  # slabs to score and to calibrate on


def short_recipe(method: str) -> Recipe[Any, Any]:
    """Return four steps on two slabs, or on two tiny brains, in float32."""
    recipe = recipe_for(method, "cpu")
    plan = replace(
        recipe.plan, n_steps=4, batch_size=2, warm_up=1, check_every=4, save_every=2, bfloat16=False
    )
    network = posterior_config((8, 8)) if method == "t1-posterior" else narrow(recipe.network)
    if method == "t1-diffusor":  # as it was when the record was made
        network, recipe = replace(network, norm=Normalisation.GROUP), replace(recipe, schedule=PUBLISHED)
    slabs = recipe.slabs
    if isinstance(trainable(method), SlabSource):
        slabs = replace(slabs, size=24)
    if isinstance(slabs, SlabRecipe):
        slabs = replace(slabs, specks=False)
    if isinstance(slabs, WeightedSlabRecipe):
        slabs = WeightedSlabRecipe(size=24)
    return replace(recipe, slabs=slabs, n_slabs=2, patch=16, network=network, plan=plan)


class StoppedError(Exception):
    """The training was stopped on purpose."""


@final
@dataclass
class StopAt(TrainingCallback):
    """Keeps the steps it is called with, and stops the training at one of them."""

    stop: int | None = None
    steps: list[Step] = field(default_factory=list)

    def samples(self, part: str) -> Progress | None:
        return None

    def precision(self, choices: tuple[PrecisionChoice, ...]) -> None:
        return

    def step(self, step: Step) -> None:
        self.steps.append(step)
        if step.step == self.stop:
            raise StoppedError


@cache
def base_of(method: str) -> BaseNetwork | None:
    """Return an untrained network whose residual a method learns, if it learns one."""
    needed = trained_method(method).base
    if not needed:
        return None
    network = new_network(short_recipe(needed)).eval()
    assert isinstance(network, UNet)
    return BaseNetwork(network=network, sha256="1" * 64)


def trained(
    method: str, folder: Path | None = None, callback: TrainingCallback = NULL_CALLBACK
) -> tuple[dict[str, Tensor], Card]:
    """Train a network, and return its weights and card."""
    source = trainable(method)
    data: TrainingData = PairData(train=(pair("a"), pair("b")), validation=(pair("c"),))
    held_out = (N_HELD_OUT[0], 0) if method == "t1-diffusor" else N_HELD_OUT
    with (
        patch.object(type(source), "held_out", lambda *_: held_out, create=True),
        patch("unweight.learn.weighted.protocol_range.N_DRAWS", 100),
    ):
        if isinstance(source, SlabSource):
            heads = Heads(train=(head("a"),), validation=(head("b"),))
            data = SlabData(source=source, heads=heads, folder=folder, callback=callback)
        if isinstance(source, HeadMethod):
            data = source.data((ball_head(),), (replace(ball_head(), subject="another"),))
        learned = train_model(
            short_recipe(method),
            data,
            device=CPU,
            folder=folder,
            callback=callback,
            base=base_of(method),
        )
    assert learned is not None
    return learned


def digest_of(tensors: dict[str, Tensor]) -> str:
    """Return the SHA-256 over names and bytes."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].contiguous().numpy().tobytes())
    return digest.hexdigest()
