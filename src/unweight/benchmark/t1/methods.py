"""The T1 methods that can be compared, by name, and what each costs in evaluations of its network."""

from collections.abc import Sequence
from pathlib import Path

from unweight.core.acquisition import Acquisition
from unweight.core.errors import UsageError
from unweight.core.estimator import Estimator
from unweight.learn.t1.network_t1 import NetworkT1
from unweight.learn.t1.posterior import PosteriorT1
from unweight.learn.training.weights import available
from unweight.registry import build, compared

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
    records = {item.name: item for item in compared(FAMILY)}
    unknown = [name for name in names or () if name not in records]
    if unknown or (names is not None and not names):
        raise UsageError(
            f"no T1 method called {', '.join(unknown) or 'nothing'}",
            remedy=f"There are {', '.join(records)}.",
        )
    absent = without_weights(weights)
    wanted = [name for name in records if name not in absent] if names is None else names
    return {name: _drawing(build(records[name], weights), n_draws, n_steps) for name in wanted}


def without_weights(weights: Path | None = None) -> tuple[str, ...]:
    """Return the methods that there are no weights for."""
    there = available(weights)
    return tuple(item.name for item in compared(FAMILY) if item.learned and item.weights not in there)


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
