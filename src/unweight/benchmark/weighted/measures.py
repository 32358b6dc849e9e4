"""Scores of what map methods said: accuracy, intervals, images, lesions, and what an unseen set costs.

All voxels with a value count, suspect ones too; `missing` is the share of the brain without one. Errors
are over groups of voxels of all examinations together, `psnr` and `ssim` means over examinations.
"""

import math
import statistics
from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unweight.benchmark.t1.sets import ALL, everything
from unweight.benchmark.weighted.groups import LESIONS, TISSUE_NAMES, WHITE, binned, by_kind
from unweight.benchmark.weighted.scores import NAMES, Brain, MapsAnswer, MapsTried
from unweight.benchmark.weighted.sets import INTERNAL
from unweight.metrics.accuracy import accuracy, median
from unweight.metrics.calibration import interval_coverage
from unweight.metrics.lesions import lesion_contrasts
from unweight.metrics.scores import Groups, Score, Subject, scores_by_group

UNITS = {"T1": "s", "T2": "s", "PD": "1"}
DECIBEL = ("psnr", "psnr_pure", "psnr_frame", "psnr_tissue")
RELATIVE_METRICS = ("bias", "mape", "median_ape", "rmse_ln", "missing")
ABSOLUTE_METRICS = ("rmse", "mae")


def scores_of(tried: MapsTried) -> list[Score]:
    """Return the scores of every method on a set."""
    truth = torch.cat([one.truth for one in tried.brains]).double()
    tissue = torch.cat([one.tissue for one in tried.brains])
    kinds = by_kind([one.kinds for one in tried.brains], [len(one) for one in tried.brains])
    divided = (everything(len(truth)), *kinds, Groups(names=TISSUE_NAMES, index=tissue))
    scores: list[Score] = []
    for method, answers in tried.answers.items():
        values = torch.cat([one.values for one in answers]).double()
        ends = (torch.cat([one.lower for one in answers]), torch.cat([one.upper for one in answers]))
        for place, name in enumerate(NAMES):
            subject = Subject(method=method, dataset=tried.name, unit=UNITS[name], parameter=name)
            said = (values[:, place], truth[:, place], ends[0][:, place], ends[1][:, place])
            for groups in (*divided, binned(name, truth[:, place])):
                scores += _voxel_scores(said, groups, subject)
            scores += image_scores(tried.brains, answers, subject)
            scores += lesion_scores(tried.brains, answers, subject)
        scores.append(_cost(method, tried, answers))
    return [one for one in scores if one.n > 0]


def image_scores(
    brains: Sequence[Brain], answers: Sequence[MapsAnswer], subject: Subject
) -> Iterable[Score]:
    """Return mean and SD of PSNR and SSIM over examinations: over all, and over those of each kind."""
    names = [metric for parameter, metric in answers[0].quality if parameter == subject.parameter]
    divided: dict[str, list[int]] = {ALL: list(range(len(brains)))}
    for groups in by_kind([one.kinds for one in brains], [1] * len(brains)):
        for place, name in enumerate(groups.names):
            divided[name] = (groups.index == place).nonzero()[:, 0].tolist()
    for group, members in divided.items():
        for metric in names:
            found = [answers[one].quality[subject.parameter, metric] for one in members]
            spread = (
                statistics.stdev(found) if len(found) > 1 and all(map(math.isfinite, found)) else math.nan
            )
            for name, value in ((metric, statistics.fmean(found)), (f"{metric}_sd", spread)):
                yield Score(
                    method=subject.method,
                    dataset=subject.dataset,
                    parameter=subject.parameter,
                    group=group,
                    metric=name,
                    value=value,
                    n=sum(len(brains[one]) for one in members),
                    unit="dB" if metric in DECIBEL else "1",
                )


def lesion_scores(
    brains: Sequence[Brain], answers: Sequence[MapsAnswer], subject: Subject
) -> Iterable[Score]:
    """Return how many lesions of each kind have contrast of the right sign, and how far off they are.

    `right_sign` is over lesions of enough true contrast, whose number is n. `error_over_white` is the
    median relative error in lesions over that in the normal white matter of the same examinations.
    """
    place = NAMES.index(subject.parameter)
    for name in LESIONS:
        kind, white = TISSUE_NAMES.index(name), TISSUE_NAMES.index(WHITE)
        pairs = [
            (brain, answer)
            for brain, answer in zip(brains, answers, strict=True)
            if bool((brain.tissue == kind).any())
        ]
        if not pairs:
            continue
        right: list[bool] = []
        errors: dict[int, list[Tensor]] = {kind: [], white: []}
        for brain, answer in pairs:
            estimate, truth = answer.values[:, place].double(), brain.truth[:, place].double()
            right += _right_signs((estimate, truth), brain, kind)
            for tissue, parts in errors.items():
                chosen = brain.tissue == tissue
                parts.append((estimate[chosen] / truth[chosen] - 1).abs())
        ill, normal = (_median_of(parts) for parts in errors.values())
        n_voxels = sum(len(part) for part in errors[kind])
        measured = (
            ("right_sign", statistics.fmean(right) if right else math.nan, len(right)),
            ("error_over_white", ill / normal if normal > 0 else math.nan, n_voxels),
        )
        for metric, value, n in measured:
            yield Score(
                method=subject.method,
                dataset=subject.dataset,
                parameter=subject.parameter,
                group=name,
                metric=metric,
                value=value,
                n=n,
            )


def loss_scores(scores: Sequence[Score]) -> list[Score]:
    """Return how much PSNR a set costs: that of the set less that of `internal`, map by map."""
    known = {
        (one.method, one.parameter, one.metric): one
        for one in scores
        if one.dataset == INTERNAL and one.group == ALL and one.metric in DECIBEL
    }
    losses = []
    for one in scores:
        base = known.get((one.method, one.parameter, one.metric))
        if base is None or one.dataset == INTERNAL or one.group != ALL:
            continue
        losses.append(
            Score(
                method=one.method,
                dataset=one.dataset,
                parameter=one.parameter,
                group=ALL,
                metric=one.metric.replace("psnr", "loss_db"),
                value=one.value - base.value,
                n=one.n,
                unit="dB",
            )
        )
    return losses


def _voxel_scores(
    said: tuple[Tensor, Tensor, Tensor, Tensor], groups: Groups, subject: Subject
) -> tuple[Score, ...]:
    """Return errors and intervals of each group of voxels."""
    estimate, truth, lower, upper = said

    def measure(voxels: Bool[Tensor, " voxels"]) -> dict[str, float]:
        found, known = estimate[voxels], truth[voxels]
        relative = accuracy(found, known)
        error = (found - known)[found > 0]  # those that a relative error counts
        measured = {name: relative[name] for name in RELATIVE_METRICS}
        measured |= {"rmse": float(error.square().mean().sqrt()), "mae": float(error.abs().mean())}
        ends = (lower[voxels], upper[voxels])
        width = (ends[1] - ends[0]) / known
        return measured | {
            "interval_90": interval_coverage(*ends, known),
            "interval_90_width": median(width[torch.isfinite(width)]),
            "n": float(voxels.sum()),
        }

    return scores_by_group(measure, groups, subject, dict.fromkeys(ABSOLUTE_METRICS, subject.unit))


def _right_signs(
    pair: tuple[Float[Tensor, " voxels"], Float[Tensor, " voxels"]], brain: Brain, kind: int
) -> list[bool]:
    """Return for each lesion of a kind with enough contrast whether its sign is right."""
    lesion = torch.where(brain.tissue == kind, brain.lesion, -1)
    contrasts = lesion_contrasts(*pair, lesion, brain.tissue == TISSUE_NAMES.index(WHITE))
    return [one.right for one in contrasts if one.counts]


def _median_of(parts: Sequence[Float[Tensor, " voxels"]]) -> float:
    values = torch.cat(tuple(parts))
    return median(values[torch.isfinite(values)])


def _cost(method: str, tried: MapsTried, answers: Sequence[MapsAnswer]) -> Score:
    return Score(
        method=method,
        dataset=tried.name,
        group=ALL,
        metric="seconds_per_examination",
        value=statistics.median(one.seconds for one in answers),
        n=sum(len(one) for one in tried.brains),
        unit="s",
    )
