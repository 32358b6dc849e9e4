"""How well masks meet the brain, and what else is in them.

`eyes` is the share of the voxels of the eyes that a mask holds, `outside` that of all other tissue. An
image in which a method finds no brain counts as an empty mask.
"""

import time
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool
from torch import Tensor

from unweight.benchmark.core.tables import TextTable
from unweight.benchmark.mask.cases import MaskCase
from unweight.core.errors import InputError
from unweight.metrics.scores import Score, ScoreContext
from unweight.metrics.segmentation import score_structure
from unweight.prepare.brain_finder import BrainFinder

METRICS = ("dice", "hd95", "eyes", "outside", "seconds")
UNITS = {"hd95": "mm", "seconds": "s"}
PARAMETER = "mask"


def score_case(case: MaskCase, method: str, finder: BrainFinder, subject: str) -> tuple[Score, ...]:
    """Return the scores of one method on one image.

    Args:
        case: The image.
        method: Name of the method.
        finder: The method.
        subject: Whose head it is; the group of the scores is its contrast.
    """
    began = time.perf_counter()
    try:
        mask = finder.in_images([case.image], case.affine).mask.cpu()
    except InputError:
        mask = torch.zeros_like(case.brain)
    numbers = mask_numbers(mask, case) | {"seconds": time.perf_counter() - began}
    context = ScoreContext(method=method, dataset=case.resolution, parameter=PARAMETER)
    count = int(case.brain.sum())
    group = f"{case.contrast}, {subject}"
    return tuple(
        context.score(group, metric, value, count, UNITS.get(metric, "1"))
        for metric, value in numbers.items()
    )


def mask_numbers(mask: Bool[Tensor, "x y z"], case: MaskCase) -> dict[str, float]:
    """Return Dice, HD95 [mm], and the shares of eyes and of other tissue in a mask."""
    scored = score_structure(mask, case.brain, case.voxel_mm)
    return {
        "dice": scored["dice"],
        "hd95": scored["hd95_mm"],
        "eyes": share(mask, case.eyes),
        "outside": share(mask, case.other),
    }


def share(mask: Bool[Tensor, "x y z"], part: Bool[Tensor, "x y z"]) -> float:
    """Return the share of a part that is in a mask; 0 of nothing."""
    return float((mask & part).sum()) / max(1, int(part.sum()))


def mask_tables(scores: Sequence[Score], contrasts: Sequence[str]) -> tuple[TextTable, ...]:
    """Return a table for each resolution: the mean over subjects, contrast by contrast."""
    tables = []
    for dataset in dict.fromkeys(score.dataset for score in scores):
        rows = []
        for method in dict.fromkeys(score.method for score in scores):
            for contrast in contrasts:
                own = [
                    score
                    for score in scores
                    if (score.dataset, score.method) == (dataset, method)
                    and score.group.startswith(f"{contrast}, ")
                ]
                if own:
                    rows.append((contrast, method, *_cells(own)))
        columns = ("contrast", "method", "Dice", "HD95 [mm]", "eyes [%]", "other outside [%]", "time [s]")
        tables.append(TextTable(title=f"Brain masks, {dataset}", columns=columns, rows=rows))
    return tuple(tables)


def _cells(scores: Sequence[Score]) -> tuple[str, ...]:
    means: Mapping[str, float] = {
        metric: sum(values) / len(values)
        for metric in METRICS
        if (values := [score.value for score in scores if score.metric == metric])
    }
    return (
        f"{means['dice']:.3f}",
        f"{means['hd95']:.1f}",
        f"{100 * means['eyes']:.2f}",
        f"{100 * means['outside']:.2f}",
        f"{means['seconds']:.1f}",
    )
