"""Every stage of susceptibility mapping against its truth, and all of them together.

Stages are benchmarked alone, each from what would be true before it: R2* and the field from the images, the
local field from the true total one, susceptibility from the true local field with the noise that phase
leaves in it. End to end only the images are known.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unweight.benchmark.core.run import (
    AcceptsAll,
    BenchmarkResult,
    Case,
    Watch,
    dataset_of,
    everything,
    run_methods,
    whole_case,
)
from unweight.benchmark.core.scoring import (
    DEFAULT_METRICS,
    MetricChoice,
    VoxelSample,
    further_voxel_scores,
    image_pair,
    image_scores,
)
from unweight.benchmark.qsm.heads import QsmHead
from unweight.core.acquisition import Acquisition, SignalKind
from unweight.core.estimator import Progress
from unweight.core.seeding import seeded_generator
from unweight.fit.relaxation import RelaxationFit
from unweight.fit.susceptibility import SusceptibilityFit
from unweight.metrics.scores import Groups, Score, ScoreContext
from unweight.metrics.susceptibility import (
    challenge_labels,
    field_scores,
    slope_through_regions,
    susceptibility_scores,
)
from unweight.prepare.echo_mask import find_brain_in_echoes
from unweight.prepare.qsm_series import BACKGROUNDS, INVERSIONS
from unweight.registry import build, compared
from unweight.registry.records import Inputs
from unweight.susceptibility.background import LocalField
from unweight.susceptibility.field_map import field_map, fit_line
from unweight.susceptibility.geometry import GYROMAGNETIC_RATIO
from unweight.susceptibility.unwrap import unwrap_by_laplacian
from unweight.synth.tissue.materials import INDEX

SOLVERS = {item.name: build(item) for item in compared("decay")}
STRUCTURES = (
    *("pallidum", "putamen", "caudate", "thalamus", "red_nucleus", "substantia_nigra", "dentate"),
    *("white_matter", "grey_matter", "csf"),
)
PURE = 0.99
BRAIN = "brain"
FROM_TRUTH = "from the true field"
R2STAR, TOTAL_FIELD, LOCAL_FIELD, CHI = "R2star", "total field", "local field", "Chi"
UNITS = {"nrmse": "%", "nrmse_detrended": "%", "hfen": "%", "mae": "ppm", "seconds": "s", "bias": "1/s"}
MAP_UNITS = {R2STAR: "1/s", TOTAL_FIELD: "ppm", LOCAL_FIELD: "ppm", CHI: "ppm"}
DATA_RANGE = {R2STAR: 100.0, TOTAL_FIELD: 1.0, LOCAL_FIELD: 0.2, CHI: 0.4}  # [1/s, ppm, ppm, ppm]
METRICS = (
    *("seconds", "bias", "rmse", "nrmse", "nrmse_detrended", "correlation", "xsim", "coverage", "kept"),
    *("hfen", "nrmse_tissue", "nrmse_blood", "nrmse_deep_grey", "deep_grey_linearity"),
    *("calcification_moment", "calcification_streak", "slope", "r", "mae", "mean", "true"),
)
FED = (Inputs.VOXELS, Inputs.IMAGE)
Volume = Float[Tensor, "x y z"]
Mask = Bool[Tensor, "x y z"]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class QsmResult:
    """What was measured on one head.

    Attributes:
        head: The head.
        scores: All of them.
        maps: Susceptibility by method, NaN outside, for pictures.
    """

    head: QsmHead
    scores: tuple[Score, ...]
    maps: dict[str, Volume] = field(default_factory=dict)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class StageMap:
    """What a method of one stage gives.

    Attributes:
        values: The map.
        mask: Where it counts.
    """

    values: Volume
    mask: Mask


Stage = BenchmarkResult[Case[QsmHead], StageMap]
StageMethod = Callable[[QsmHead], StageMap]
Numbers = dict[str, dict[str, float]]  # by group and metric
Measure = Callable[[QsmHead, StageMap, float], Numbers]  # of a map that took some seconds


def pairs() -> tuple[str, ...]:
    """Return the names of all methods from images to susceptibility: background + inversion."""
    return tuple(f"{first}+{second}" for first in BACKGROUNDS for second in INVERSIONS)


def evaluate_head(
    head: QsmHead,
    methods: Sequence[str],
    progress: Progress | None = None,
    metrics: MetricChoice = DEFAULT_METRICS,
) -> QsmResult:
    """Measure every stage on one head.

    Args:
        head: The head.
        methods: End to end, of `pairs`.
        progress: Called with the methods that have run and their number.
        metrics: What to score.
    """
    noisy = _noisy_local_field(head)
    inversions = {f"{name} {FROM_TRUTH}": partial(_inverted, name, *noisy) for name in INVERSIONS}
    stages: tuple[tuple[str, Mapping[str, StageMethod], Measure], ...] = (
        (R2STAR, _decay_methods(), _relaxation_numbers),
        (TOTAL_FIELD, {"exact": _exact_field, "laplacian": _laplacian_field}, _total_field_numbers),
        (LOCAL_FIELD, {name: partial(_local_field, name) for name in BACKGROUNDS}, _local_field_numbers),
        (CHI, inversions, _chi_numbers),
        (CHI, {name: partial(_end_to_end, name) for name in methods}, _chi_numbers),
    )
    watch = _counting(progress, sum(len(stage_methods) for _, stage_methods, _ in stages))
    scores: list[Score] = []
    maps: dict[str, Volume] = {}
    case = _case(head)
    truth = case.truth
    dataset = dataset_of(f"{head.dataset} {head.name}", [case])
    for parameter, stage_methods, measured in stages:
        result: Stage = run_methods(
            dataset,
            {name: AcceptsAll(function=function) for name, function in stage_methods.items()},
            watch,
            keep=lambda case, method, output: output,
            keep_case=whole_case,
        )
        for name, (prediction,) in result.predictions.items():
            subject = ScoreContext(
                method=name, dataset=dataset.name, parameter=parameter, unit=MAP_UNITS[parameter]
            )
            output = prediction.output
            numbers = measured(head, output, prediction.seconds)
            for group, values in numbers.items():
                scores += scores_of(values, subject, int(head.clean.sum()), group)
            scores += further_scores(output.values, truth[parameter], output.mask, subject, metrics)
            if parameter == CHI:
                maps[name] = output.values
    return QsmResult(head=head, scores=metrics.scores(scores), maps=maps)


def _counting(progress: Progress | None, total: int) -> Watch:
    """Return what counts the methods that have run."""
    done = 0

    @contextmanager
    def watch(label: str) -> Iterator[Progress]:
        nonlocal done
        yield lambda parts, whole: None
        done += 1
        if progress is not None:
            progress(done, total)

    return watch


def _case(head: QsmHead) -> Case[QsmHead]:
    return Case(
        input=head,
        truth={
            R2STAR: head.r2star,
            TOTAL_FIELD: head.total,
            LOCAL_FIELD: head.local_in(head.clean),
            CHI: head.chi,
        },
        scored=head.clean,
        groups=(everything(int(head.clean.sum())),),
        metadata={"set": head.dataset, "head": head.name},
    )


def scores_of(
    numbers: Mapping[str, float], subject: ScoreContext, n: int, group: str = BRAIN
) -> list[Score]:
    """Return numbers of one group of voxels as scores."""
    return [
        subject.score(group, metric, value, n, UNITS.get(metric, "1")) for metric, value in numbers.items()
    ]


def further_scores(
    estimate: Volume, truth: Volume, mask: Mask, subject: ScoreContext, metrics: MetricChoice
) -> list[Score]:
    """Return metrics that were asked for by name; the mean of susceptibility is no error."""
    images, voxels = metrics.further(METRICS, Inputs.IMAGE), metrics.further(METRICS, Inputs.VOXELS)
    if not images and not voxels:
        return []
    if subject.parameter == CHI:
        valued = mask & torch.isfinite(estimate) & torch.isfinite(truth)
        estimate, truth = estimate - estimate[valued].mean(), truth - truth[valued].mean()
    whole = Groups(names=(BRAIN,), index=torch.zeros(int(mask.sum()), dtype=torch.int64))
    sample = VoxelSample(estimate=estimate[mask], truth=truth[mask], positive=False)
    pair = image_pair(estimate, truth, mask, DATA_RANGE[subject.parameter])
    return [
        *image_scores(images, [pair], subject, BRAIN),
        *further_voxel_scores(voxels, sample, [whole], subject),
    ]


def _decay_methods() -> dict[str, StageMethod]:
    def fitted(name: str, head: QsmHead) -> StageMap:
        maps = RelaxationFit(solver=SOLVERS[name])(_magnitude(head))
        return StageMap(values=maps.value(R2STAR), mask=head.clean & maps.usable)

    return {name: partial(fitted, name) for name in SOLVERS}


def _magnitude(head: QsmHead) -> Acquisition:
    return replace(
        head.acquisition, signal=head.acquisition.signal.abs(), kind=SignalKind.MAGNITUDE, mask=head.clean
    )


def _relaxation_numbers(head: QsmHead, output: StageMap, seconds: float) -> Numbers:
    """Return errors of R2* in pure voxels of each structure."""
    numbers: Numbers = {BRAIN: {"seconds": seconds}}
    for structure in STRUCTURES:
        here = (head.purity > PURE) & (head.materials == INDEX[structure]) & output.mask
        if bool(here.any()):
            error = (output.values - head.r2star)[here]
            numbers[structure] = {
                "bias": float(error.mean()),
                "rmse": float(error.square().mean().sqrt()),
            }
    return numbers


def _exact_field(head: QsmHead) -> StageMap:
    rate = field_map(head.acquisition.signal, _times(head), head.clean, head.geometry.voxel_mm).rate
    return StageMap(values=rate * _ppm(head), mask=head.clean)


def _laplacian_field(head: QsmHead) -> StageMap:
    """Return what the Laplacian would make of the same phase."""
    signal, size = head.acquisition.signal, head.geometry.voxel_mm
    phase = torch.stack([unwrap_by_laplacian(echo.angle(), size) for echo in signal.unbind(-1)], dim=-1)
    rate = fit_line(phase, signal.abs(), _times(head)).rate
    return StageMap(values=rate * _ppm(head), mask=head.clean)


def _times(head: QsmHead) -> Float[Tensor, " echoes"]:
    return head.acquisition.protocol.require("echo_time", "evaluation").to(head.acquisition.signal.real)


def _ppm(head: QsmHead) -> float:
    return 1 / (2 * math.pi * GYROMAGNETIC_RATIO * (head.acquisition.protocol.field_strength or 3.0))


def _total_field_numbers(head: QsmHead, output: StageMap, seconds: float) -> Numbers:
    return {BRAIN: asdict(field_scores(output.values, head.total, output.mask)) | {"seconds": seconds}}


def _local_field(name: str, head: QsmHead) -> StageMap:
    """Remove the background from the true total field."""
    inside = torch.where(head.clean, head.total, torch.zeros_like(head.total))
    local: LocalField = BACKGROUNDS[name](inside, head.clean, head.geometry)
    return StageMap(values=local.field, mask=local.mask)


def _local_field_numbers(head: QsmHead, output: StageMap, seconds: float) -> Numbers:
    """Score a local field where the removal keeps the mask."""
    true = head.local_in(head.clean)
    kept = float(output.mask.sum() / head.clean.sum())
    costs = {"seconds": seconds, "kept": kept}
    return {BRAIN: asdict(field_scores(output.values, true, output.mask)) | costs}


def _noisy_local_field(head: QsmHead) -> tuple[Volume, Volume]:
    """Return the true local field with the noise that phase leaves in it, and how far to trust it."""
    magnitude = head.acquisition.signal.abs()
    leverage = fit_line(torch.zeros_like(magnitude), magnitude, _times(head).to(magnitude)).leverage
    strength = head.acquisition.protocol.field_strength or 3.0
    sd = head.noise_sd / leverage.sqrt() / (2 * math.pi * GYROMAGNETIC_RATIO * strength)
    generator = seeded_generator(0, "evaluation", "qsm field noise")
    noisy = head.local_in(head.clean) + sd * torch.randn(sd.shape, generator=generator)
    precision = leverage.sqrt()
    trust = (precision / precision[head.clean].median()).clamp(max=1)
    return torch.where(head.clean, noisy, torch.zeros_like(noisy)), trust


def _inverted(name: str, local: Volume, trust: Volume, head: QsmHead) -> StageMap:
    chi = INVERSIONS[name](local, head.clean, head.geometry, trust)
    return StageMap(values=torch.where(head.clean, chi, torch.full_like(chi, math.nan)), mask=head.clean)


def _end_to_end(name: str, head: QsmHead) -> StageMap:
    first, second = name.split("+")
    brain = find_brain_in_echoes(head.acquisition.signal.abs(), head.geometry.voxel_mm)
    fit = SusceptibilityFit(background=BACKGROUNDS[first], inversion=INVERSIONS[second])
    chi = fit(replace(head.acquisition, mask=brain)).value(CHI)
    return StageMap(values=chi, mask=head.clean & ~chi.isnan())


def _chi_numbers(head: QsmHead, output: StageMap, seconds: float) -> Numbers:
    """Score a susceptibility map where it has values, and the means of its structures."""
    labels = challenge_labels(head.materials)
    chi, mask = output.values, output.mask
    agreed = slope_through_regions(chi, head.chi, labels, mask)
    brain: dict[str, float] = asdict(susceptibility_scores(chi, head.chi, mask, labels)) | {
        "slope": agreed.slope,
        "r": agreed.correlation,
        "mae": agreed.mean_absolute_error,
        "kept": float(mask.sum() / head.clean.sum()),
        "seconds": seconds,
    }
    numbers = {BRAIN: brain}
    zero, true_zero = chi[mask].mean(), head.chi[mask].mean()
    for structure in STRUCTURES:
        here = mask & (head.materials == INDEX[structure])
        if bool(here.any()):
            numbers[structure] = {
                "mean": float(chi[here].mean() - zero),
                "true": float(head.chi[here].mean() - true_zero),
            }
    return numbers
