"""Pictures of T1w images made in several ways, of what conditions gain, and of age, as PNG bytes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from unweight.report.colours import colour_map
from unweight.report.page import DPI, GREY, INK, PAPER, WIDTH, bright_ends, legend, line, plain, png

Image = NDArray[np.floating[Any]]
SHOWN, SHOWN_ERROR = (0.0, 1.2), 0.25
TOP = 0.8


@final
@dataclass(frozen=True, kw_only=True)
class Bar:
    """What one condition adds to one structure.

    Attributes:
        structure: Name.
        condition: Name.
        mean: The change.
        lower: End of its interval.
        upper: Likewise.
    """

    structure: str
    condition: str
    mean: float
    lower: float
    upper: float


def draw_ways(planes: Sequence[Mapping[str, Image]], title: str) -> bytes:
    """Draw the true image and those made of it, each above its error.

    Args:
        planes: For each plane, images by way as they lie on the page, the true one first.
        title: Title of the picture.
    """
    names = list(planes[0])
    heights = [
        next(iter(one.values())).shape[0] / next(iter(one.values())).shape[1]
        for one in planes
        for _ in (0, 1)
    ]
    wide = WIDTH * max(1.0, len(names) / 5)
    tall = sum(heights) * wide / len(names) + TOP
    figure = Figure(figsize=(wide, tall), dpi=DPI, facecolor=PAPER, layout="constrained")
    grid = figure.subplots(2 * len(planes), len(names), squeeze=False, height_ratios=heights)
    error = (bright_ends(colour_map("vik")), Normalize(-SHOWN_ERROR, SHOWN_ERROR, clip=True))
    for row, images in enumerate(planes):
        truth = images[names[0]]
        for column, name in enumerate(names):
            above, below = grid[2 * row, column], grid[2 * row + 1, column]
            above.imshow(images[name], cmap="gray", vmin=SHOWN[0], vmax=SHOWN[1], interpolation="nearest")
            if column:
                away = np.where(truth > 0, images[name] - truth, np.nan)
                below.imshow(
                    np.ma.masked_invalid(away), cmap=error[0], norm=error[1], interpolation="nearest"
                )
            if row == 0:
                above.set_title(name, fontsize=9, color=INK)
            for axes in (above, below):
                axes.set_axis_off()
    if len(names) > 1:
        bar = figure.colorbar(grid[1, 1].images[0], ax=grid[:, -1].tolist(), shrink=0.5)
        bar.set_label("made less true, white matter is 1", fontsize=8)
        bar.ax.tick_params(labelsize=7)
    figure.suptitle(title, fontsize=12, color=INK)
    return png(figure)


def draw_gains(bars: Sequence[Bar], title: str) -> bytes:
    """Draw what each condition adds to each structure, with intervals."""
    figure = Figure(figsize=(WIDTH, 4.4), dpi=DPI, facecolor=PAPER, layout="constrained")
    axes = figure.subplots()
    plain(axes)
    structures = list(dict.fromkeys(one.structure for one in bars))
    conditions = list(dict.fromkeys(one.condition for one in bars))
    for number, condition in enumerate(conditions):
        some = {one.structure: one for one in bars if one.condition == condition}
        there = [name for name in structures if name in some]
        places = [structures.index(name) + 0.2 * (number - (len(conditions) - 1) / 2) for name in there]
        means = np.array([some[name].mean for name in there])
        lower = means - np.array([some[name].lower for name in there])
        upper = np.array([some[name].upper for name in there]) - means
        style = line(number) | {"linestyle": "none"}
        axes.errorbar(places, means, yerr=np.array([lower, upper]), label=condition, **style)
    axes.axhline(0, color=GREY, linewidth=1)
    axes.set_xticks(range(len(structures)))
    axes.set_xticklabels([name.replace("_", " ") for name in structures], fontsize=8)
    axes.set_ylabel("change", fontsize=9)
    legend(figure, axes)
    figure.suptitle(title, fontsize=12, color=INK)
    return png(figure)


def draw_ages(
    age: Sequence[float], volumes: Mapping[str, Mapping[str, Sequence[float]]], title: str
) -> bytes:
    """Draw volumes against age, one panel a structure, true and made.

    Args:
        age: Of each person [years].
        volumes: By structure and way, for each person [ml]; the true ones are the first way.
        title: Title of the picture.
    """
    columns = min(4, len(volumes))
    rows = -(-len(volumes) // columns)
    figure = Figure(figsize=(WIDTH, 2.7 * rows + 0.6), dpi=DPI, facecolor=PAPER, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).reshape(-1)
    years = np.array(age)
    for axes in grid[len(volumes) :]:
        axes.set_axis_off()
    for axes, (structure, by_way) in zip(grid, volumes.items(), strict=False):
        plain(axes)
        for number, (way, values) in enumerate(by_way.items()):
            style = line(number)
            found = np.array(values)
            axes.plot(
                years, found, style["marker"], color=style["color"], markersize=2.5, alpha=0.5, linewidth=0
            )
            slope, start = np.polyfit(years, found, 1)
            ends = np.array([years.min(), years.max()])
            axes.plot(ends, start + slope * ends, color=style["color"], linewidth=1.5, label=way)
        axes.set_title(structure.replace("_", " "), fontsize=9, color=INK)
        axes.tick_params(labelsize=7)
        axes.set_xlabel("age [years]", fontsize=8)
    grid[0].set_ylabel("volume [ml]", fontsize=8)
    legend(figure, grid[0])
    figure.suptitle(title, fontsize=12, color=INK)
    return png(figure)
