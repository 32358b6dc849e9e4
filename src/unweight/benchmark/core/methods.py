"""The methods that a benchmark compares: those of the registry, with their weights."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unweight.core.errors import UsageError
from unweight.learn.training.weights import available
from unweight.registry import build, compared


def built_methods(
    family: str, names: Sequence[str] | None, weights: Path | None, what: str
) -> dict[str, Any]:
    """Return the methods of a family by name, learned ones with their weights.

    Args:
        family: Of methods.
        names: Of the registry; None for all that need no weights or have them.
        weights: Folder of the weights; None for those that come with the package.
        what: What a method is called in a message.

    Raises:
        UsageError: There is no such method.
        InputError: A method asked for by name has no weights, or weights are damaged.
    """
    records = {item.name: item for item in compared(family)}
    if names is None:
        absent = without_weights(family, weights)
        names = [name for name in records if name not in absent]
    unknown = [name for name in names if name not in records]
    if unknown or not names:
        raise UsageError(
            f"no {what} called {', '.join(unknown) or 'nothing'}", remedy=f"There are {', '.join(records)}."
        )
    return {name: build(records[name], weights) for name in names}


def without_weights(family: str, weights: Path | None = None) -> tuple[str, ...]:
    """Return the methods of a family that there are no weights for."""
    stored = available(weights)
    return tuple(item.name for item in compared(family) if item.learned and item.weights not in stored)
