"""Which estimator maps a series, and how it is told in the sidecars."""

import argparse
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
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
OF_THE_FIT = ("efficiency", "efficiency_range", "pulse_efficiency")


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


def method_for(acquisition: Acquisition, arguments: argparse.Namespace) -> T1Method:
    """Return the method that was asked for; by default the posterior where it was trained for the series.

    Raises:
        UsageError: Options of the fit are given to another method.
        InputError: The weights are absent or damaged.
    """
    used = [name for name in OF_THE_FIT if getattr(arguments, name) not in (None, False)]
    if arguments.method == AUTO:
        if used:
            return fitted_method(arguments, f"--{used[0].replace('_', '-')} is given")
        chosen = _preferred(arguments)
        if chosen is None:
            return fitted_method(arguments, "there are no weights for the posterior")
        try:
            chosen.estimator.accept(acquisition)
        except ProtocolError as error:
            return fitted_method(arguments, error.problem)
        return chosen
    asked = method(arguments.method, FAMILY)
    if _is_fit(asked):
        return fitted_method(arguments, "")
    if used:
        raise UsageError(
            f"--{used[0].replace('_', '-')} belongs to the maximum-likelihood fit",
            remedy="Leave it out, or use --method ml.",
        )
    return _method(asked, arguments)


def check_method(arguments: argparse.Namespace) -> None:
    """Look at settings and weights before any series is read.

    Raises:
        UsageError: A setting is impossible.
        InputError: The weights asked for are absent or damaged.
    """
    fit_from(arguments)
    if arguments.method == AUTO:
        _preferred(arguments)
    else:
        _method(method(arguments.method, FAMILY), arguments)


def fit_from(arguments: argparse.Namespace) -> InversionRecoveryFit:
    """Configure the fit from the command line."""
    low, high = arguments.efficiency_range or (B.lower, B.upper)
    if arguments.efficiency is not None and not B.lower <= arguments.efficiency <= B.upper:
        raise UsageError(
            f"an inversion efficiency of {arguments.efficiency:g} is not possible",
            remedy=f"Give B = 1 - cos(theta), between {B.lower:g} and {B.upper:g}; 2 is complete.",
        )
    if arguments.efficiency is not None and arguments.efficiency_range is not None:
        raise UsageError("--efficiency and --efficiency-range exclude each other")
    complete = None if arguments.pulse_efficiency else 2.0
    return InversionRecoveryFit(complete=complete, b_range=(low, high))


def fitted_method(arguments: argparse.Namespace, reason: str) -> T1Method:
    """Return the maximum-likelihood fit, with the reason for it where the user did not choose."""
    fit, record = fit_from(arguments), next(item for item in methods(FAMILY) if _is_fit(item))
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


def _preferred(arguments: argparse.Namespace) -> T1Method | None:
    """Return the first learned method, if its weights are there."""
    record = next(item for item in methods(FAMILY) if item.learned)
    return _method(record, arguments) if record.weights in available(arguments.weights) else None


def _method(record: Method, arguments: argparse.Namespace) -> T1Method:
    if not record.learned:
        return T1Method(
            estimator=build(record),
            name=record.name,
            algorithm=record.algorithm,
            reference=record.reference,
            settings={"Method": record.name},
        )
    estimator, card = load(record.target)(record.weights, arguments.weights)
    if isinstance(estimator, NetworkT1):
        estimator = estimator.drawing(arguments.draws or None, arguments.steps or None)
    if isinstance(estimator, PosteriorT1) and arguments.draws:
        estimator = with_draws(estimator, arguments.draws, arguments.weights)
    fit = estimator.fit if isinstance(estimator, PosteriorT1) else None
    return T1Method(
        estimator=estimator,
        name=record.name,
        algorithm=record.algorithm,
        reference=record.reference,
        settings={
            "Method": record.name,
            **({} if fit is None else asdict(fit)),
            "Weights": _told(card),
        },
    )


def _told(card: Card) -> dict[str, object]:
    return {
        "Name": card.name,
        "Version": card.version,
        "Preset": card.preset,
        "SHA256": card.sha256,
        "TrainedOn": card.trained_on,
    }
