"""Runs methods for T1, T2 and PD over datasets, and scores accuracy, intervals, images and lesions.

One examination at a time is made, mapped by every method, and kept as the voxels of its brain; a few are
kept whole for the pictures. All voxels with a value count, suspect ones too; `missing` is the share of the
brain without one. Errors are over groups of voxels of all examinations together, `psnr` and `ssim` means
over examinations; `loss_db` is the PSNR of a dataset less that of `internal`.
"""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from unweight import registry
from unweight.benchmark.core.run import (
    ALL,
    INTERVAL_LEVEL,
    BenchmarkResult,
    Case,
    Dataset,
    TimedOutput,
    Watch,
    by_metadata,
    everything,
    run_methods,
)
from unweight.benchmark.core.scoring import (
    DEFAULT_METRICS,
    MetricChoice,
    VoxelSample,
    further_voxel_scores,
    image_pair,
    measure,
    units_of,
    voxel_scores,
)
from unweight.benchmark.weighted.datasets import (
    INTERNAL,
    LESIONS,
    MIXED,
    NAMES,
    TISSUE_NAMES,
    WHITE,
    binned,
    tissue_map,
)
from unweight.core.estimator import Estimator
from unweight.core.examination import WeightedImageSet
from unweight.core.maps import ParameterMaps
from unweight.metrics.accuracy import median
from unweight.metrics.calibration import GaussianPrediction
from unweight.metrics.image_quality import DATA_RANGE, TISSUE_T2, psnr
from unweight.metrics.lesions import lesion_contrasts, separate_lesions
from unweight.metrics.scores import ABSENT, Groups, Score, ScoreContext
from unweight.registry.records import Inputs

UNITS = {"T1": "s", "T2": "s", "PD": "1"}
DECIBEL = ("psnr", "psnr_pure", "psnr_frame", "psnr_tissue")
VOXEL_METRICS = (
    *("bias", "mape", "median_ape", "rmse_ln", "missing", "rmse", "mae"),
    *("interval_90", "interval_90_width"),
)
IMAGE_METRICS = ("ssim",)
METRICS = (
    *VOXEL_METRICS,
    *(*DECIBEL, "ssim", "right_sign", "error_over_white", "seconds_per_examination"),
    *(name.replace("psnr", "loss_db") for name in DECIBEL),
)
FED = (Inputs.VOXELS, Inputs.IMAGE)
MIXED_PLACE = TISSUE_NAMES.index(MIXED)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class ScoredVoxels:
    """The scored voxels of one examination.

    Attributes:
        truth: T1 [s], T2 [s] and PD relative to CSF.
        tissue: Place in TISSUE_NAMES.
        lesion: Number of the lesion; −1 for none.
        kinds: What the examination is.
    """

    truth: Float[Tensor, "voxels 3"]
    tissue: Int[Tensor, " voxels"]
    lesion: Int[Tensor, " voxels"]
    kinds: Mapping[str, str]

    def __len__(self) -> int:
        return len(self.truth)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class PredictedVoxels:
    """What one method gives for the scored voxels of one examination.

    Attributes:
        values: Maps, as `ScoredVoxels.truth`; NaN where there is no value.
        std: Their standard deviation; likewise.
        lower: Lower end of the 90 % interval; NaN where the method gives none.
        upper: Upper end.
        quality: Metrics of the maps as images, by map and metric.
    """

    values: Float[Tensor, "voxels 3"]
    std: Float[Tensor, "voxels 3"]
    lower: Float[Tensor, "voxels 3"]
    upper: Float[Tensor, "voxels 3"]
    quality: Mapping[tuple[str, str], float]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class MappedCase:
    """One examination with the maps of every method, for a picture.

    Attributes:
        case: The examination and its truth.
        maps: By method.
    """

    case: Case[WeightedImageSet]
    maps: dict[str, ParameterMaps]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class WeightedResult:
    """One dataset with what every method made of it.

    Attributes:
        benchmark: Scored voxels, and what every method gives for them.
        examples: The first examination of each disease, whole.
    """

    benchmark: BenchmarkResult[ScoredVoxels, PredictedVoxels]
    examples: tuple[MappedCase, ...]


def evaluate_dataset(
    dataset: Dataset[WeightedImageSet],
    methods: Mapping[str, Estimator[WeightedImageSet]],
    watch: Watch,
    metrics: MetricChoice = DEFAULT_METRICS,
) -> WeightedResult:
    """Run every method that accepts all examinations of a dataset, and score it.

    Args:
        dataset: What to run them on.
        methods: By name.
        watch: Gives a progress report for a label, `internal 1/16: unet`.
        metrics: What to score.
    """
    displayed: dict[str, MappedCase] = {}

    def keep(case: Case[WeightedImageSet], method: str, maps: ParameterMaps) -> PredictedVoxels:
        first = displayed.setdefault(case.metadata["disease"], MappedCase(case=case, maps={}))
        if first.case is case:
            first.maps[method] = replace(maps, draws=None)
        return predicted_voxels(case, maps, metrics)

    result = run_methods(dataset, methods, watch, keep=keep, keep_case=scored_voxels)
    for mapped in displayed.values():
        for refusal in result.refusals:
            mapped.maps.pop(refusal.method, None)
    scored = replace(result, scores=tuple(scores_of(result, metrics)))
    return WeightedResult(benchmark=scored, examples=tuple(displayed.values()))


def scored_voxels(case: Case[WeightedImageSet]) -> ScoredVoxels:
    """Gather the scored voxels; lesions are numbered through all kinds of them."""
    mask, tissue = case.scored, tissue_map(case)
    lesion = torch.full(mask.shape, -1)
    for name in LESIONS:
        separate = separate_lesions(tissue == TISSUE_NAMES.index(name))
        lesion = torch.where(separate >= 0, separate + 1 + lesion.max(), lesion)
    return ScoredVoxels(
        truth=torch.stack([case.scored_truth(name) for name in NAMES], dim=-1),
        tissue=case.groups[0].index,
        lesion=lesion[mask],
        kinds=case.metadata,
    )


def predicted_voxels(
    case: Case[WeightedImageSet], maps: ParameterMaps, metrics: MetricChoice = DEFAULT_METRICS
) -> PredictedVoxels:
    """Gather the scored voxels, and compare the maps as images."""
    mask, pure = case.scored, tissue_map(case) != MIXED_PLACE
    chosen = (
        *metrics.of(IMAGE_METRICS, Inputs.IMAGE),
        *metrics.further(METRICS, Inputs.IMAGE),
    )
    quality: dict[tuple[str, str], float] = {}
    for name in NAMES:
        estimate, truth, data_range = maps.value(name), case.truth[name], DATA_RANGE[name]
        whole = psnr(estimate, truth, mask, data_range)
        quality[name, "psnr"] = whole
        quality[name, "psnr_pure"] = psnr(estimate, truth, mask & pure, data_range)
        quality[name, "psnr_frame"] = whole + 10 * math.log10(mask.numel() / int(mask.sum()))
        further = measure(chosen, image_pair(estimate, truth, mask, data_range))
        quality |= {(name, metric): value for metric, value in further.items()}
        if name == "T2":
            quality[name, "psnr_tissue"] = psnr(estimate, truth, mask & (truth <= TISSUE_T2), TISSUE_T2)
    order = [[spec.name for spec in maps.specs].index(name) for name in NAMES]
    lower, upper = (_end(end, maps, order)[mask] for end in (maps.lower, maps.upper))
    return PredictedVoxels(
        values=maps.values[..., order][mask],
        std=maps.std[..., order][mask],
        lower=lower,
        upper=upper,
        quality=quality,
    )


def scores_of(
    result: BenchmarkResult[ScoredVoxels, PredictedVoxels], metrics: MetricChoice = DEFAULT_METRICS
) -> list[Score]:
    """Return the scores of every method on a dataset."""
    cases = result.cases
    truth = torch.cat([case.truth for case in cases]).double()
    tissue = torch.cat([case.tissue for case in cases])
    kinds = by_metadata([case.kinds for case in cases], [len(case) for case in cases])
    divided = (everything(len(truth)), *kinds, Groups(names=TISSUE_NAMES, index=tissue))
    by_default = metrics.of(VOXEL_METRICS, Inputs.VOXELS)
    further = metrics.further(METRICS, Inputs.VOXELS)
    scores: list[Score] = []
    for method, predictions in result.predictions.items():
        for place, name in enumerate(NAMES):
            subject = ScoreContext(method=method, dataset=result.dataset, unit=UNITS[name], parameter=name)
            sample = _sample(truth[:, place], [each.output for each in predictions], place)
            groups = (*divided, binned(name, truth[:, place]))
            for each in groups:
                scores += voxel_scores(by_default, sample, each, subject, whole_groups=True)
            scores += further_voxel_scores(further, sample, groups, subject)
            scores += quality_scores(cases, predictions, subject)
            scores += lesion_scores(cases, predictions, subject)
        scores.append(_cost(method, result))
    return [score for score in scores if score.n > 0]


def quality_scores(
    cases: Sequence[ScoredVoxels],
    predictions: Sequence[TimedOutput[PredictedVoxels]],
    subject: ScoreContext,
) -> Iterable[Score]:
    """Return mean and SD of PSNR and SSIM over examinations: over all, and over those of each kind."""
    quality = [prediction.output.quality for prediction in predictions]
    names = [metric for parameter, metric in quality[0] if parameter == subject.parameter]
    units = units_of(registry.metrics(Inputs.IMAGE), subject.unit)
    divided: dict[str, list[int]] = {ALL: list(range(len(cases)))}
    for groups in by_metadata([case.kinds for case in cases], [1] * len(cases)):
        for place, name in enumerate(groups.names):
            divided[name] = (groups.index == place).nonzero()[:, 0].tolist()
    for group, members in divided.items():
        for metric in names:
            values = [quality[member][subject.parameter, metric] for member in members]
            several = len(values) > 1 and all(map(math.isfinite, values))
            spread = statistics.stdev(values) if several else math.nan
            unit = "dB" if metric in DECIBEL else units[metric]
            n = sum(len(cases[member]) for member in members)
            for name, value in ((metric, statistics.fmean(values)), (f"{metric}_sd", spread)):
                yield subject.score(group, name, value, n, unit)


def lesion_scores(
    cases: Sequence[ScoredVoxels],
    predictions: Sequence[TimedOutput[PredictedVoxels]],
    subject: ScoreContext,
) -> Iterable[Score]:
    """Return how many lesions of each kind have contrast of the right sign, and how far off they are.

    `right_sign` is over lesions of enough true contrast, whose number is n. `error_over_white` is the
    median relative error in lesions over that in the normal white matter of the same examinations.
    """
    place = NAMES.index(subject.parameter)
    for name in LESIONS:
        kind, white = TISSUE_NAMES.index(name), TISSUE_NAMES.index(WHITE)
        pairs = [
            (case, prediction.output)
            for case, prediction in zip(cases, predictions, strict=True)
            if bool((case.tissue == kind).any())
        ]
        if not pairs:
            continue
        right: list[bool] = []
        errors: dict[int, list[Tensor]] = {kind: [], white: []}
        for case, predicted in pairs:
            estimate, truth = predicted.values[:, place].double(), case.truth[:, place].double()
            right += _right_signs(estimate, truth, case, kind)
            for tissue, parts in errors.items():
                chosen = case.tissue == tissue
                parts.append((estimate[chosen] / truth[chosen] - 1).abs())
        ill, normal = (_median_of(parts) for parts in errors.values())
        n_voxels = sum(len(part) for part in errors[kind])
        measured = (
            ("right_sign", statistics.fmean(right) if right else math.nan, len(right)),
            ("error_over_white", ill / normal if normal > 0 else math.nan, n_voxels),
        )
        for metric, value, n in measured:
            yield subject.score(name, metric, value, n)


def loss_scores(scores: Sequence[Score]) -> list[Score]:
    """Return how much PSNR a dataset costs: that of the dataset less that of `internal`, map by map."""
    known = {
        (score.method, score.parameter, score.metric): score
        for score in scores
        if score.dataset == INTERNAL and score.group == ALL and score.metric in DECIBEL
    }
    losses = []
    for score in scores:
        base = known.get((score.method, score.parameter, score.metric))
        if base is None or score.dataset == INTERNAL or score.group != ALL:
            continue
        loss = score.value - base.value
        losses.append(replace(score, metric=score.metric.replace("psnr", "loss_db"), value=loss))
    return losses


def _sample(
    truth: Float[Tensor, " voxels"], predicted: Sequence[PredictedVoxels], place: int
) -> VoxelSample:
    estimate = torch.cat([each.values[:, place] for each in predicted]).double()
    std = torch.cat([each.std[:, place] for each in predicted]).double()
    relative = std / estimate
    return VoxelSample(
        estimate=estimate,
        truth=truth,
        prediction=GaussianPrediction(
            mean=estimate.log(), sd=torch.where(relative > 0, relative, torch.nan), truth=truth.log()
        ),
        lower=torch.cat([each.lower[:, place] for each in predicted]),
        upper=torch.cat([each.upper[:, place] for each in predicted]),
        scale=truth,
    )


def _right_signs(
    estimate: Float[Tensor, " voxels"], truth: Float[Tensor, " voxels"], case: ScoredVoxels, kind: int
) -> list[bool]:
    """Return for each lesion of a kind with enough contrast whether its sign is right."""
    lesion = torch.where(case.tissue == kind, case.lesion, -1)
    white: Bool[Tensor, " voxels"] = case.tissue == TISSUE_NAMES.index(WHITE)
    return [each.right for each in lesion_contrasts(estimate, truth, lesion, white) if each.counts]


def _median_of(parts: Sequence[Float[Tensor, " voxels"]]) -> float:
    values = torch.cat(tuple(parts))
    return median(values[torch.isfinite(values)])


def _cost(method: str, result: BenchmarkResult[ScoredVoxels, PredictedVoxels]) -> Score:
    seconds = statistics.median(prediction.seconds for prediction in result.predictions[method])
    whole = ScoreContext(method=method, dataset=result.dataset, parameter=ABSENT)
    return whole.score(ALL, "seconds_per_examination", seconds, sum(map(len, result.cases)), "s")


def _end(
    end: Float[Tensor, "*voxels parameters"] | None, maps: ParameterMaps, order: list[int]
) -> Float[Tensor, "*voxels 3"]:
    """Return one end of the 90 % interval; NaN for methods that give none, or one of another level."""
    if end is None or maps.interval_level != INTERVAL_LEVEL:
        return torch.full_like(maps.values[..., order], torch.nan)
    return end[..., order]
