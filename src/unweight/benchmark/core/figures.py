"""What the pictures of all benchmarks share: a sheet, a slice cut to the brain, the colours of errors."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Shaped
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from unweight.report.colours import colour_map
from unweight.report.page import DPI, INK, PAPER, WIDTH, bright_ends, png
from unweight.report.slices import lay_out, plane_of

Image = NDArray[np.floating[Any]]
Colours = tuple[Colormap, Normalize]
DIVERGING = "vik"
FRAME = 4  # voxels around what is scored


def sheet(height: float, width: float = WIDTH) -> Figure:
    """Return an empty picture [inch]."""
    return Figure(figsize=(width, height), dpi=DPI, facecolor=PAPER, layout="constrained")


def finished(figure: Figure, title: str) -> bytes:
    """Return a picture with its title as a file."""
    figure.suptitle(title, fontsize=12, color=INK)
    return png(figure)


def error_colours(reach: float) -> Colours:
    """Return the colours of errors from −reach to reach; black is left for voxels without a value."""
    return bright_ends(colour_map(DIVERGING)), Normalize(-reach, reach, clip=True)


def show_image(axes: Axes, image: Image, colours: Colours, aspect: float = 1.0) -> None:
    """Draw an image without ticks."""
    masked = np.ma.masked_invalid(image)
    axes.imshow(masked, cmap=colours[0], norm=colours[1], aspect=aspect, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])


def slice_layout(
    scored: Bool[Tensor, "x y slices"], affine: Shaped[Tensor, "4 4"] | None, number: int
) -> Callable[[Shaped[Tensor, "x y slices"]], Image]:
    """Return what lays out one slice of a map as it lies on the page, cut to the scored voxels.

    Args:
        scored: Others have no value.
        affine: From voxels to millimetres.
        number: Which slice.
    """
    plane = plane_of(tuple(scored.shape), np.eye(4) if affine is None else affine.numpy())
    x, y, _ = scored.nonzero(as_tuple=True)
    box = tuple(
        slice(max(0, int(places.min()) - FRAME), int(places.max()) + FRAME + 1) for places in (x, y)
    )

    def page(values: Shaped[Tensor, "x y slices"]) -> Image:
        held = torch.where(scored, values.double(), torch.nan)[box]
        return lay_out(held.numpy(), plane, number)

    return page
