"""Which estimator maps an inversion-recovery series, and how sidecars describe it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import final

from unweight.core.acquisition import Acquisition
from unweight.core.errors import ProtocolError, UsageError
from unweight.core.estimator import Estimator
from unweight.fit.inversion_recovery import InversionRecoveryFit
from unweight.learn.t1.network_t1 import NetworkT1
from unweight.learn.t1.posterior import PosteriorT1, with_draws
from unweight.learn.training.model_card import Card
from unweight.learn.training.weights import available
from unweight.registry import build, load, method, methods
from unweight.registry.records import Method
from unweight.signals.parameters import B

AUTO, FAMILY = "auto", "t1"
COMPLETE = 2.0


@final
@dataclass(frozen=True, kw_only=True)
class T1Choice:
    """What a caller says about the method.

    Attributes:
        method: Of the registry, or `auto`.
        weights: Folder of weights; None for those of the package.
        draws: Maps to draw, of the posterior or the diffusor.
        steps: Of each draw of the diffusor.
        efficiency: Inversion efficiency to hold.
        efficiency_range: In which it is searched.
        pulse_efficiency: Whether the TR term follows it.
    """

    method: str = AUTO
    weights: Path | None = None
    draws: int | None = None
    steps: int | None = None
    efficiency: float | None = None
    efficiency_range: tuple[float, float] | None = None
    pulse_efficiency: bool = False

    def fit_options(self) -> tuple[str, ...]:
        """Return the options given that belong to the maximum-likelihood fit."""
        given = {
            "--efficiency": self.efficiency is not None,
            "--efficiency-range": self.efficiency_range is not None,
            "--pulse-efficiency": self.pulse_efficiency,
        }
        return tuple(name for name, is_given in given.items() if is_given)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class T1Method:
    """An estimator for one series.

    Attributes:
        estimator: What maps it.
        name: As `--method` knows it.
        algorithm: What it does, in a sentence.
        reference: Where it is described.
        settings: Its configuration, as plain values.
        reason: Why it was chosen, if the user did not choose.
    """

    estimator: Estimator[Acquisition]
    name: str
    algorithm: str
    reference: str
    settings: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    reason: str = ""


def method_for(acquisition: Acquisition, choice: T1Choice) -> T1Method:
    """Return the method that was asked for; by default the posterior where it was trained for the series.

    Raises:
        UsageError: Options of the fit are given to another method.
        InputError: The weights are absent or damaged.
    """
    used = choice.fit_options()
    if choice.method == AUTO:
        if used:
            return fitted_method(choice, f"{used[0]} is given")
        preferred = _preferred(choice)
        if preferred is None:
            return fitted_method(choice, "there are no weights for the posterior")
        try:
            preferred.estimator.accept(acquisition)
        except ProtocolError as error:
            return fitted_method(choice, error.problem)
        return preferred
    record = method(choice.method, FAMILY)
    if _is_fit(record):
        return fitted_method(choice, "")
    if used:
        raise UsageError(
            f"{used[0]} applies only to the maximum-likelihood fit",
            remedy="Omit it, or use --method ml.",
        )
    return _method(record, choice)


def check_method(choice: T1Choice) -> None:
    """Look at settings and weights before any series is read.

    Raises:
        UsageError: A setting is impossible.
        InputError: The weights asked for are absent or damaged.
    """
    fit_from(choice)
    if choice.method == AUTO:
        _preferred(choice)
    else:
        _method(method(choice.method, FAMILY), choice)


def fit_from(choice: T1Choice) -> InversionRecoveryFit:
    """Configure the fit.

    Raises:
        UsageError: A setting is impossible.
    """
    low, high = choice.efficiency_range or (B.lower, B.upper)
    if choice.efficiency is not None and not B.lower <= choice.efficiency <= B.upper:
        raise UsageError(
            f"an inversion efficiency of {choice.efficiency:g} is not possible",
            remedy=f"Give B = 1 - cos(theta), between {B.lower:g} and {B.upper:g}; 2 is a perfect "
            "inversion.",
        )
    if choice.efficiency is not None and choice.efficiency_range is not None:
        raise UsageError(
            "--efficiency and --efficiency-range cannot be combined", remedy="Give one of them."
        )
    complete = None if choice.pulse_efficiency else COMPLETE
    return InversionRecoveryFit(complete=complete, b_range=(low, high))


def fitted_method(choice: T1Choice, reason: str) -> T1Method:
    """Return the maximum-likelihood fit, with the reason for it where the user did not choose."""
    fit, record = fit_from(choice), next(item for item in methods(FAMILY) if _is_fit(item))
    return T1Method(
        estimator=fit,
        name=record.name,
        algorithm=record.algorithm,
        reference=record.reference,
        settings={"Method": record.name, **({"Reason": reason} if reason else {}), **asdict(fit)},
        reason=reason,
    )


def _is_fit(record: Method) -> bool:
    """Whether a method is the maximum-likelihood fit, to which the options of the fit belong."""
    return load(record.target) is InversionRecoveryFit


def _preferred(choice: T1Choice) -> T1Method | None:
    """Return the first learned method, if its weights are there."""
    record = next(item for item in methods(FAMILY) if item.learned)
    return _method(record, choice) if record.weights in available(choice.weights) else None


def _method(record: Method, choice: T1Choice) -> T1Method:
    if not record.learned:
        return T1Method(
            estimator=build(record),
            name=record.name,
            algorithm=record.algorithm,
            reference=record.reference,
            settings={"Method": record.name},
        )
    estimator, card = load(record.target)(record.weights, choice.weights)
    if isinstance(estimator, NetworkT1):
        estimator = estimator.drawing(choice.draws or None, choice.steps or None)
    if isinstance(estimator, PosteriorT1) and choice.draws:
        estimator = with_draws(estimator, choice.draws, choice.weights)
    fit = estimator.fit if isinstance(estimator, PosteriorT1) else None
    return T1Method(
        estimator=estimator,
        name=record.name,
        algorithm=record.algorithm,
        reference=record.reference,
        settings={
            "Method": record.name,
            **({} if fit is None else asdict(fit)),
            "Weights": _facts_of(card),
        },
    )


def _facts_of(card: Card) -> dict[str, object]:
    return {
        "Name": card.name,
        "Version": card.version,
        "Preset": card.preset,
        "SHA256": card.sha256,
        "TrainedOn": card.trained_on,
    }
