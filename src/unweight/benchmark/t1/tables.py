"""The T1 scores that can be read at a glance, as tables of text."""

import math
from collections.abc import Sequence

from unweight.benchmark.core.run import ALL
from unweight.benchmark.core.tables import (
    Cells,
    Column,
    Row,
    ScoreIndex,
    TextTable,
    filled,
    headings,
    index_of,
    number,
)
from unweight.benchmark.t1.datasets import (
    PHANTOM,
    PUBLISHED,
    REAL_BRAIN,
    REAL_PHANTOM,
    SPHERE_NAMES,
    SPHERES_MS,
)
from unweight.benchmark.t1.heads import BRAIN_NAME, DETAIL, STRUCTURES
from unweight.benchmark.t1.stability import STABILITY
from unweight.metrics.accuracy import T1_BIN_NAMES
from unweight.metrics.scores import ABSENT, Score

SUMMARY_TITLE = (
    "Whole sets, of heads the brain, in %; cover: truths in 90 % intervals from the SD, own: in those a "
    "method gives; sd/error, sd/bound: stated SD over robust error and over the bound of the fit; winkler: "
    "score of the 90 % interval of ln T1; x exact: RMSE over the best"
)
SUMMARY = (
    Column(heading="RMSE ln", metric="rmse_ln", digits=1, factor=100),
    Column(heading="median err", metric="median_ape", digits=1, factor=100),
    Column(heading="usable", metric="usable", digits=1, factor=100),
    Column(heading="missing", metric="missing", digits=1, factor=100),
    Column(heading="cover 90", metric="coverage_90", digits=1, factor=100),
    Column(heading="own 90", metric="interval_90", digits=1, factor=100),
    Column(heading="width 90", metric="width_90", digits=1, factor=100),
    Column(heading="sd/error", metric="sd_over_error", digits=2),
    Column(heading="sd/bound", metric="sd_over_bound", digits=2),
    Column(heading="winkler", metric="winkler_90", digits=3),
    Column(heading="x exact", metric="rmse_ln_to_exact", digits=2, group=ALL),
    Column(heading="s/slice", metric="seconds_per_slice", digits=2, group=ALL, parameter=ABSENT),
    Column(heading="evals", metric="network_evaluations", digits=0, group=ALL, parameter=ABSENT),
)
CHANGES = (
    Column(heading="largest %", metric="largest_change", digits=3, factor=100),
    Column(heading="voxels over 1 %", metric="share_changed", digits=3, factor=100),
    Column(heading="value lost or won %", metric="lost", digits=3, factor=100),
)


def tables(scores: Sequence[Score]) -> tuple[TextTable, ...]:
    """Return the tables that these scores fill."""
    index = index_of(scores)
    return filled(
        (_spheres(index), _real(scores), _bins(index), _summary(index), _details(index), _stable(scores))
    )


def _row(dataset: str, method: str, group: str = ALL) -> Row:
    return Row(dataset=dataset, method=method, parameter="T1", group=group)


def _spheres(index: ScoreIndex) -> TextTable:
    """Return the table of the paper: a row for each sphere, a column for each method."""
    methods = index.methods(PHANTOM)
    rows = []
    for place, (name, t1) in enumerate(zip(SPHERE_NAMES, SPHERES_MS, strict=True)):
        cells = [str(t1)]
        for method in methods:
            mean, sd = (index.value(_row(PHANTOM, method, name), metric) for metric in ("mean", "sd"))
            spread = "" if math.isnan(sd) else f" ± {1e3 * sd:.0f}"
            cells.append(f"{number(mean, 0, 1e3)}{spread}")
        cells += [f"{paper.mean_ms[place]} ± {paper.sd_ms[place]}" for paper in PUBLISHED]
        rows.append(tuple(cells))
    return TextTable(
        title="Spheres of the phantom: T1 in ms, mean ± SD, and published values",
        columns=("T1", *methods, *(f"{paper.method} (published)" for paper in PUBLISHED)),
        rows=rows if methods else (),
    )


def _bins(index: ScoreIndex) -> TextTable:
    """Return error and bias in each bin of the true T1, sets one below the other."""
    methods = index.methods()
    rows = []
    for dataset in index.datasets():
        for group in (*T1_BIN_NAMES, ALL):
            row = [_row(dataset, method, group) for method in methods]
            pairs = [(index.value(each, "rmse_ln"), index.value(each, "bias")) for each in row]
            if any(math.isfinite(rmse) for rmse, _ in pairs):
                cells = (
                    ABSENT if math.isnan(rmse) else f"{100 * rmse:.1f} ({100 * bias:+.1f})"
                    for rmse, bias in pairs
                )
                rows.append((dataset, group, *cells))
    title = "By true T1: RMSE of ln T1 times 100 (mean error of T1 in %)"
    return TextTable(title=title, columns=("set", "true T1", *methods), rows=rows)


def _summary(index: ScoreIndex) -> TextTable:
    """Return a row for each method on each set."""
    rows: list[Cells] = []
    for dataset in index.datasets():
        for method in index.methods(dataset) if dataset != STABILITY else ():
            brain = any(index.has(_row(dataset, method, BRAIN_NAME), column.metric) for column in SUMMARY)
            row = _row(dataset, method, BRAIN_NAME if brain else ALL)
            rows.append((dataset, method, *index.cells(row, SUMMARY)))
    return TextTable(title=SUMMARY_TITLE, columns=("set", "method", *headings(SUMMARY)), rows=rows)


def _real(scores: Sequence[Score]) -> TextTable:
    """Return T1 of each sphere and of all voxels of real data."""
    index = index_of(score for score in scores if score.dataset.startswith((REAL_PHANTOM, REAL_BRAIN)))
    methods = index.methods()
    rows = []
    for dataset, group in dict.fromkeys((key[0], key[3]) for key in index.values):
        cells = []
        for method in methods:
            row = _row(dataset, method, group)
            away = index.value(row, "median_bias")
            beside = "" if math.isnan(away) else f" ({100 * away:+.1f})"
            cells.append(f"{number(index.value(row, 'median'), 0, 1e3)}{beside}")
        if any(cell != ABSENT for cell in cells):
            rows.append((dataset, group, *cells))
    title = "Real data: median T1 in ms (median difference to ml in %)"
    return TextTable(title=title, columns=("set", "voxels", *methods), rows=rows)


def _details(index: ScoreIndex) -> TextTable:
    methods = index.methods(DETAIL)
    rows = [
        (
            name,
            *(
                " / ".join(
                    number(index.value(_row(DETAIL, method, name), f"recovered_{scale}"), 0, 100)
                    for scale in ("linear", "free")
                )
                for method in methods
            ),
        )
        for name in STRUCTURES
    ]
    title = "Small structures: contrast preserved in %, of T1 / of ln T1"
    return TextTable(title=title, columns=("structure", *methods), rows=rows if methods else ())


def _stable(scores: Sequence[Score]) -> TextTable:
    index = index_of(score for score in scores if score.dataset == STABILITY)
    rows = [
        (method, group, *index.cells(_row(STABILITY, method, group), CHANGES))
        for method, group in dict.fromkeys((key[1], key[3]) for key in index.values)
    ]
    title = "Stability: change of T1 in the spheres in %"
    return TextTable(title=title, columns=("method", "change", *headings(CHANGES)), rows=rows)
