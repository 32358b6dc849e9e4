"""The methods that turn weighted images into T1, T2 and PD, by name."""

from collections.abc import Sequence
from pathlib import Path

from unweight.core.errors import UsageError
from unweight.core.estimator import Estimator
from unweight.core.examination import WeightedImageSet
from unweight.learn.training.weights import available
from unweight.registry import build, compared

FAMILY = "weighted"


def maps_methods(
    names: Sequence[str] | None = None, weights: Path | None = None
) -> dict[str, Estimator[WeightedImageSet]]:
    """Return estimators by name.

    Args:
        names: Of the registry; None for all.
        weights: Folder of the weights; None for those that come with the package.

    Raises:
        UsageError: There is no such method.
        InputError: Its weights are absent or damaged.
    """
    records = {item.name: item for item in compared(FAMILY)}
    wanted = tuple(records) if names is None else names
    unknown = [name for name in wanted if name not in records]
    if unknown or not wanted:
        raise UsageError(
            f"no method for maps called {', '.join(unknown) or 'nothing'}",
            remedy=f"There are {', '.join(records)}.",
        )
    return {name: build(records[name], weights) for name in wanted}


def maps_without_weights(weights: Path | None = None) -> tuple[str, ...]:
    """Return the methods that cannot run for want of weights."""
    there = available(weights)
    return tuple(item.name for item in compared(FAMILY) if item.learned and item.weights not in there)
