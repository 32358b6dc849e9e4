"""The scores that can be read at a glance, as tables of text."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from unweight.benchmark.t1.detail import DETAIL, STRUCTURES
from unweight.benchmark.t1.heads import BRAIN_NAME
from unweight.benchmark.t1.published import PUBLISHED, SPHERE_NAMES, SPHERES_MS
from unweight.benchmark.t1.real import REAL_BRAIN, REAL_PHANTOM
from unweight.benchmark.t1.sets import ALL, PHANTOM
from unweight.benchmark.t1.stability import STABILITY
from unweight.metrics.accuracy import T1_BIN_NAMES
from unweight.metrics.scores import Score

ABSENT = "n/a"
SUMMARY_TITLE = (
    "Whole sets, of heads the brain, in %; cover: truths in 90 % intervals from the SD, own: in those a "
    "method gives; sd/error, sd/bound: stated SD over robust error and over the bound of the fit; winkler: "
    "score of the 90 % interval of ln T1; x exact: RMSE over the best"
)
SUMMARY = (
    "set",
    "method",
    "RMSE ln",
    "median err",
    "usable",
    "missing",
    "cover 90",
    "own 90",
    "width 90",
    "sd/error",
    "sd/bound",
    "winkler",
    "x exact",
    "s/slice",
    "evals",
)

Rows = tuple[Sequence[str], list[tuple[str, ...]]]
Key = tuple[str, str, str, str]


@final
@dataclass(frozen=True, kw_only=True)
class TextTable:
    """One table to print.

    Attributes:
        title: What it shows, with the unit of the numbers.
        columns: Headings.
        rows: Cells.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, ...]]


def tables(scores: Sequence[Score]) -> tuple[TextTable, ...]:
    """Return the tables that these scores fill."""
    made = (
        ("Spheres of the phantom: T1 in ms, mean ± SD, and beside it what was published", _spheres(scores)),
        ("Real data: median T1 in ms (median difference to ml in %)", _real(scores)),
        ("By true T1: RMSE of ln T1 times 100 (mean error of T1 in %)", _bins(scores)),
        (SUMMARY_TITLE, _summary(scores)),
        ("Small structures: contrast that is left in %, of T1 / of ln T1", _details(scores)),
        ("Stability: change of T1 in the spheres in %", _stable(scores)),
    )
    return tuple(
        TextTable(title=title, columns=columns, rows=rows) for title, (columns, rows) in made if rows
    )


def _values(scores: Sequence[Score]) -> dict[Key, float]:
    """Return the numbers by method, set, group and metric."""
    return {(one.method, one.dataset, one.group, one.metric): one.value for one in scores}


def _methods(scores: Sequence[Score], dataset: str | None = None) -> list[str]:
    """Return the methods of a set in the order in which they ran."""
    return list(dict.fromkeys(one.method for one in scores if dataset in (None, one.dataset)))


def _spheres(scores: Sequence[Score]) -> Rows:
    """Return the table of the paper: a row for each sphere, a column for each method."""
    value, methods = _values(scores), _methods(scores, PHANTOM)
    if not methods:
        return (), []
    rows = []
    for place, (name, t1) in enumerate(zip(SPHERE_NAMES, SPHERES_MS, strict=True)):
        cells = [str(t1)]
        for method in methods:
            mean, sd = (value[method, PHANTOM, name, metric] for metric in ("mean", "sd"))
            spread = "" if math.isnan(sd) else f" ± {1e3 * sd:.0f}"
            cells.append(f"{_number(1e3 * mean, 0)}{spread}")
        cells += [f"{one.mean_ms[place]} ± {one.sd_ms[place]}" for one in PUBLISHED]
        rows.append(tuple(cells))
    return ("T1", *methods, *(f"{one.method} (published)" for one in PUBLISHED)), rows


def _bins(scores: Sequence[Score]) -> Rows:
    """Return error and bias in each bin of the true T1, sets one below the other."""
    value, methods = _values(scores), _methods(scores)
    rows = []
    for dataset in dict.fromkeys(one.dataset for one in scores):
        for group in (*T1_BIN_NAMES, ALL):
            found = [
                (
                    value.get((one, dataset, group, "rmse_ln"), math.nan),
                    value.get((one, dataset, group, "bias"), math.nan),
                )
                for one in methods
            ]
            if any(math.isfinite(rmse) for rmse, _ in found):
                cells = (
                    ABSENT if math.isnan(rmse) else f"{100 * rmse:.1f} ({100 * bias:+.1f})"
                    for rmse, bias in found
                )
                rows.append((dataset, group, *cells))
    return ("set", "true T1", *methods), rows


def _summary(scores: Sequence[Score]) -> Rows:
    """Return a row for each method on each set."""
    value = _values(scores)
    rows = []
    for dataset in dict.fromkeys(one.dataset for one in scores if one.dataset != STABILITY):
        for method in _methods(scores, dataset):
            group = BRAIN_NAME if (method, dataset, BRAIN_NAME, "usable") in value else ALL

            def percent(metric: str, at: tuple[str, str, str] = (method, dataset, group)) -> str:
                return _number(100 * value.get((*at, metric), math.nan), 1)

            def of_group(
                metric: str, digits: int, at: tuple[str, str, str] = (method, dataset, group)
            ) -> str:
                return _number(value.get((*at, metric), math.nan), digits)

            def plain(metric: str, digits: int, at: tuple[str, str] = (method, dataset)) -> str:
                return _number(value.get((*at, ALL, metric), math.nan), digits)

            rows.append(
                (
                    dataset,
                    method,
                    *(percent(metric) for metric in ("rmse_ln", "median_ape", "usable", "missing")),
                    *(percent(metric) for metric in ("coverage_90", "interval_90", "width_90")),
                    of_group("sd_over_error", 2),
                    of_group("sd_over_bound", 2),
                    of_group("winkler_90", 3),
                    plain("rmse_ln_to_exact", 2),
                    plain("seconds_per_slice", 2),
                    plain("network_evaluations", 0),
                )
            )
    return SUMMARY, rows


def _real(scores: Sequence[Score]) -> Rows:
    """Return T1 of each sphere and of all voxels of real data."""
    real = [one for one in scores if one.dataset.startswith((REAL_PHANTOM, REAL_BRAIN))]
    value, methods = _values(real), _methods(real)
    rows = []
    for dataset, group in dict.fromkeys((one.dataset, one.group) for one in real):
        cells = []
        for method in methods:
            median = value.get((method, dataset, group, "median"), math.nan)
            away = value.get((method, dataset, group, "median_bias"), math.nan)
            beside = "" if math.isnan(away) else f" ({100 * away:+.1f})"
            cells.append(f"{_number(1e3 * median, 0)}{beside}")
        if any(cell != ABSENT for cell in cells):
            rows.append((dataset, group, *cells))
    return ("set", "voxels", *methods), rows


def _details(scores: Sequence[Score]) -> Rows:
    value, methods = _values(scores), _methods(scores, DETAIL)
    rows = [
        (
            name,
            *(
                " / ".join(
                    _number(100 * value[method, DETAIL, name, f"recovered_{scale}"], 0)
                    for scale in ("linear", "free")
                )
                for method in methods
            ),
        )
        for name in STRUCTURES
        if methods
    ]
    return ("structure", *methods), rows


def _stable(scores: Sequence[Score]) -> Rows:
    metrics = ("largest_change", "share_changed", "lost")
    value = _values(scores)
    keys = dict.fromkeys((one.method, one.group) for one in scores if one.dataset == STABILITY)
    rows = [
        (method, group, *(_number(100 * value[method, STABILITY, group, metric], 3) for metric in metrics))
        for method, group in keys
    ]
    return ("method", "change", "largest %", "voxels over 1 %", "value lost or won %"), rows


def _number(value: float, digits: int) -> str:
    return ABSENT if math.isnan(value) else f"{value:.{digits}f}"
