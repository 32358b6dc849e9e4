"""Runs methods over sets and scores what they say.

All voxels with a value count, suspect ones too, so that no method gains by doubting itself; `usable` says
what share is not in doubt, and `missing` what share of those with a truth has no value. Standard deviations
are taken to the free scale by sd(ln T1) = sd(T1)/T1. Coverage says nothing of sharpness, so the stated
standard deviation is also compared with the Cramér–Rao bound of the fit (`sd_over_bound`) and, in spheres,
with the robust spread within (`sd_over_spread`); `median_in_90` is the share of intervals that hold the
median of the sphere.
"""

import math
import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unweight.benchmark.t1.methods import evaluations_per_slice
from unweight.benchmark.t1.sets import ALL, EXACT, TRUTH, TrialSet
from unweight.core.acquisition import Acquisition
from unweight.core.errors import ProtocolError
from unweight.core.estimator import Estimator, Progress
from unweight.core.maps import ParameterMaps
from unweight.fit.inversion_recovery import InversionRecoveryFit
from unweight.learn.training.conformal import GAUSSIAN
from unweight.metrics.accuracy import accuracy, grouped, median
from unweight.metrics.calibration import ROBUST, Prediction, grouped_calibration, interval_coverage
from unweight.metrics.contrast import recovered_contrast
from unweight.metrics.scores import Score, Subject, scores_by_group

Watch = Callable[[str], AbstractContextManager[Progress]]
INTERVAL_LEVEL = 0.9
SECONDS = {"mean": "s", "median": "s", "sd": "s"}


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Answer:
    """What one method said of one set.

    Attributes:
        method: Its name.
        maps: Of each trial.
        seconds: For a slice of each trial [s].
        n_evaluations: Of its network, for a slice.
    """

    method: str
    maps: tuple[ParameterMaps, ...]
    seconds: tuple[float, ...]
    n_evaluations: int


@final
@dataclass(frozen=True, kw_only=True)
class Refusal:
    """A method that cannot work on a set.

    Attributes:
        method: Its name.
        dataset: Name of the set.
        reason: Why not.
    """

    method: str
    dataset: str
    reason: str


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluated:
    """One set with all that was said of it.

    Attributes:
        trial_set: The set.
        answers: By method; the yardstick last.
        refusals: Methods that are not among them.
        scores: Of all methods.
    """

    trial_set: TrialSet
    answers: Mapping[str, Answer]
    refusals: tuple[Refusal, ...]
    scores: tuple[Score, ...]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Said:
    """What one method said of the scored voxels of all trials, one after the other.

    Attributes:
        t1: NaN where it has none [s].
        sd: Its standard deviation [s]; NaN where there is none.
        ends: Lower and upper end of the 90 % interval [s]; None for methods without.
        usable: Whether the status is OK.
    """

    t1: Float[Tensor, " voxels"]
    sd: Float[Tensor, " voxels"]
    ends: tuple[Float[Tensor, " voxels"], Float[Tensor, " voxels"]] | None
    usable: Bool[Tensor, " voxels"]


def evaluate_set(
    trial_set: TrialSet, methods: Mapping[str, Estimator[Acquisition]], watch: Watch
) -> Evaluated:
    """Run every method that accepts all trials of a set, and score it.

    Args:
        trial_set: What to try them on.
        methods: By name.
        watch: Gives a progress report for a label, `brains: ml`.
    """
    tried = dict(methods)
    if trial_set.yardstick is not None:
        tried[EXACT] = trial_set.yardstick
    answers: dict[str, Answer] = {}
    refusals = []
    for name, estimator in tried.items():
        try:
            for trial in trial_set.trials:
                estimator.accept(trial.acquisition)
        except ProtocolError as error:
            refusals.append(Refusal(method=name, dataset=trial_set.name, reason=str(error)))
            continue
        with watch(f"{trial_set.name}: {name}") as report:
            answers[name] = _ask(name, estimator, trial_set, report)
    said = {name: said_of(trial_set, answer) for name, answer in answers.items()}
    bound = _bound(trial_set)
    scores: list[Score] = []
    for name, answer in answers.items():
        scores += method_scores(trial_set, name, said[name])
        scores += _sharpness_scores(trial_set, name, said[name], bound)
        scores += _contrast_scores(trial_set, answer)
        scores += _cost_scores(trial_set, answer)
        if EXACT in said and name != EXACT:
            scores += _ratio_scores(trial_set, name, (said[name], said[EXACT]))
    return Evaluated(trial_set=trial_set, answers=answers, refusals=tuple(refusals), scores=tuple(scores))


def said_of(trial_set: TrialSet, answer: Answer) -> Said:
    """Gather the scored voxels."""
    pairs = [(maps, trial.scored) for maps, trial in zip(answer.maps, trial_set.trials, strict=True)]
    ends: list[Tensor] = []
    for place in ("lower", "upper"):
        parts = [
            end[scored][:, 0]
            for maps, scored in pairs
            if (end := getattr(maps, place)) is not None and maps.interval_level == INTERVAL_LEVEL
        ]
        if len(parts) == len(pairs):
            ends.append(torch.cat(parts).double())
    return Said(
        t1=torch.cat([maps.value("T1")[scored] for maps, scored in pairs]).double(),
        sd=torch.cat([maps.deviation("T1")[scored] for maps, scored in pairs]).double(),
        ends=(ends[0], ends[1]) if len(ends) == 2 else None,
        usable=torch.cat([maps.usable[scored] for maps, scored in pairs]),
    )


def prediction_of(trial_set: TrialSet, said: Said) -> Prediction:
    """Return what was said on the free scale, ln T1, beside the truth."""
    sd = said.sd / said.t1
    return Prediction(
        mean=said.t1.log(),
        sd=torch.where(sd > 0, sd, torch.nan),
        truth=_truth(trial_set).log(),
    )


def method_scores(trial_set: TrialSet, method: str, said: Said) -> list[Score]:
    """Return accuracy, calibration and what else is said of the voxels of each group."""
    subject = Subject(method=method, dataset=trial_set.name)
    truth, prediction = _truth(trial_set), prediction_of(trial_set, said)
    scores: list[Score] = []
    for groups in trial_set.groups:
        scores += scores_by_group(lambda voxels: _plain(trial_set, said, voxels), groups, subject, SECONDS)
        if trial_set.reference != method:
            scores += grouped(said.t1, truth, groups, subject)
        if trial_set.reference == TRUTH:
            calibrated = grouped_calibration(prediction, groups, subject)
            scores += [one for one in calibrated if one.metric != "missing"]
        if trial_set.reference == TRUTH and said.ends is not None:
            scores += scores_by_group(lambda voxels: _interval(said, truth, voxels), groups, subject, {})
    return scores


def _bound(trial_set: TrialSet) -> Float[Tensor, " voxels"]:
    """Return the Cramér–Rao standard deviation of ln T1 at the noise of each scan, of the scored voxels."""
    fit = InversionRecoveryFit(noise_window=0)
    parts = []
    for trial in trial_set.trials:
        fitted = fit(trial.acquisition)
        parts.append((fitted.deviation("T1") / fitted.value("T1"))[trial.scored])
    return torch.cat(parts).double()


def _sharpness_scores(
    trial_set: TrialSet, method: str, said: Said, bound: Float[Tensor, " voxels"]
) -> list[Score]:
    """Return how wide the stated errors are beside the bound of the fit and, in spheres, the spread."""
    sd = said.sd / said.t1

    def measure(voxels: Bool[Tensor, " voxels"]) -> dict[str, float]:
        valued = voxels & torch.isfinite(sd) & (bound > 0) & torch.isfinite(bound)
        measured = {"sd_over_bound": median((sd / bound)[valued]), "n": float(valued.sum())}
        if trial_set.spheres and len(t1 := said.t1[valued]) > 1:
            middle = t1.median()
            spread = ROBUST * median((t1 - middle).abs())
            lower, upper = said.ends or (said.t1 - GAUSSIAN * said.sd, said.t1 + GAUSSIAN * said.sd)
            measured["sd_over_spread"] = median(said.sd[valued]) / spread if spread > 0 else math.nan
            measured["median_in_90"] = interval_coverage(lower[valued], upper[valued], middle.expand_as(t1))
        return measured

    subject = Subject(method=method, dataset=trial_set.name)
    return [score for groups in trial_set.groups for score in scores_by_group(measure, groups, subject, {})]


def _ask(name: str, estimator: Estimator[Acquisition], trial_set: TrialSet, report: Progress) -> Answer:
    maps, seconds = [], []
    for trial in trial_set.trials:
        began = time.perf_counter()
        made = estimator(trial.acquisition, report)
        seconds.append((time.perf_counter() - began) / trial.n_slices)
        maps.append(replace(made, draws=None))  # which take the most room, and are not scored
    return Answer(
        method=name,
        maps=tuple(maps),
        seconds=tuple(seconds),
        n_evaluations=evaluations_per_slice(estimator),
    )


def _truth(trial_set: TrialSet) -> Float[Tensor, " voxels"]:
    return torch.cat([trial.true_t1 for trial in trial_set.trials]).double()


def _plain(trial_set: TrialSet, said: Said, voxels: Bool[Tensor, " voxels"]) -> dict[str, float]:
    """Return what needs no truth."""
    t1 = said.t1[voxels]
    valued = t1[torch.isfinite(t1)]
    measured = {"usable": float(said.usable[voxels].double().mean()), "n": float(len(t1))}
    if trial_set.spheres or trial_set.reference != TRUTH:
        measured["mean"], measured["median"] = float(valued.mean()), median(valued)
        measured["sd"] = float(valued.std()) if len(valued) > 1 else math.nan
    return measured


def _interval(
    said: Said, truth: Float[Tensor, " voxels"], voxels: Bool[Tensor, " voxels"]
) -> dict[str, float]:
    """Return how often the interval a method gives holds the truth, and its median relative width."""
    if said.ends is None:
        return {"n": 0.0}
    lower, upper = (end[voxels] for end in said.ends)
    width = (upper - lower) / said.t1[voxels]
    valued = torch.isfinite(width) & torch.isfinite(truth[voxels])
    return {
        "interval_90": interval_coverage(lower, upper, truth[voxels]),
        "interval_90_width": median(width[valued]),
        "n": float(valued.sum()),
    }


def _ratio_scores(trial_set: TrialSet, method: str, pair: tuple[Said, Said]) -> list[Score]:
    """Return the RMSE of ln T1 over that of the yardstick, in the voxels where the method has a value."""
    said, best = pair
    truth = _truth(trial_set)

    def measure(voxels: Bool[Tensor, " voxels"]) -> dict[str, float]:
        both = voxels & torch.isfinite(said.t1) & torch.isfinite(best.t1)
        found, possible = (accuracy(one.t1, truth, selection=both) for one in pair)
        enough = possible["rmse_ln"] > 0
        ratio = found["rmse_ln"] / possible["rmse_ln"] if enough else math.nan
        return {"rmse_ln_to_exact": ratio, "n": found["n"]}

    subject = Subject(method=method, dataset=trial_set.name)
    return [score for groups in trial_set.groups for score in scores_by_group(measure, groups, subject, {})]


def _contrast_scores(trial_set: TrialSet, answer: Answer) -> list[Score]:
    """Return how much of the contrast of each structure is left, over all its copies and trials."""
    scores = []
    pairs = list(zip(answer.maps, trial_set.trials, strict=True))
    for place, structure in enumerate(trial_set.trials[0].structures):
        found = recovered_contrast(
            torch.stack([maps.value("T1") for maps, _ in pairs]),
            torch.stack([trial.truth.value("T1") for _, trial in pairs if trial.truth is not None]),
            torch.stack([trial.structures[place].inside for _, trial in pairs]),
            torch.stack([trial.structures[place].around for _, trial in pairs]),
        )
        scores += [
            Score(
                method=answer.method,
                dataset=trial_set.name,
                group=structure.name,
                metric=metric,
                value=value,
                n=found.n_inside,
                parameter="T1",
            )
            for metric, value in (("recovered_linear", found.linear), ("recovered_free", found.free))
        ]
    return scores


def _cost_scores(trial_set: TrialSet, answer: Answer) -> list[Score]:
    """Return the median time for a slice, and how often the network is evaluated for it."""
    n_voxels = sum(trial.acquisition.voxels.numel() for trial in trial_set.trials)
    costs = (
        ("seconds_per_slice", statistics.median(answer.seconds), "s"),
        ("network_evaluations", float(answer.n_evaluations), "1"),
    )
    return [
        Score(
            method=answer.method,
            dataset=trial_set.name,
            group=ALL,
            metric=metric,
            value=value,
            n=n_voxels,
            unit=unit,
        )
        for metric, value, unit in costs
    ]
