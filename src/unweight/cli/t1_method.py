"""Which estimator maps a series, and how it is told in the sidecars."""

import argparse
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType
from typing import final

from unweight.cli.catalogue import T1_METHODS
from unweight.core.acquisition import Acquisition
from unweight.core.errors import ProtocolError, UsageError
from unweight.core.estimator import Estimator
from unweight.fit.inversion_recovery import InversionRecoveryFit
from unweight.learn.t1.diffusor import DiffusorT1
from unweight.learn.t1.posterior import PosteriorT1
from unweight.learn.training.assemble import load_estimator, with_draws
from unweight.learn.training.model_card import Card
from unweight.learn.training.weights import available
from unweight.signals.parameters import B

FITTED = (
    "Maximum likelihood over every polarity by variable projection; standard deviations from the "
    "Cramer-Rao bound at the estimated noise"
)
FIT_REFERENCE = (
    "Barral et al., Magn Reson Med 64:1057 (2010); Golub and Pereyra, SIAM J Numer Anal 10:413 (1973)"
)
# Weights, what was done, and where it is described.
LEARNED = {
    "posterior": (
        "t1-posterior",
        "Posterior median by a network that sees the maximum-likelihood fit and its likelihood, "
        "trained on simulated scenes; conformal 90 % intervals",
        "Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, Springer (2005)",
    ),
    "diffusor": (
        "t1-diffusor",
        "Mean and standard deviation of draws of a conditional diffusion model trained on simulated brains",
        "Wang et al., qMRI Diffusor, arXiv 2407.16477",
    ),
    "rim": (
        "t1-rim",
        "Recurrent inference machine trained on simulated brains; standard deviations from validation",
        "Sabidussi et al., Medical Image Analysis 74:102220 (2021)",
    ),
    "resnet": (
        "t1-resnet",
        "Residual network trained on simulated brains; standard deviations from validation",
        "Wang et al., qMRI Diffusor, arXiv 2407.16477",
    ),
}
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
    wish = arguments.method
    used = [name for name in OF_THE_FIT if getattr(arguments, name) not in (None, False)]
    if wish == "ml" or (wish == "auto" and used):
        return fitted_method(arguments, "" if wish == "ml" else f"--{used[0].replace('_', '-')} is given")
    if used:
        raise UsageError(
            f"--{used[0].replace('_', '-')} belongs to the maximum-likelihood fit",
            remedy="Leave it out, or use --method ml.",
        )
    if wish != "auto":
        return _learned(wish, arguments)
    if LEARNED["posterior"][0] not in available(arguments.weights):
        return fitted_method(arguments, "there are no weights for the posterior")
    chosen = _learned("posterior", arguments)
    try:
        chosen.estimator.accept(acquisition)
    except ProtocolError as error:
        return fitted_method(arguments, error.problem)
    return chosen


def check_method(arguments: argparse.Namespace) -> None:
    """Look at settings and weights before any series is read.

    Raises:
        UsageError: A setting is impossible.
        InputError: The weights asked for are absent or damaged.
    """
    fit_from(arguments)
    if arguments.method in LEARNED:
        _learned(arguments.method, arguments)
    elif arguments.method == "auto" and LEARNED["posterior"][0] in available(arguments.weights):
        _learned("posterior", arguments)


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
    fit = fit_from(arguments)
    return T1Method(
        estimator=fit,
        name="ml",
        algorithm=FITTED,
        reference=FIT_REFERENCE,
        settings={"Method": "ml", **({"Reason": reason} if reason else {}), **asdict(fit)},
        reason=reason,
    )


def _learned(wish: str, arguments: argparse.Namespace) -> T1Method:
    if wish not in T1_METHODS:
        raise UsageError(f"no method is called {wish}", remedy=f"There are {', '.join(T1_METHODS)}.")
    name, algorithm, reference = LEARNED[wish]
    estimator, card = load_estimator(name, arguments.weights)
    if isinstance(estimator, DiffusorT1):
        estimator = replace(
            estimator,
            n_draws=arguments.draws or estimator.n_draws,
            n_steps=arguments.steps or estimator.n_steps,
        )
    if isinstance(estimator, PosteriorT1) and arguments.draws:
        estimator = with_draws(estimator, arguments.draws, arguments.weights)
    fit = estimator.fit if isinstance(estimator, PosteriorT1) else None
    return T1Method(
        estimator=estimator,
        name=wish,
        algorithm=algorithm,
        reference=reference,
        settings={
            "Method": wish,
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
