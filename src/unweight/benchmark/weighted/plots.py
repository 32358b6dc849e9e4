"""Static pictures of how good methods for several maps are, as PNG bytes, 1200 pixels wide."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from unweight.core.errors import UsageError
from unweight.core.parameter import ParameterSpec
from unweight.report.colours import colour_map, colours_for
from unweight.report.page import DPI, INK, PAPER, WIDTH, bright_ends, legend, line, plain, png

SHOWN_ERROR = 20.0
SHOWN_PD = (0.5, 1.1)
DIVERGING = "vik"
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
    maps: tuple[NDArray[np.floating[Any]], ...]


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
    for one in rows:
        if any(found.shape != shape for found in one.maps) or len(one.maps) != len(specs):
            raise UsageError(
                f"{one.method}: {len(one.maps)} maps, which do not fit {len(specs)} of {shape}"
            )
    columns = 2 * len(specs)
    tall = shape[0] / shape[1] * (WIDTH - 0.4) / columns
    height = tall * (len(rows) + 1) + TOP
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, facecolor=PAPER, layout="constrained")
    grid = figure.subplots(len(rows) + 1, columns, squeeze=False)
    difference = (bright_ends(colour_map(DIVERGING)), Normalize(-SHOWN_ERROR, SHOWN_ERROR, clip=True))
    for number, spec in enumerate(specs):
        scale, known = _scale(spec), truth.maps[number]
        values, errors = grid[:, 2 * number], grid[:, 2 * number + 1]
        _draw(values[0], known, scale)
        if outlined is not None and outlined.any():
            values[0].contour(outlined.astype(float), levels=[0.5], colors="white", linewidths=0.6)
        errors[0].set_axis_off()
        for one, left, right in zip(rows, values[1:], errors[1:], strict=True):
            _draw(left, one.maps[number], scale)
            _draw(right, 100 * (one.maps[number] / known - 1), difference)
        unit = f" [{spec.unit}]" if spec.unit == "s" else ""
        _bar(figure, values, f"{spec.name}{unit}")
        if rows:
            _bar(figure, errors, f"error of {spec.name} [%]", at=1)
    for axes, name in zip(grid[:, 0], ["truth", *(one.method for one in rows)], strict=True):
        axes.set_ylabel(name, fontsize=9, color=INK)
    figure.suptitle(title, fontsize=12, color=INK)
    return png(figure)


def draw_interval_coverage(
    found: Mapping[str, Mapping[str, Mapping[str, float]]], groups: Sequence[str], title: str
) -> bytes:
    """Draw how often the truth lies in the 90 % interval, tissue by tissue: a panel for each map.

    Args:
        found: Share of truths inside, by map, method and group; none for a method without intervals.
        groups: In the order to draw them.
        title: Title of the picture.
    """
    figure = Figure(figsize=(WIDTH, 2.1 * len(found) + 0.9), dpi=DPI, facecolor=PAPER, layout="constrained")
    panels = figure.subplots(len(found), 1, squeeze=False, sharex=True)[:, 0]
    for axes, (parameter, methods) in zip(panels, found.items(), strict=True):
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
    figure.suptitle(title, fontsize=12, color=INK)
    return png(figure)


def _scale(spec: ParameterSpec) -> tuple[Colormap, Normalize]:
    colours, norm = colours_for(spec, np.zeros(0))
    return colours, Normalize(*SHOWN_PD, clip=True) if spec.name == "PD" else norm


def _draw(axes: Axes, image: NDArray[np.floating[Any]], shown: tuple[Colormap, Normalize]) -> None:
    axes.imshow(np.ma.masked_invalid(image), cmap=shown[0], norm=shown[1], interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])


def _bar(figure: Figure, column: NDArray[Any], label: str, at: int = 0) -> None:
    """Draw the colour bar below a column."""
    bar = figure.colorbar(
        column[at].images[0], ax=column.tolist(), location="bottom", fraction=0.05, pad=0.01, aspect=12
    )
    bar.set_label(label, fontsize=8)
    bar.ax.tick_params(labelsize=7)
