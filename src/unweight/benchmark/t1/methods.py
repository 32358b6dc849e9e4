"""The T1 methods that can be compared, by name, and what each costs in evaluations of its network."""

from collections.abc import Sequence
from pathlib import Path

from unweight.core.acquisition import Acquisition
from unweight.core.errors import UsageError
from unweight.core.estimator import Estimator
from unweight.fit.inversion_recovery import InversionRecoveryFit
from unweight.learn.t1.network_t1 import NetworkT1
from unweight.learn.t1.posterior import PosteriorT1
from unweight.learn.training.trainable import load_estimator
from unweight.learn.training.weights import available

FIT = "ml"
WEIGHTS = {
    "posterior": "t1-posterior",
    "resnet": "t1-resnet",
    "rim": "t1-rim",
    "diffusor": "t1-diffusor",
}
METHODS = (FIT, *WEIGHTS)


def t1_methods(
    names: Sequence[str] | None = None,
    weights: Path | None = None,
    *,
    n_draws: int | None = None,
    n_steps: int | None = None,
) -> dict[str, Estimator[Acquisition]]:
    """Return estimators by name.

    Args:
        names: Some of METHODS; None for all that there are weights for.
        weights: Folder of the weights; None for those that come with the package.
        n_draws: Of the diffusor, instead of what its card says.
        n_steps: Likewise.

    Raises:
        UsageError: There is no such method, or the diffusor cannot draw so often.
        InputError: A method asked for by name has no weights, or weights are damaged.
    """
    unknown = [name for name in names or () if name not in METHODS]
    if unknown or (names is not None and not names):
        raise UsageError(
            f"no T1 method called {', '.join(unknown) or 'nothing'}",
            remedy=f"There are {', '.join(METHODS)}.",
        )
    there = available(weights)
    wanted = names
    if wanted is None:
        wanted = [name for name in METHODS if name == FIT or WEIGHTS[name] in there]
    methods: dict[str, Estimator[Acquisition]] = {}
    for name in wanted:
        estimator: Estimator[Acquisition] = InversionRecoveryFit()
        if name != FIT:
            estimator, _ = load_estimator(WEIGHTS[name], weights)
        methods[name] = _drawing(estimator, n_draws, n_steps)
    return methods


def without_weights(weights: Path | None = None) -> tuple[str, ...]:
    """Return the methods that there are no weights for."""
    there = available(weights)
    return tuple(name for name, stored in WEIGHTS.items() if stored not in there)


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
