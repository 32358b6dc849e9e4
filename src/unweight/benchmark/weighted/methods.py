"""The methods that turn weighted images into T1, T2 and PD, by name."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from unweight.core.errors import UsageError
from unweight.core.estimator import Estimator
from unweight.core.examination import WeightedImageSet
from unweight.learn.training.trainable import load_estimator
from unweight.learn.training.weights import available
from unweight.learn.weighted.physics_maps import PhysicsMaps

PHYSICS = "physics"
WEIGHTS: Mapping[str, str] = MappingProxyType(
    {
        "unet": "maps-unet",
        "pgan": "maps-pgan",
        "no-embedding": "maps-no-embedding",
        "embedding": "maps",
    }
)
MAPS_COMPARED = (PHYSICS, *WEIGHTS)


def maps_methods(
    names: Sequence[str] = MAPS_COMPARED, weights: Path | None = None
) -> dict[str, Estimator[WeightedImageSet]]:
    """Return estimators by name.

    Args:
        names: Some of MAPS_COMPARED.
        weights: Folder of the weights; None for those that come with the package.

    Raises:
        UsageError: There is no such method.
        InputError: Its weights are absent or damaged.
    """
    unknown = [name for name in names if name not in MAPS_COMPARED]
    if unknown or not names:
        raise UsageError(
            f"no method for maps called {', '.join(unknown) or 'nothing'}",
            remedy=f"There are {', '.join(MAPS_COMPARED)}.",
        )
    return {
        name: PhysicsMaps() if name == PHYSICS else load_estimator(WEIGHTS[name], weights)[0]
        for name in names
    }


def maps_without_weights(weights: Path | None = None) -> tuple[str, ...]:
    """Return the methods that cannot run for want of weights."""
    there = available(weights)
    return tuple(name for name, needed in WEIGHTS.items() if needed not in there)
