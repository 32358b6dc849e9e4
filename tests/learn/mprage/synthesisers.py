"""What synthesises images with a network, without files."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from unweight.learn.mprage.methods import EchoMethod, SynthesisOptions
from unweight.learn.mprage.synthesis import Synthesiser
from unweight.learn.training.recipe import Recipe
from unweight.learn.training.trainable import BaseNetwork, trainable


def synthesiser_of(
    recipe: Recipe[Any, Any],
    network: nn.Module,
    calibration: Mapping[str, Any],
    *,
    base: BaseNetwork | None = None,
    **options: Any,
) -> Synthesiser:
    """Return what synthesises images with a network."""
    method = trainable(recipe.method)
    assert isinstance(method, EchoMethod)
    given = SynthesisOptions(base=None if base is None else base.network, **options)
    return method.synthesiser(recipe, network, calibration, given)
