"""The scores of maps that can be read at a glance, as tables of text."""

import math
from collections.abc import Sequence

from unweight.benchmark.t1.sets import ALL
from unweight.benchmark.t1.tables import TextTable
from unweight.benchmark.weighted.groups import EDGES, LESIONS, TISSUE_NAMES, bin_names
from unweight.benchmark.weighted.scores import NAMES
from unweight.metrics.scores import Score

ABSENT = "n/a"
IMAGES = ("map", "method", "PSNR dB", "loss dB", "pure", "T2 <= 0.3 s", "whole frame", "SSIM")
VOXELS = (
    *("map", "method", "MAE", "RMSE", "mean err %", "median err %", "bias %", "cover 90 %", "missing %"),
    "s/exam",
)
# Of MAE and RMSE: ms for times, % for PD.
SHOWN_AS = {"T1": (1e3, " ms"), "T2": (1e3, " ms"), "PD": (1e2, " %")}
Key = tuple[str, str, str, str, str]


def maps_tables(scores: Sequence[Score]) -> tuple[TextTable, ...]:
    """Return the tables that these scores fill: for each set the whole brain, its tissues and values."""
    value = {(one.method, one.dataset, one.parameter, one.group, one.metric): one.value for one in scores}
    made: list[TextTable] = []
    for dataset in dict.fromkeys(one.dataset for one in scores):
        methods = list(dict.fromkeys(one.method for one in scores if one.dataset == dataset))
        made += _summary(value, dataset, methods)
        kinds = _kinds(scores, dataset)
        if kinds:
            made.append(_by_group(value, (dataset, methods), kinds, ("PSNR in dB", "psnr", 1.0)))
        groups = [*TISSUE_NAMES, *(name for parameter in EDGES for name in bin_names(parameter))]
        made.append(
            _by_group(value, (dataset, methods), groups, ("median error in %", "median_ape", 100.0))
        )
        made.append(_lesions(value, dataset, methods))
    return tuple(one for one in made if one.rows)


def _summary(value: dict[Key, float], dataset: str, methods: Sequence[str]) -> tuple[TextTable, ...]:
    """Return a row for each method and map of one set: as images, and voxel by voxel."""
    images, voxels = [], []
    for parameter in NAMES:
        factor, unit = SHOWN_AS[parameter]
        for method in methods:
            where = (method, dataset, parameter, ALL)

            def number(
                metric: str, digits: int, scale: float = 1.0, at: tuple[str, str, str, str] = where
            ) -> str:
                return _number(scale * value.get((*at, metric), math.nan), digits)

            decibel = ("psnr", "loss_db", "psnr_pure", "psnr_tissue", "psnr_frame")
            images.append(
                (parameter, method, *(number(metric, 2) for metric in decibel), number("ssim", 4))
            )
            sizes = (number(metric, 1, factor) for metric in ("mae", "rmse"))
            shares = ("mape", "median_ape", "bias", "interval_90", "missing")
            seconds = value.get((method, dataset, ABSENT, ALL, "seconds_per_examination"), math.nan)
            voxels.append(
                (
                    parameter,
                    method,
                    *(size if size == ABSENT else size + unit for size in sizes),
                    *(number(metric, 1, 100.0) for metric in shares),
                    _number(seconds, 2),
                )
            )
    title = f"{dataset}: the brain with its CSF"
    return (
        TextTable(title=f"{title}, as images", columns=IMAGES, rows=images),
        TextTable(title=f"{title}, voxel by voxel", columns=VOXELS, rows=voxels),
    )


def _by_group(
    value: dict[Key, float],
    place: tuple[str, Sequence[str]],
    groups: Sequence[str],
    shown: tuple[str, str, float],
) -> TextTable:
    """Return one metric of each map, groups one below the other, a column for each method."""
    dataset, methods = place
    title, metric, scale = shown
    rows = []
    for group in groups:
        for parameter in NAMES:
            keys = [(method, dataset, parameter, group, metric) for method in methods]
            if any(key in value for key in keys):
                cells = (_number(scale * value.get(key, math.nan), 1) for key in keys)
                rows.append((group, parameter, *cells))
    return TextTable(title=f"{dataset}: {title}", columns=("voxels", "map", *methods), rows=rows)


def _lesions(value: dict[Key, float], dataset: str, methods: Sequence[str]) -> TextTable:
    """Return what share of the lesions is on the right side of white matter, and how far off they are."""
    rows = []
    for group in LESIONS:
        for parameter in NAMES:
            cells = []
            for method in methods:
                key = (method, dataset, parameter, group)
                right = 100 * value.get((*key, "right_sign"), math.nan)
                ratio = value.get((*key, "error_over_white"), math.nan)
                cells.append(f"{_number(right, 0)} ({_number(ratio, 2)})")
            if any((method, dataset, parameter, group, "error_over_white") in value for method in methods):
                rows.append((group, parameter, *cells))
    title = f"{dataset}: lesions with the right sign of contrast in % (error over that of white matter)"
    return TextTable(title=title, columns=("lesion", "map", *methods), rows=rows)


def _kinds(scores: Sequence[Score], dataset: str) -> list[str]:
    """Return the groups of whole examinations."""
    groups = (one.group for one in scores if one.dataset == dataset and one.metric == "psnr")
    return [name for name in dict.fromkeys(groups) if name != ALL]


def _number(value: float, digits: int) -> str:
    return ABSENT if math.isnan(value) else f"{value:.{digits}f}"
