"""Runs T1 methods over datasets and scores their maps.

All voxels with a value count, suspect ones too, so that no method gains by doubting itself; `usable` is the
share that is not in doubt, and `missing` the share of voxels with a truth that have no value. Standard
deviations are taken to the free scale by sd(ln T1) = sd(T1)/T1. Coverage says nothing of sharpness, so the
stated standard deviation is also compared with the Cramér–Rao bound of the fit (`sd_over_bound`) and, in
spheres, with the robust spread within (`sd_over_spread`); `median_in_90` is the share of intervals that
hold the median of the sphere.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unweight.benchmark.core.run import (
    ALL,
    INTERVAL_LEVEL,
    TRUTH,
    BenchmarkResult,
    Case,
    Dataset,
    TimedOutput,
    Watch,
    joined,
    run_methods,
    whole_case,
)
from unweight.benchmark.core.scoring import (
    DEFAULT_METRICS,
    ImagePair,
    MetricChoice,
    VoxelSample,
    further_voxel_scores,
    image_pair,
    image_scores,
    voxel_scores,
)
from unweight.benchmark.t1.datasets import EXACT, SCATTERED, exact_posterior
from unweight.benchmark.t1.methods import evaluations_per_slice
from unweight.core.acquisition import Acquisition
from unweight.core.estimator import Estimator
from unweight.core.maps import ParameterMaps
from unweight.fit.inversion_recovery import InversionRecoveryFit
from unweight.learn.training.conformal import GAUSSIAN
from unweight.metrics.accuracy import RELATIVE, accuracy, median
from unweight.metrics.calibration import ROBUST, GaussianPrediction, interval_coverage
from unweight.metrics.contrast import recovered_contrast
from unweight.metrics.image_quality import DATA_RANGE
from unweight.metrics.scores import ABSENT, Groups, Score, ScoreContext, scores_by_group
from unweight.registry.records import Inputs

PLAIN = ("usable", "mean", "median", "sd")
ACCURACY = (*RELATIVE, "missing")
CALIBRATION = (
    *("coverage_50", "coverage_80", "coverage_90", "coverage_95", "ence", "ause", "crps"),
    *("width_90", "sd_over_error", "winkler_90"),
)
INTERVAL = ("interval_90", "interval_90_width")
OTHERS = (
    *("sd_over_bound", "sd_over_spread", "median_in_90", "recovered_linear", "recovered_free"),
    *("seconds_per_slice", "network_evaluations", "rmse_ln_to_exact"),
    *("largest_change", "share_changed", "lost"),
)
METRICS = (*PLAIN, *ACCURACY, *CALIBRATION, *INTERVAL, *OTHERS)
FED = (Inputs.VOXELS, Inputs.IMAGE)
SECONDS = {"mean": "s", "median": "s", "sd": "s"}
Result = BenchmarkResult[Case[Acquisition], ParameterMaps]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class T1Voxels:
    """What one method gives for the scored voxels of all cases, one after the other.

    Attributes:
        sample: T1 [s] beside the truth, with intervals where the method gives them.
        sd: Standard deviation of T1 [s]; NaN where there is none.
        usable: Whether the status is OK.
    """

    sample: VoxelSample
    sd: Float[Tensor, " voxels"]
    usable: Bool[Tensor, " voxels"]

    @property
    def t1(self) -> Float[Tensor, " voxels"]:
        """NaN where the method has none [s]."""
        return self.sample.estimate

    @property
    def free(self) -> GaussianPrediction:
        """On the free scale, ln T1."""
        sd = self.sd / self.t1
        return GaussianPrediction(
            mean=self.t1.log(), sd=torch.where(sd > 0, sd, torch.nan), truth=self.sample.truth.log()
        )


def evaluate_dataset(
    dataset: Dataset[Acquisition],
    methods: Mapping[str, Estimator[Acquisition]],
    watch: Watch,
    metrics: MetricChoice = DEFAULT_METRICS,
) -> Result:
    """Run every method that accepts all cases of a dataset, and score it.

    Args:
        dataset: What to run them on.
        methods: By name.
        watch: Gives a progress report for a label, `brains 1/4: ml`.
        metrics: What to score.
    """
    running = dict(methods)
    if dataset.name == SCATTERED:
        running[EXACT] = exact_posterior()
    result: Result = run_methods(
        dataset,
        running,
        watch,
        # Draws take the most room, and are not scored.
        keep=lambda case, method, maps: replace(maps, draws=None),
        keep_case=whole_case,
    )
    voxels = {name: scored_voxels(result.cases, each) for name, each in result.predictions.items()}
    groups = joined([case.groups for case in result.cases])
    bound = _bound(result.cases)
    scores: list[Score] = []
    for name, predictions in result.predictions.items():
        subject = ScoreContext(method=name, dataset=dataset.name)
        scores += method_scores(dataset, voxels[name], groups, subject, metrics)
        scores += _sharpness_scores(dataset, voxels[name], groups, subject, bound)
        scores += _contrast_scores(result.cases, predictions, subject)
        scores += _cost_scores(result.cases, predictions, evaluations_per_slice(running[name]), subject)
        if EXACT in voxels and name != EXACT:
            scores += _ratio_scores(voxels[name], voxels[EXACT], groups, subject)
        if dataset.reference != name:
            further = metrics.further(METRICS, Inputs.VOXELS)
            scores += further_voxel_scores(further, voxels[name].sample, groups, subject)
            images = metrics.further(METRICS, Inputs.IMAGE)
            scores += image_scores(images, _image_pairs(result.cases, predictions), subject)
    return replace(result, scores=metrics.scores(scores))


def scored_voxels(
    cases: Sequence[Case[Acquisition]], predictions: Sequence[TimedOutput[ParameterMaps]]
) -> T1Voxels:
    """Gather the scored voxels."""
    pairs = [(prediction.output, case.scored) for prediction, case in zip(predictions, cases, strict=True)]
    ends: list[Tensor | None] = []
    for end in ("lower", "upper"):
        parts = [
            values[scored][:, 0]
            for maps, scored in pairs
            if (values := getattr(maps, end)) is not None and maps.interval_level == INTERVAL_LEVEL
        ]
        ends.append(torch.cat(parts).double() if len(parts) == len(pairs) else None)
    plain = T1Voxels(
        sample=VoxelSample(
            estimate=torch.cat([maps.value("T1")[scored] for maps, scored in pairs]).double(),
            truth=torch.cat([case.scored_truth("T1") for case in cases]).double(),
            lower=ends[0],
            upper=ends[1],
        ),
        sd=torch.cat([maps.deviation("T1")[scored] for maps, scored in pairs]).double(),
        usable=torch.cat([maps.usable[scored] for maps, scored in pairs]),
    )
    return replace(plain, sample=replace(plain.sample, prediction=plain.free))


def method_scores(
    dataset: Dataset[Acquisition],
    voxels: T1Voxels,
    divided: Sequence[Groups],
    subject: ScoreContext,
    metrics: MetricChoice = DEFAULT_METRICS,
) -> list[Score]:
    """Return accuracy, calibration and what needs no truth of the voxels of each group."""
    blocks: list[tuple[str, ...]] = []
    if dataset.reference != subject.method:
        blocks.append(ACCURACY)
    if dataset.reference == TRUTH:
        blocks += [CALIBRATION, INTERVAL]
    scores: list[Score] = []
    for groups in divided:
        scores += scores_by_group(lambda chosen: _plain(dataset, voxels, chosen), groups, subject, SECONDS)
        for block in blocks:
            chosen = metrics.of(block, Inputs.VOXELS)
            scores += voxel_scores(chosen, voxels.sample, groups, subject)
    return scores


def _bound(cases: Sequence[Case[Acquisition]]) -> Float[Tensor, " voxels"]:
    """Return the Cramér–Rao standard deviation of ln T1 at the noise of each scan, of the scored voxels."""
    fit = InversionRecoveryFit(noise_window=0)
    parts = []
    for case in cases:
        fitted = fit(case.input)
        parts.append((fitted.deviation("T1") / fitted.value("T1"))[case.scored])
    return torch.cat(parts).double()


def _sharpness_scores(
    dataset: Dataset[Acquisition],
    voxels: T1Voxels,
    divided: Sequence[Groups],
    subject: ScoreContext,
    bound: Float[Tensor, " voxels"],
) -> list[Score]:
    """Return how wide the stated errors are beside the bound of the fit and, in spheres, the spread."""
    sd, all_t1, sample = voxels.sd / voxels.t1, voxels.t1, voxels.sample

    def of_group(chosen: Bool[Tensor, " voxels"]) -> dict[str, float]:
        valued = chosen & torch.isfinite(sd) & (bound > 0) & torch.isfinite(bound)
        measured = {"sd_over_bound": median((sd / bound)[valued]), "n": float(valued.sum())}
        if dataset.homogeneous and len(t1 := all_t1[valued]) > 1:
            middle = t1.median()
            spread = ROBUST * median((t1 - middle).abs())
            lower, upper = sample.lower, sample.upper
            if lower is None or upper is None:
                lower, upper = all_t1 - GAUSSIAN * voxels.sd, all_t1 + GAUSSIAN * voxels.sd
            measured["sd_over_spread"] = median(voxels.sd[valued]) / spread if spread > 0 else math.nan
            measured["median_in_90"] = interval_coverage(lower[valued], upper[valued], middle.expand_as(t1))
        return measured

    return [score for groups in divided for score in scores_by_group(of_group, groups, subject, {})]


def _plain(
    dataset: Dataset[Acquisition], voxels: T1Voxels, chosen: Bool[Tensor, " voxels"]
) -> dict[str, float]:
    """Return what needs no truth."""
    t1 = voxels.t1[chosen]
    valued = t1[torch.isfinite(t1)]
    measured = {"usable": float(voxels.usable[chosen].double().mean()), "n": float(len(t1))}
    if dataset.homogeneous or dataset.reference != TRUTH:
        measured["mean"], measured["median"] = float(valued.mean()), median(valued)
        measured["sd"] = float(valued.std()) if len(valued) > 1 else math.nan
    return measured


def _ratio_scores(
    voxels: T1Voxels, best: T1Voxels, divided: Sequence[Groups], subject: ScoreContext
) -> list[Score]:
    """Return the RMSE of ln T1 over the best possible, in the voxels where the method has a value."""
    truth = voxels.sample.truth

    def of_group(chosen: Bool[Tensor, " voxels"]) -> dict[str, float]:
        both = chosen & torch.isfinite(voxels.t1) & torch.isfinite(best.t1)
        reached, possible = (accuracy(each.t1, truth, selection=both) for each in (voxels, best))
        enough = possible["rmse_ln"] > 0
        ratio = reached["rmse_ln"] / possible["rmse_ln"] if enough else math.nan
        return {"rmse_ln_to_exact": ratio, "n": reached["n"]}

    return [score for groups in divided for score in scores_by_group(of_group, groups, subject, {})]


def _contrast_scores(
    cases: Sequence[Case[Acquisition]],
    predictions: Sequence[TimedOutput[ParameterMaps]],
    subject: ScoreContext,
) -> list[Score]:
    """Return how much of the contrast of each structure is left, over all its copies and cases."""
    scores = []
    for place, structure in enumerate(cases[0].structures):
        recovered = recovered_contrast(
            torch.stack([prediction.output.value("T1") for prediction in predictions]),
            torch.stack([case.truth["T1"] for case in cases]),
            torch.stack([case.structures[place].inside for case in cases]),
            torch.stack([case.structures[place].around for case in cases]),
        )
        scores += [
            subject.score(structure.name, metric, value, recovered.n_inside)
            for metric, value in (
                ("recovered_linear", recovered.linear),
                ("recovered_free", recovered.free),
            )
        ]
    return scores


def _cost_scores(
    cases: Sequence[Case[Acquisition]],
    predictions: Sequence[TimedOutput[ParameterMaps]],
    n_evaluations: int,
    subject: ScoreContext,
) -> list[Score]:
    """Return the median time for a slice, and how often the network is evaluated for it."""
    seconds = [
        prediction.seconds / max(1, case.input.voxels[2:].numel())
        for prediction, case in zip(predictions, cases, strict=True)
    ]
    n = sum(case.input.voxels.numel() for case in cases)
    whole = replace(subject, parameter=ABSENT)
    return [
        whole.score(ALL, "seconds_per_slice", statistics.median(seconds), n, "s"),
        whole.score(ALL, "network_evaluations", float(n_evaluations), n),
    ]


def _image_pairs(
    cases: Sequence[Case[Acquisition]], predictions: Sequence[TimedOutput[ParameterMaps]]
) -> list[ImagePair]:
    return [
        image_pair(prediction.output.value("T1"), case.truth["T1"], case.scored, DATA_RANGE["T1"])
        for prediction, case in zip(predictions, cases, strict=True)
    ]
