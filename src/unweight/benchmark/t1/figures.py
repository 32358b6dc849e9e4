"""Pictures of an evaluation of T1 by file name, as PNG bytes, 1200 pixels wide."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, Normalize
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from unweight.benchmark.core.figures import (
    Image,
    error_colours,
    finished,
    sheet,
    show_image,
    slice_layout,
)
from unweight.benchmark.core.run import ALL, TRUTH, joined
from unweight.benchmark.t1.datasets import (
    EXACT,
    FIELD,
    PHANTOM,
    PLATE,
    PUBLISHED,
    SNR,
    SPHERE_NAMES,
    SPHERES_MS,
    VERSION,
)
from unweight.benchmark.t1.heads import BRAIN_NAME, BRAINS
from unweight.benchmark.t1.scores import Result, scored_voxels
from unweight.core.errors import UsageError
from unweight.core.parameter import ParameterSpec
from unweight.metrics.accuracy import T1_BIN_NAMES
from unweight.metrics.calibration import LEVELS, Sparsification, sparsification
from unweight.metrics.scores import Score
from unweight.phantom.facts import sphere_array
from unweight.report.colours import UNCERTAINTY, colour_map, colours_for
from unweight.report.page import GREY, INK, WIDTH, legend, line, page, png
from unweight.signals.inversion_recovery import InversionRecovery
from unweight.signals.noise import Rician
from unweight.signals.parameters import T1
from unweight.signals.precision import cramer_rao_bound
from unweight.synth.protocols.standard import seven_inversions

N_BOUND = 60
EFFICIENCY = 1.95  # near the middle of the phantom
BAND = 5.0
MOST_ERROR = 40.0
SHOWN_ERROR = 20.0
SHOWN_SD = 20.0


@final
@dataclass(frozen=True, kw_only=True)
class SphereSeries:
    """What one method measured in the spheres of a phantom.

    Attributes:
        method: Its name.
        true: True T1 of each sphere [s].
        mean: Measured T1 [s]; NaN where there is none.
        sd: Standard deviation in the sphere [s]; NaN for no bar.
        published: Whether the values come from a publication; they are drawn hollow.
    """

    method: str
    true: tuple[float, ...]
    mean: tuple[float, ...]
    sd: tuple[float, ...]
    published: bool = False

    def __post_init__(self) -> None:
        if not len(self.true) == len(self.mean) == len(self.sd):
            raise UsageError(
                f"{self.method}: {len(self.true)} true values, {len(self.mean)} means and "
                f"{len(self.sd)} standard deviations of the same spheres"
            )


@final
@dataclass(frozen=True, kw_only=True)
class SphereBound:
    """The Cramér–Rao bound to draw behind the spheres.

    Attributes:
        true: T1, rising [s].
        relative_sd: Smallest possible SD of a voxel over T1.
    """

    true: tuple[float, ...]
    relative_sd: tuple[float, ...]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class MethodSlice:
    """One slice of one method, as it lies on the page (`slices.lay_out`).

    Attributes:
        method: Its name.
        t1: T1 [s]; NaN where the method failed.
        sd: Its standard deviation [s].
    """

    method: str
    t1: Image
    sd: Image


def figures_of(result: Result) -> dict[str, bytes]:
    """Return pictures of one dataset with a truth: spheres, coverage, sparsification, errors, and maps."""
    scores, name = result.scores, result.dataset
    if result.reference != TRUTH or not result.predictions:
        return {}
    groups = {group for divided in result.cases[0].groups for group in divided.names}
    group = BRAIN_NAME if BRAIN_NAME in groups else ALL
    where = name if group == ALL else f"{name}, {group}"
    coverage = coverage_by_method(scores, group)
    drawn = {}
    if coverage:
        drawn[f"{name}_coverage.png"] = draw_coverage(coverage, f"Intervals of T1: {where}")
    curves = _curves(result, group)
    if curves:
        title = f"Are large errors predicted by large SDs? {where}"
        drawn[f"{name}_sparsification.png"] = draw_sparsification(curves, title)
    if any(score.metric == "rmse_ln" and score.group in T1_BIN_NAMES for score in scores):
        drawn[f"{name}_error_by_bin.png"] = draw_error_by_bin(scores, f"Error of T1: {name}")
    if name == PHANTOM:
        drawn |= _spheres(result)
    if name == BRAINS:
        drawn["brains_maps.png"] = _maps(result)
    return drawn


def coverage_by_method(scores: Iterable[Score], group: str) -> dict[str, dict[float, float]]:
    """Return the share of truths inside the interval of each level, by method."""
    shares: dict[str, dict[float, float]] = {}
    levels = {f"coverage_{100 * level:.0f}": level for level in LEVELS}
    for score in scores:
        if score.group == group and score.metric in levels:
            shares.setdefault(score.method, {})[levels[score.metric]] = score.value
    return shares


def _spheres(result: Result) -> dict[str, bytes]:
    """Draw what the methods measured in the spheres, and on a page of its own what was published."""
    n_seeds = len(result.cases)
    where = f"Plate {PLATE}, version {VERSION}, seven inversions"
    measured = [_series(result.scores, method) for method in result.predictions]
    published = [
        SphereSeries(
            method=paper.method,
            true=tuple(t1 / 1e3 for t1 in SPHERES_MS),
            mean=tuple(t1 / 1e3 for t1 in paper.mean_ms),
            sd=tuple(sd / 1e3 for sd in paper.sd_ms),
            published=True,
        )
        for paper in PUBLISHED
    ]
    return {
        f"{PHANTOM}_spheres.png": draw_spheres(
            measured,
            f"{where}: simulated, SNR {SNR:g}, {n_seeds} noise seed{'s'[: n_seeds > 1]}",
            bound=_bound(),
        ),
        f"{PHANTOM}_spheres_published.png": draw_spheres(
            published, f"{where}: a scan at {FIELD:g} T, as published (arXiv 2407.16477)"
        ),
    }


def _series(scores: Sequence[Score], method: str) -> SphereSeries:
    value = {(each.group, each.metric): each.value for each in scores if each.method == method}
    mean, sd = (
        tuple(value.get((name, metric), math.nan) for name in SPHERE_NAMES) for metric in ("mean", "sd")
    )
    nominal = sphere_array(PLATE, VERSION, FIELD).nominal.t1
    return SphereSeries(method=method, true=nominal, mean=mean, sd=sd)


def _bound() -> SphereBound:
    """Return the smallest SD of a voxel at PD 1."""
    low, high = SPHERES_MS[-1] / 1e3, SPHERES_MS[0] / 1e3
    t1 = torch.logspace(math.log10(low), math.log10(high), N_BOUND, dtype=torch.float64)
    theta = torch.stack([t1, torch.ones_like(t1), torch.full_like(t1, EFFICIENCY)], dim=-1)
    bound = cramer_rao_bound(
        InversionRecovery(), theta, seven_inversions().protocol, Rician(sigma=1.0 / SNR)
    )
    return SphereBound(true=tuple(t1.tolist()), relative_sd=tuple((bound[:, 0] / t1).tolist()))


def _curves(result: Result, group: str) -> Mapping[str, Sparsification]:
    divided = joined([case.groups for case in result.cases])
    chosen = next(each.index == each.names.index(group) for each in divided if group in each.names)
    curves = {}
    for name, predictions in result.predictions.items():
        free = scored_voxels(result.cases, predictions).free.valued(chosen)
        if len(free.mean):
            curves[name] = sparsification(free)
    return curves


def _maps(result: Result) -> bytes:
    """Draw the first slice, cut to the head."""
    case = result.cases[0]
    page = slice_layout(case.scored, case.input.affine, 0)
    slices = [
        MethodSlice(
            method=name,
            t1=page(predictions[0].output.value("T1")),
            sd=page(predictions[0].output.deviation("T1")),
        )
        for name, predictions in result.predictions.items()
        if name != EXACT
    ]
    title = f"Held-out slice, SNR {SNR:g}"
    return draw_methods(slices, page(case.truth["T1"]), T1, title)


def draw_spheres(series: Sequence[SphereSeries], title: str, *, bound: SphereBound | None = None) -> bytes:
    """Draw the relative error of each method in each sphere against the true T1."""
    figure, axes = page(5.4, title)
    axes.axhspan(-BAND, BAND, color=GREY, alpha=0.22, linewidth=0, label=f"±{BAND:g} %")
    axes.axhline(0, color=INK, linewidth=0.8)
    if bound is not None:
        edge = 100 * np.asarray(bound.relative_sd)
        times = 1e3 * np.asarray(bound.true)
        style: dict[str, Any] = {"color": INK, "linewidth": 1, "linestyle": (0, (4, 2))}
        axes.plot(times, edge, label="smallest SD possible\n(Cramér–Rao)", **style)
        axes.plot(times, -edge, **style)
    reach = _reach(series)
    for number, spheres in enumerate(series):
        _draw_series(axes, spheres, (number, len(series)), reach)
    axes.set_ylim(-reach, reach)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda tick, _: f"{tick:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("true T1 [ms]; numbers at the edges are errors beyond them [%]")
    axes.set_ylabel("error of T1 [%]  (bar: SD in the sphere)")
    legend(figure, axes)
    return png(figure)


def draw_coverage(coverage: Mapping[str, Mapping[float, float]], title: str) -> bytes:
    """Draw how often the truth lies in the interval, against how often it should.

    Args:
        coverage: Of each method, the share found at each nominal level.
        title: Title of the picture.
    """
    figure, axes = page(5.4, title)
    axes.plot([0, 100], [0, 100], color=INK, linewidth=0.8, label="as promised")
    for number, (method, entry) in enumerate(coverage.items()):
        levels = sorted(entry)
        axes.plot(
            [100 * level for level in levels],
            [100 * entry[level] for level in levels],
            label=method,
            **line(number),
        )
    displayed = sorted({100 * level for value in coverage.values() for level in value}) or [50.0]
    axes.set_xlim(displayed[0] - 5, 100)
    axes.set_xticks(displayed, [f"{level:g}" for level in displayed])
    axes.set_ylim(0, 102)
    axes.text(0.02, 0.97, "intervals too wide", transform=axes.transAxes, va="top", color=GREY)
    axes.text(0.98, 0.03, "intervals too narrow", transform=axes.transAxes, ha="right", color=GREY)
    axes.set_xlabel("nominal coverage [%]")
    axes.set_ylabel("measured coverage [%]")
    legend(figure, axes)
    return png(figure)


def draw_sparsification(curves: Mapping[str, Sparsification], title: str) -> bytes:
    """Draw the error that is left when the least certain voxels of each method are removed."""
    figure, axes = page(5.4, title)
    for number, (method, curve) in enumerate(curves.items()):
        style = line(number)
        share = 100 * curve.removed.cpu().numpy()
        label = f"{method}\n(area to best: {curve.ause:.3f})"
        axes.plot(share, curve.by_sd.cpu().numpy(), label=label, markevery=10, **style)
        axes.plot(share, curve.oracle.cpu().numpy(), color=style["color"], linewidth=1.1, linestyle=":")
    axes.plot([], [], color=INK, linewidth=1.1, linestyle=":", label="best order possible")
    axes.set_xlim(0, 100)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("voxels with the largest SD removed [%]")
    axes.set_ylabel("RMSE of the remaining voxels, relative to all")
    legend(figure, axes)
    return png(figure)


def draw_error_by_bin(scores: Sequence[Score], title: str, *, metric: str = "rmse_ln") -> bytes:
    """Draw the RMSE of ln T1 of each method in each bin of the true T1.

    Args:
        scores: Of one set; those of other metrics and groups are left out.
        title: Title of the picture.
        metric: The one to draw, a share.
    """
    displayed = [score for score in scores if score.metric == metric and score.group in T1_BIN_NAMES]
    sets = sorted({item.dataset for item in displayed})
    if len(sets) != 1:
        raise UsageError(f"one set at a time can be drawn, found scores of {', '.join(sets) or 'none'}")
    figure, axes = page(5.0, title)
    methods = list(dict.fromkeys(item.method for item in displayed))
    for number, method in enumerate(methods):
        of_bin = {item.group: 100 * item.value for item in displayed if item.method == method}
        places = np.arange(len(T1_BIN_NAMES)) + 0.06 * (number - (len(methods) - 1) / 2)
        values = [of_bin.get(name, np.nan) for name in T1_BIN_NAMES]
        axes.plot(places, values, label=method, **line(number))
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda tick, _: f"{tick:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xticks(range(len(T1_BIN_NAMES)), [name.replace("-", "–") for name in T1_BIN_NAMES])
    axes.set_xlabel("true T1")
    axes.set_ylabel("RMSE of ln T1, times 100 (about %)")
    legend(figure, axes)
    return png(figure)


def draw_methods(
    methods: Sequence[MethodSlice],
    truth: Image,
    spec: ParameterSpec,
    title: str,
    *,
    aspect: float = 1.0,
) -> bytes:
    """Draw one slice: the T1 map, its error and its SD, a column for each method.

    Args:
        methods: The slices; voxels without a value are black.
        truth: True T1 on the same grid [s]; NaN outside.
        spec: What T1 is, for its colours.
        title: Title of the picture.
        aspect: Height of a voxel over its width.
    """
    for method in methods:
        if method.t1.shape != truth.shape or method.sd.shape != truth.shape:
            raise UsageError(
                f"{method.method}: a slice of {method.t1.shape}, but the truth is {truth.shape}"
            )
    columns = len(methods) + 1
    tall = truth.shape[0] * aspect / truth.shape[1] * (WIDTH - 1.2) / columns
    figure = sheet(3 * tall + 0.9)
    grid = figure.subplots(3, columns, squeeze=False)
    colours, norm = colours_for(spec, truth)
    rows: tuple[tuple[str, Colormap, Normalize], ...] = (
        ("T1 [s]", colours, norm),
        ("error of T1 [%]", *error_colours(SHOWN_ERROR)),
        ("SD of T1 [%]", colour_map(UNCERTAINTY), Normalize(0, SHOWN_SD, clip=True)),
    )
    images = [[truth, None, None]]
    images += [[item.t1, 100 * (item.t1 / truth - 1), 100 * item.sd / item.t1] for item in methods]
    for row, (label, colour, scale) in enumerate(rows):
        for column, image in enumerate(images):
            values = image[row]
            if values is None:
                grid[row, column].set_axis_off()
            else:
                show_image(grid[row, column], values, (colour, scale), aspect)
        bar = figure.colorbar(grid[row, 1].images[0], ax=grid[row, :].tolist(), fraction=0.05, pad=0.01)
        bar.set_label(label, fontsize=9)
        bar.ax.tick_params(labelsize=8)
        if row == 0:
            _t1_ticks(bar, scale)
        else:
            bar.ax.set_yticks(np.linspace(scale.vmin or 0, scale.vmax or 1, 5))
    for axes, name in zip(grid[0], ["Truth", *(item.method for item in methods)], strict=True):
        axes.set_title(name, fontsize=10, color=INK)
    grid[2, 0].text(0.5, 0.5, "black: no value", transform=grid[2, 0].transAxes, ha="center", fontsize=9)
    return finished(figure, title)


def _draw_series(axes: Axes, sphere_series: SphereSeries, place: tuple[int, int], reach: float) -> None:
    """Draw one method, moved aside so that bars do not hide each other."""
    number, count = place
    true, mean, sd = (
        np.asarray(part, dtype=float) for part in (sphere_series.true, sphere_series.mean, sphere_series.sd)
    )
    times = 1e3 * true * np.exp(min(0.045, 0.25 / count) * (number - (count - 1) / 2))
    error, spread = 100 * (mean / true - 1), 100 * sd / true
    style = line(number)
    axes.errorbar(
        times,
        error,
        yerr=np.where(np.isfinite(spread), spread, 0),
        linestyle="none",
        marker=style["marker"],
        color=style["color"],
        markersize=6,
        markerfacecolor="white" if sphere_series.published else style["color"],
        elinewidth=1.2,
        capsize=0,
        label=sphere_series.method + ("\n(published)" if sphere_series.published else ""),
    )
    for time, value in zip(times, error, strict=True):
        if abs(value) > reach:
            edge = np.sign(value)
            axes.annotate(
                f"{value:+.0f}",
                (time, edge * reach),
                xytext=(time, edge * reach * (0.92 - 0.07 * number)),  # a row for each method
                ha="center",
                va="center",
                fontsize=8,
                color=style["color"],
                arrowprops={"arrowstyle": "->", "color": style["color"]},
            )


def _reach(series: Sequence[SphereSeries]) -> float:
    """Return the largest error the axis shows [%]."""
    errors = np.concatenate(
        [100 * np.abs(np.divide(entry.mean, entry.true) - 1) for entry in series] or [[0.0]]
    )
    spread = np.concatenate([100 * np.divide(entry.sd, entry.true) for entry in series] or [[0.0]])
    ends = errors + np.where(np.isfinite(spread), spread, 0)
    finite = ends[np.isfinite(ends)]
    return float(min(MOST_ERROR, max(2 * BAND, 1.1 * finite.max(initial=0.0))))


def _t1_ticks(bar: Any, norm: Normalize) -> None:
    low, high = float(norm.vmin or 0), float(norm.vmax or 1)
    bar.set_ticks([tick for tick in (0, 0.5, 1, 2, 3, 4, 6, 8) if low <= tick <= high])
    bar.ax.minorticks_off()
