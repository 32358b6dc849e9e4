"""The scores of T1, T2 and PD that can be read at a glance, as tables of text."""

from collections.abc import Sequence

from unweight.benchmark.core.run import ALL
from unweight.benchmark.core.tables import (
    Column,
    Row,
    ScoreIndex,
    TextTable,
    filled,
    headings,
    index_of,
    number,
)
from unweight.benchmark.weighted.datasets import EDGES, LESIONS, NAMES, TISSUE_NAMES, bin_names
from unweight.metrics.scores import ABSENT, Score

IMAGES = (
    Column(heading="PSNR dB", metric="psnr", digits=2),
    Column(heading="loss dB", metric="loss_db", digits=2),
    Column(heading="pure", metric="psnr_pure", digits=2),
    Column(heading="T2 <= 0.3 s", metric="psnr_tissue", digits=2),
    Column(heading="whole frame", metric="psnr_frame", digits=2),
    Column(heading="SSIM", metric="ssim", digits=4),
)
SHARES = (
    Column(heading="mean err %", metric="mape", digits=1, factor=100),
    Column(heading="median err %", metric="median_ape", digits=1, factor=100),
    Column(heading="bias %", metric="bias", digits=1, factor=100),
    Column(heading="cover 90 %", metric="interval_90", digits=1, factor=100),
    Column(heading="missing %", metric="missing", digits=1, factor=100),
    Column(heading="s/exam", metric="seconds_per_examination", digits=2, parameter=ABSENT),
)
VOXELS = ("map", "method", "MAE", "RMSE", *headings(SHARES))
# Of MAE and RMSE: ms for times, % for PD.
SHOWN_AS = {"T1": (1e3, " ms"), "T2": (1e3, " ms"), "PD": (1e2, " %")}


def weighted_tables(scores: Sequence[Score]) -> tuple[TextTable, ...]:
    """Return the tables that these scores fill: for each set the whole brain, its tissues and values."""
    index = index_of(scores)
    groups = [*TISSUE_NAMES, *(name for parameter in EDGES for name in bin_names(parameter))]
    tables: list[TextTable] = []
    for dataset in index.datasets():
        kinds = _kinds(scores, dataset)
        tables += [_as_images(index, dataset), _by_voxel(index, dataset)]
        tables.append(_by_group(index, dataset, kinds, "PSNR in dB", "psnr", 1.0))
        tables.append(_by_group(index, dataset, groups, "median error in %", "median_ape", 100.0))
        tables.append(_lesions(index, dataset))
    return filled(tables)


def _rows(index: ScoreIndex, dataset: str) -> list[Row]:
    """Return a row for each map and method of one set."""
    return [
        Row(dataset=dataset, method=method, parameter=parameter)
        for parameter in NAMES
        for method in index.methods(dataset)
    ]


def _as_images(index: ScoreIndex, dataset: str) -> TextTable:
    return TextTable(
        title=f"{dataset}: brain including CSF, image metrics",
        columns=("map", "method", *headings(IMAGES)),
        rows=[(row.parameter, row.method, *index.cells(row, IMAGES)) for row in _rows(index, dataset)],
    )


def _by_voxel(index: ScoreIndex, dataset: str) -> TextTable:
    rows = []
    for row in _rows(index, dataset):
        factor, unit = SHOWN_AS[row.parameter]
        sizes = (
            Column(heading="", metric=metric, digits=1, factor=factor, suffix=unit)
            for metric in ("mae", "rmse")
        )
        rows.append((row.parameter, row.method, *index.cells(row, (*sizes, *SHARES))))
    title = f"{dataset}: brain including CSF, voxelwise"
    return TextTable(title=title, columns=VOXELS, rows=rows)


def _by_group(
    index: ScoreIndex, dataset: str, groups: Sequence[str], title: str, metric: str, factor: float
) -> TextTable:
    """Return one metric of each map, groups one below the other, a column for each method."""
    methods = index.methods(dataset)
    rows = []
    for group in groups:
        for parameter in NAMES:
            row = [
                Row(dataset=dataset, method=method, parameter=parameter, group=group) for method in methods
            ]
            if any(index.has(each, metric) for each in row):
                cells = (number(index.value(each, metric), 1, factor) for each in row)
                rows.append((group, parameter, *cells))
    return TextTable(title=f"{dataset}: {title}", columns=("voxels", "map", *methods), rows=rows)


def _lesions(index: ScoreIndex, dataset: str) -> TextTable:
    """Return what share of the lesions is on the right side of white matter, and how far off they are."""
    methods = index.methods(dataset)
    rows = []
    for group in LESIONS:
        for parameter in NAMES:
            row = [
                Row(dataset=dataset, method=method, parameter=parameter, group=group) for method in methods
            ]
            if any(index.has(each, "error_over_white") for each in row):
                cells = (
                    f"{number(index.value(each, 'right_sign'), 0, 100)} "
                    f"({number(index.value(each, 'error_over_white'), 2)})"
                    for each in row
                )
                rows.append((group, parameter, *cells))
    title = f"{dataset}: lesions with the correct sign of contrast in % (error relative to white matter)"
    return TextTable(title=title, columns=("lesion", "map", *methods), rows=rows)


def _kinds(scores: Sequence[Score], dataset: str) -> list[str]:
    """Return the groups of whole examinations."""
    groups = (score.group for score in scores if score.dataset == dataset and score.metric == "psnr")
    return [name for name in dict.fromkeys(groups) if name != ALL]
