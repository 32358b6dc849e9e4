"""The T1 methods that can be compared, by name, and what each costs in evaluations of its network."""

from collections.abc import Sequence
from pathlib import Path

from unweight.benchmark.core.methods import built_methods
from unweight.core.acquisition import Acquisition
from unweight.core.estimator import Estimator
from unweight.learn.t1.network_t1 import NetworkT1
from unweight.learn.t1.posterior import PosteriorT1
from unweight.registry import compared

FAMILY = "t1"
FIT = next(item.name for item in compared(FAMILY) if not item.learned)


def t1_methods(
    names: Sequence[str] | None = None,
    weights: Path | None = None,
    *,
    n_draws: int | None = None,
    n_steps: int | None = None,
) -> dict[str, Estimator[Acquisition]]:
    """Return estimators by name.

    Args:
        names: Of the registry; None for all that there are weights for.
        weights: Folder of the weights; None for those that come with the package.
        n_draws: Of the diffusor, instead of what its card says.
        n_steps: Likewise.

    Raises:
        UsageError: There is no such method, or the diffusor cannot draw so often.
        InputError: A method asked for by name has no weights, or weights are damaged.
    """
    built = built_methods(FAMILY, names, weights, "T1 method")
    return {name: _drawing(estimator, n_draws, n_steps) for name, estimator in built.items()}


def evaluations_per_slice(estimator: Estimator[Acquisition]) -> int:
    """Return how often the network is evaluated for one slice; 0 for what has none."""
    if isinstance(estimator, NetworkT1):
        return estimator.evaluations_per_slice
    return 1 if isinstance(estimator, PosteriorT1) else 0


def default_method(methods: Sequence[str]) -> str:
    """Return the method a user gets who names none: the posterior, else the fit, else the first."""
    return next((name for name in ("posterior", FIT) if name in methods), methods[0])


def _drawing(
    estimator: Estimator[Acquisition], n_draws: int | None, n_steps: int | None
) -> Estimator[Acquisition]:
    return estimator.drawing(n_draws, n_steps) if isinstance(estimator, NetworkT1) else estimator
