"""Pictures of an evaluation of T1, T2 and PD by file name, as PNG bytes, 1200 pixels wide."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from unweight.benchmark.core.figures import (
    Colours,
    Image,
    error_colours,
    finished,
    sheet,
    show_image,
    slice_layout,
)
from unweight.benchmark.core.run import ALL
from unweight.benchmark.weighted.datasets import HEALTHY, NAMES, TISSUE_NAMES, lesion_voxels
from unweight.benchmark.weighted.scores import MappedCase, WeightedResult
from unweight.core.errors import UsageError
from unweight.core.parameter import ParameterSpec
from unweight.metrics.scores import Score
from unweight.report.colours import colours_for
from unweight.report.page import INK, WIDTH, legend, line, plain
from unweight.synth.simulate_weighted import SPECS

SHOWN_ERROR = 20.0
SHOWN_PD = (0.5, 1.1)
LEVEL = 90.0
TOP = 1.2  # for the titles [inch]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class MapsRow:
    """One slice of each map of one method, as it lies on the page (`slices.lay_out`).

    Attributes:
        method: Its name.
        maps: In the order of the specs; NaN where there is no value.
    """

    method: str
    maps: tuple[Image, ...]


def weighted_figures(result: WeightedResult) -> dict[str, bytes]:
    """Return what can be drawn of one set: maps of an examination of each disease, and coverage."""
    name = result.benchmark.dataset
    if not result.benchmark.predictions:
        return {}
    drawn = {}
    for mapped in result.examples:
        disease = mapped.case.metadata["disease"]
        drawn[f"{name}_{'maps' if disease == HEALTHY else disease}.png"] = _maps(mapped, name)
    coverage = coverage_by_tissue(result.benchmark.scores)
    present = {group for methods in coverage.values() for shares in methods.values() for group in shares}
    if present:
        groups = [group for group in (ALL, *TISSUE_NAMES) if group in present]
        drawn[f"{name}_coverage.png"] = draw_interval_coverage(coverage, groups, f"90 % intervals: {name}")
    return drawn


def coverage_by_tissue(scores: Sequence[Score]) -> dict[str, dict[str, dict[str, float]]]:
    """Return the share of truths inside the 90 % interval by map, method and tissue, where there is one."""
    coverage: dict[str, dict[str, dict[str, float]]] = {}
    for score in scores:
        if score.metric == "interval_90" and score.group in (ALL, *TISSUE_NAMES):
            shares = coverage.setdefault(score.parameter, {}).setdefault(score.method, {})
            if math.isfinite(score.value):
                shares[score.group] = score.value
    return coverage


def _maps(mapped: MappedCase, name: str) -> bytes:
    """Draw the slice with most lesion, or the middle one, cut to the brain."""
    case = mapped.case
    lesions = torch.zeros_like(case.scored)
    lesions[case.scored] = lesion_voxels(case)
    ill = lesions.sum((0, 1))
    chosen = int(ill.argmax()) if bool(ill.any()) else case.scored.shape[2] // 2
    page = slice_layout(case.scored, case.input.affine, chosen)
    truth = MapsRow(method="truth", maps=tuple(page(case.truth[parameter]) for parameter in NAMES))
    rows = [
        MapsRow(method=method, maps=tuple(page(maps.value(parameter)) for parameter in NAMES))
        for method, maps in mapped.maps.items()
    ]
    title = f"{name}: {', '.join(case.metadata.values())}"
    return draw_map_rows(rows, truth, SPECS, title, outlined=page(lesions) > 0)


def draw_map_rows(
    rows: Sequence[MapsRow],
    truth: MapsRow,
    specs: Sequence[ParameterSpec],
    title: str,
    *,
    outlined: NDArray[np.bool_] | None = None,
) -> bytes:
    """Draw one slice of square voxels: a row for the truth and for each method, each map beside its error.

    The scales are fixed, so that pictures of several sets can be compared.

    Args:
        rows: The methods; voxels without a value are black.
        truth: True maps on the same grid; NaN outside.
        specs: What each map is.
        title: Title of the picture.
        outlined: Voxels, as of lesions, that get an outline on the true maps.
    """
    shape = truth.maps[0].shape
    for row in rows:
        if any(image.shape != shape for image in row.maps) or len(row.maps) != len(specs):
            raise UsageError(
                f"{row.method}: {len(row.maps)} maps, which do not fit {len(specs)} of {shape}"
            )
    columns = 2 * len(specs)
    tall = shape[0] / shape[1] * (WIDTH - 0.4) / columns
    height = tall * (len(rows) + 1) + TOP
    figure = sheet(height)
    grid = figure.subplots(len(rows) + 1, columns, squeeze=False)
    for number, spec in enumerate(specs):
        scale, known = _scale(spec), truth.maps[number]
        values, errors = grid[:, 2 * number], grid[:, 2 * number + 1]
        show_image(values[0], known, scale)
        if outlined is not None and outlined.any():
            values[0].contour(outlined.astype(float), levels=[0.5], colors="white", linewidths=0.6)
        errors[0].set_axis_off()
        for method, left, right in zip(rows, values[1:], errors[1:], strict=True):
            show_image(left, method.maps[number], scale)
            show_image(right, 100 * (method.maps[number] / known - 1), error_colours(SHOWN_ERROR))
        unit = f" [{spec.unit}]" if spec.unit == "s" else ""
        _bar(figure, values, f"{spec.name}{unit}")
        if rows:
            _bar(figure, errors, f"error of {spec.name} [%]", at=1)
    for axes, name in zip(grid[:, 0], ["truth", *(row.method for row in rows)], strict=True):
        axes.set_ylabel(name, fontsize=9, color=INK)
    return finished(figure, title)


def draw_interval_coverage(
    coverage: Mapping[str, Mapping[str, Mapping[str, float]]], groups: Sequence[str], title: str
) -> bytes:
    """Draw how often the truth lies in the 90 % interval, tissue by tissue: a panel for each map.

    Args:
        coverage: Share of truths inside, by map, method and group; none for a method without intervals.
        groups: In the order to draw them.
        title: Title of the picture.
    """
    figure = sheet(2.1 * len(coverage) + 0.9)
    panels = figure.subplots(len(coverage), 1, squeeze=False, sharex=True)[:, 0]
    for axes, (parameter, methods) in zip(panels, coverage.items(), strict=True):
        plain(axes)
        axes.axhline(LEVEL, color=INK, linewidth=0.8, label="as promised")
        for number, (method, shares) in enumerate(methods.items()):
            if not shares:
                continue
            beside = 0.08 * (number - (len(methods) - 1) / 2)
            values = [100 * shares.get(group, np.nan) for group in groups]
            style = line(number) | {"linestyle": "none"}
            axes.plot(np.arange(len(groups)) + beside, values, label=method, **style)
        axes.set_ylim(0, 104)
        axes.set_ylabel(f"{parameter}: truths inside [%]", fontsize=9)
        axes.set_xticks(range(len(groups)), list(groups), fontsize=9)
    if len(panels):
        legend(figure, panels[0])
    return finished(figure, title)


def _scale(spec: ParameterSpec) -> Colours:
    colours, norm = colours_for(spec, np.zeros(0))
    return colours, Normalize(*SHOWN_PD, clip=True) if spec.name == "PD" else norm


def _bar(figure: Figure, column: NDArray[Any], label: str, at: int = 0) -> None:
    """Draw the colour bar below a column."""
    bar = figure.colorbar(
        column[at].images[0], ax=column.tolist(), location="bottom", fraction=0.05, pad=0.01, aspect=12
    )
    bar.set_label(label, fontsize=8)
    bar.ax.tick_params(labelsize=7)
