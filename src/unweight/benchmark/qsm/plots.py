"""Pictures of susceptibility maps beside the truth, and of their structures against it, as PNG bytes."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from unweight.report.colours import colours_for
from unweight.report.page import DPI, GREY, INK, PAPER, WIDTH, bright_ends, legend, line, plain, png
from unweight.signals.parameters import CHI

COLUMNS = 4
Image = NDArray[np.floating[Any]]


def draw_susceptibility(maps: Mapping[str, Image], title: str) -> bytes:
    """Draw one slice of each map, all on one grey scale; voxels without a value are black.

    Args:
        maps: By name, the truth first, as they lie on the page; NaN where there is no value [ppm].
        title: Title of the picture.
    """
    colours, norm = colours_for(CHI, np.zeros(0))
    rows = math.ceil(len(maps) / COLUMNS)
    height, width = next(iter(maps.values())).shape
    tall = rows * (WIDTH - 0.8) / COLUMNS * height / width + 0.4 * rows + 0.6
    figure = Figure(figsize=(WIDTH, tall), dpi=DPI, facecolor=PAPER, layout="constrained")
    grid = figure.subplots(rows, COLUMNS, squeeze=False).reshape(-1)
    for axes in grid:
        axes.set_axis_off()
    for axes, (name, image) in zip(grid, maps.items(), strict=False):
        axes.imshow(
            np.ma.masked_invalid(image), cmap=bright_ends(colours), norm=norm, interpolation="nearest"
        )
        axes.set_title(name, fontsize=8, color=INK)
    bar = figure.colorbar(grid[0].images[0], ax=grid.tolist(), shrink=0.5)
    bar.set_label("susceptibility [ppm]", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    figure.suptitle(title, fontsize=12, color=INK)
    return png(figure)


def draw_structures(
    true: Sequence[float], found: Mapping[str, Sequence[float]], names: Sequence[str], title: str
) -> bytes:
    """Draw the mean susceptibility of structures against the true one.

    Args:
        true: One value a structure [ppm].
        found: The same by method.
        names: Of the structures.
        title: Title of the picture.
    """
    figure = Figure(figsize=(WIDTH, 5.2), dpi=DPI, facecolor=PAPER, layout="constrained")
    axes = figure.subplots()
    plain(axes)
    ends = [1000 * min(true) - 15, 1000 * max(true) + 25]
    axes.plot(ends, ends, color=GREY, linewidth=1)
    for number, (method, values) in enumerate(found.items()):
        style = line(number) | {"linestyle": "none"}
        axes.plot([1000 * one for one in true], [1000 * one for one in values], label=method, **style)
    for name, value in zip(names, true, strict=True):
        axes.annotate(
            name.replace("_", " "), (1000 * value, ends[0]), fontsize=7, rotation=90, color=INK, va="bottom"
        )
    axes.set_xlim(*ends)
    axes.set_xlabel("true [ppb]", fontsize=9)
    axes.set_ylabel("found [ppb]", fontsize=9)
    legend(figure, axes)
    figure.suptitle(title, fontsize=12, color=INK)
    return png(figure)
