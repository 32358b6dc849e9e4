"""How well segmentations meet the labels: Dice, HD95 and volume of each structure.

Left and right are scored as labels of their own and averaged, so that exchanged sides count as errors. An
image in which no brain is found counts as an empty segmentation.
"""

import math
import time
from collections.abc import Sequence

import torch
from jaxtyping import UInt8
from torch import Tensor

from unweight.benchmark.core.tables import TextTable
from unweight.benchmark.segmentation.cases import SegmentationCase
from unweight.core.errors import InputError
from unweight.learn.segmentation.segmenter import BrainSegmenter
from unweight.metrics.brain_labels import BRAIN_LABELS
from unweight.metrics.scores import Score, ScoreContext
from unweight.metrics.segmentation import score_structure
from unweight.metrics.structures import BRAIN_CLASSES
from unweight.prepare.brain_finder import BrainFinder

METRICS = ("dice", "hd95", "volume_error", "seconds")
UNITS = {"hd95": "mm", "volume_error": "%", "seconds": "s"}
STRUCTURES = BRAIN_CLASSES[1:]
WHOLE = "brain"


def score_segmentation(
    case: SegmentationCase, method: str, segmenter: BrainSegmenter, finder: BrainFinder, subject: str
) -> tuple[Score, ...]:
    """Return the scores of one method on one image, brain mask included.

    Args:
        case: The image.
        method: Name of the method.
        segmenter: The method.
        finder: Makes the brain mask.
        subject: Whose head it is; the group of the scores is its contrast.
    """
    began = time.perf_counter()
    try:
        mask = finder.in_images([case.image], case.affine).mask
        labels = segmenter.segment(case.image, case.affine, mask).labels
    except InputError:
        labels = torch.zeros_like(case.labels)
    seconds = time.perf_counter() - began
    group = f"{case.contrast}, {subject}"
    scores = []
    for structure in STRUCTURES:
        context = ScoreContext(method=method, dataset=case.resolution, parameter=structure)
        count = int(_part(case.labels, structure).sum())
        scores += [
            context.score(group, metric, value, count, UNITS.get(metric, "1"))
            for metric, value in structure_numbers(labels, case, structure).items()
        ]
    context = ScoreContext(method=method, dataset=case.resolution, parameter=WHOLE)
    return (*scores, context.score(group, "seconds", seconds, int(case.brain.sum()), "s"))


def structure_numbers(
    labels: UInt8[Tensor, "x y z"], case: SegmentationCase, structure: str
) -> dict[str, float]:
    """Return Dice, HD95 [mm] and the error of the volume [%], averaged over both sides."""
    sides = []
    for label in BRAIN_LABELS:
        if label.structure == structure:
            predicted, true = labels == label.index, case.labels == label.index
            if bool(true.any()):
                scored = score_structure(predicted, true, case.voxel_mm)
                error = 100 * (int(predicted.sum()) / int(true.sum()) - 1)
                sides.append((scored["dice"], scored["hd95_mm"], error))
    if not sides:
        return {}
    means = [sum(values) / len(values) for values in zip(*sides, strict=True)]
    numbers = dict(zip(METRICS, means, strict=False))
    return {name: value for name, value in numbers.items() if math.isfinite(value)}


def segmentation_tables(scores: Sequence[Score], contrasts: Sequence[str]) -> tuple[TextTable, ...]:
    """Return a table of Dice for each resolution: the mean over subjects, contrast by contrast."""
    tables = []
    for dataset in dict.fromkeys(score.dataset for score in scores):
        rows = []
        for contrast in contrasts:
            own = [
                score
                for score in scores
                if score.dataset == dataset and score.group.startswith(f"{contrast}, ")
            ]
            if own:
                rows.append((contrast, *(_dice(own, structure) for structure in STRUCTURES), _seconds(own)))
        columns = ("contrast", *(structure.replace("_", " ") for structure in STRUCTURES), "time [s]")
        tables.append(TextTable(title=f"Dice, {dataset}", columns=columns, rows=rows))
    return tuple(tables)


def _dice(scores: Sequence[Score], structure: str) -> str:
    values = [s.value for s in scores if (s.metric, s.parameter) == ("dice", structure)]
    return f"{_mean(values):.3f}" if values else "n/a"


def _seconds(scores: Sequence[Score]) -> str:
    values = [score.value for score in scores if score.metric == "seconds"]
    return f"{_mean(values):.1f}" if values else "n/a"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _part(labels: UInt8[Tensor, "x y z"], structure: str) -> Tensor:
    indices = [label.index for label in BRAIN_LABELS if label.structure == structure]
    return torch.isin(labels, torch.tensor(indices, dtype=torch.uint8))
