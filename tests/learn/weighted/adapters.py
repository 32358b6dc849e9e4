"""What each network of weighted images gets of a batch."""

from unweight.learn.training.trainable import trainable
from unweight.learn.weighted.methods import WeightedMethod
from unweight.learn.weighted.task import InputAdapter


def adapter_of(name: str) -> InputAdapter:
    """Return the adapter of a method."""
    method = trainable(name)
    assert isinstance(method, WeightedMethod)
    return method.adapter
