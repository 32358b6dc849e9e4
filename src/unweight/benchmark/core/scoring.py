"""From results to scores by the metrics of the registry: those of a benchmark, or those asked for."""

import inspect
import math
import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unweight.benchmark.core.run import ALL
from unweight.core.errors import UsageError
from unweight.metrics.calibration import GaussianPrediction
from unweight.metrics.scores import COUNT, Groups, Score, ScoreContext, scores_by_group
from unweight.registry import load, metric, metrics
from unweight.registry.records import OF_MAP, Inputs, Metric


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class ImagePair:
    """A map against the true one.

    Attributes:
        estimate: The map.
        truth: The true map.
        inside: Voxels to compare.
        data_range: The largest value to expect, in the unit of the map.
    """

    estimate: Float[Tensor, "x y z"]
    truth: Float[Tensor, "x y z"]
    inside: Bool[Tensor, "x y z"]
    data_range: float


def image_pair(
    estimate: Float[Tensor, "*voxels"],
    truth: Float[Tensor, "*voxels"],
    scored: Bool[Tensor, "*voxels"],
    data_range: float,
) -> ImagePair:
    """Return a map against the true one where that is known; a single slice may lack the third axis."""
    estimate, truth, scored = (
        values[..., None] if values.ndim < 3 else values for values in (estimate, truth, scored)
    )
    return ImagePair(
        estimate=estimate, truth=truth, inside=scored & torch.isfinite(truth), data_range=data_range
    )


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class VoxelSample:
    """Voxels with what a method gives for them, and the truth.

    Attributes:
        estimate: NaN where the method has no value.
        truth: NaN where it is not known.
        prediction: Mean and standard deviation on the free scale; None for methods without.
        lower: Lower end of the 90 % interval; None likewise.
        upper: Upper end.
        scale: What widths are relative to; the estimate by default.
        positive: Whether the parameter is positive, so that errors are relative.
    """

    estimate: Float[Tensor, " voxels"]
    truth: Float[Tensor, " voxels"]
    prediction: GaussianPrediction | None = None
    lower: Float[Tensor, " voxels"] | None = None
    upper: Float[Tensor, " voxels"] | None = None
    scale: Float[Tensor, " voxels"] | None = None
    positive: bool = True

    def select(self, voxels: Bool[Tensor, " voxels"]) -> "VoxelSample":
        """Return some of the voxels."""
        free = self.prediction
        lower, upper, scale = (
            None if values is None else values[voxels] for values in (self.lower, self.upper, self.scale)
        )
        return VoxelSample(
            estimate=self.estimate[voxels],
            truth=self.truth[voxels],
            prediction=None
            if free is None
            else GaussianPrediction(
                mean=free.mean[voxels], sd=free.sd[voxels], truth=free.truth[voxels], positive=free.positive
            ),
            lower=lower,
            upper=upper,
            scale=self.estimate[voxels] if scale is None else scale,
            positive=self.positive,
        )


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class LabelPair:
    """One structure of a segmentation against the true one.

    Attributes:
        estimate: Its voxels.
        truth: Those it should have.
        voxel_mm: Size of a voxel [mm].
    """

    estimate: Bool[Tensor, "x y z"]
    truth: Bool[Tensor, "x y z"]
    voxel_mm: tuple[float, float, float]


@final
@dataclass(frozen=True, kw_only=True)
class MetricChoice:
    """The metrics of an evaluation.

    Attributes:
        names: Those asked for; None for what the benchmark scores by default.
    """

    names: tuple[str, ...] | None = None

    def wants(self, name: str) -> bool:
        """Whether a metric is to be scored by a benchmark that scores it by default."""
        return self.names is None or name in self.names

    def of(self, defaults: Iterable[str], inputs: Inputs) -> tuple[Metric, ...]:
        """Return those of some default metrics that are wanted."""
        return tuple(metric(name, inputs) for name in defaults if self.wants(name))

    def further(self, defaults: Collection[str], inputs: Inputs) -> tuple[Metric, ...]:
        """Return the metrics asked for that are not among the defaults of a benchmark."""
        return tuple(
            item
            for item in metrics(inputs)
            if item.name in (self.names or ()) and item.name not in defaults
        )

    def scores(self, scores: Iterable[Score]) -> tuple[Score, ...]:
        """Return the scores of the metrics that are wanted; `psnr_sd` belongs to `psnr`."""
        return tuple(score for score in scores if self.wants(score.metric.removesuffix("_sd")))


DEFAULT_METRICS = MetricChoice()


def check_metrics(names: Sequence[str], defaults: Collection[str], fed: Collection[Inputs]) -> None:
    """Refuse names that a benchmark cannot score.

    Args:
        names: Asked for.
        defaults: What the benchmark scores by default.
        fed: The inputs it has for metrics of the registry.

    Raises:
        UsageError: A name is none of them.
    """
    there = [*defaults, *(item.name for inputs in fed for item in metrics(inputs))]
    unknown = [name for name in names if name not in there]
    if unknown:
        listed = ", ".join(dict.fromkeys(there))
        raise UsageError(f"no metric is called {', '.join(unknown)}", remedy=f"There are {listed}.")


def measure(wanted: Sequence[Metric], inputs: ImagePair | VoxelSample | LabelPair) -> dict[str, float]:
    """Return the metrics of one comparison by name, and the number of voxels under `n` where it is given.

    A function that gives several is called once; metrics that need what the inputs lack are left out.
    """
    results: dict[str, float | Mapping[str, float]] = {}
    measured: dict[str, float] = {}
    for item in wanted:
        if item.target not in results:
            function = load(item.target)
            parameters = inspect.signature(function).parameters
            given = {
                name: value for name in parameters if (value := getattr(inputs, name, None)) is not None
            }
            lacking = [
                name
                for name, parameter in parameters.items()
                if parameter.default is inspect.Parameter.empty and name not in given
            ]
            results[item.target] = {} if lacking else function(**given)
        result = results[item.target]
        if not isinstance(result, Mapping):
            measured[item.name] = result
        elif (item.item or item.name) in result:
            measured[item.name] = result[item.item or item.name]
            if COUNT in result:
                measured[COUNT] = result[COUNT]
    return measured


def units_of(wanted: Iterable[Metric], unit: str) -> dict[str, str]:
    """Return the unit of each metric of a map in this unit."""
    return {item.name: unit if item.unit == OF_MAP else item.unit for item in wanted}


def voxel_scores(
    wanted: Sequence[Metric],
    sample: VoxelSample,
    groups: Groups,
    subject: ScoreContext,
    *,
    whole_groups: bool = False,
) -> tuple[Score, ...]:
    """Return the scores of each group of voxels.

    Args:
        wanted: Metrics of voxels.
        sample: Voxels with estimate and truth.
        groups: Which voxels belong together.
        subject: What is scored.
        whole_groups: Whether a score rests on all voxels of a group, also on those without a value.
    """

    def of_group(voxels: Bool[Tensor, " voxels"]) -> Mapping[str, float]:
        count = {COUNT: float(voxels.sum())}
        measured = measure(wanted, sample.select(voxels))
        return measured | count if whole_groups else count | measured

    return scores_by_group(of_group, groups, subject, units_of(wanted, subject.unit)) if wanted else ()


def further_voxel_scores(
    wanted: Sequence[Metric], sample: VoxelSample, divided: Sequence[Groups], subject: ScoreContext
) -> list[Score]:
    """Return scores of each metric, which rest on the voxels that this metric could compare."""
    return [
        score
        for item in wanted
        for groups in divided
        for score in voxel_scores((item,), sample, groups, subject)
    ]


def image_scores(
    wanted: Sequence[Metric], pairs: Sequence[ImagePair], subject: ScoreContext, group: str = ALL
) -> list[Score]:
    """Return the mean of each metric over the maps of all cases that have a value."""
    scores = []
    for item in wanted:
        values = [value for pair in pairs for value in measure((item,), pair).values()]
        finite = [value for value in values if not math.isnan(value)]
        value = statistics.fmean(finite) if finite else math.nan
        n = sum(int(pair.inside.sum()) for pair in pairs)
        unit = units_of((item,), subject.unit)[item.name]
        scores.append(subject.score(group, item.name, value, n, unit))
    return scores
