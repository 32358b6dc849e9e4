"""What the pictures of an evaluation share: paper, lines, and how they become PNG bytes.

A method keeps its colour and marker by its place in the list. The colours are those of Okabe & Ito,
which colour-blind readers tell apart; the markers say the same once more.
"""

import io
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, ListedColormap
from matplotlib.figure import Figure

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
INK, GREY, PAPER = "#1b1b1e", "#8a8a8f", "#ffffff"
WIDTH, DPI = 9.6, 125


def page(height: float, title: str) -> tuple[Figure, Axes]:
    """Return an empty picture of some height [inch] with one pair of axes."""
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, facecolor=PAPER, layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, fontsize=12, color=INK, loc="left")
    plain(axes)
    return figure, axes


def plain(axes: Axes) -> None:
    """Take away the frame, and put a faint grid behind."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=GREY, alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)


def line(number: int) -> dict[str, Any]:
    """Return colour and marker of the method in some place of the list."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "marker": MARKERS[number % len(MARKERS)],
        "markersize": 6,
        "linewidth": 1.5,
    }


def legend(figure: Figure, axes: Axes) -> None:
    """Name the lines beside the axes, where they hide nothing."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", frameon=False, labelspacing=0.8)


def bright_ends(colours: Colormap) -> Colormap:
    """Return a map without its darkest ends: black is kept for voxels without a value."""
    return ListedColormap(colours(np.linspace(0.12, 0.88, 256))).with_extremes(bad="black")


def png(figure: Figure) -> bytes:
    """Return a picture as a file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()
