"""The methods that turn weighted images into T1, T2 and PD, by name."""

from collections.abc import Sequence
from pathlib import Path

from unweight.benchmark.core.methods import built_methods
from unweight.core.estimator import Estimator
from unweight.core.examination import WeightedImageSet

FAMILY = "weighted"


def maps_methods(
    names: Sequence[str] | None = None, weights: Path | None = None
) -> dict[str, Estimator[WeightedImageSet]]:
    """Return estimators by name.

    Args:
        names: Of the registry; None for all that there are weights for.
        weights: Folder of the weights; None for those that come with the package.

    Raises:
        UsageError: There is no such method.
        InputError: Its weights are absent or damaged.
    """
    return built_methods(FAMILY, names, weights, "method for maps")
