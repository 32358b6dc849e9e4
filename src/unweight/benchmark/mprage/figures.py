"""Pictures of an evaluation of T1w images, as PNG bytes."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from unweight.benchmark.core.figures import Image, error_colours, finished, sheet
from unweight.benchmark.mprage.records import TRUTH, SubjectRecord
from unweight.benchmark.mprage.scores import Gain
from unweight.learn.pairs.pair import Pair
from unweight.metrics.structures import DEEP, LABELS
from unweight.report.page import GREY, INK, WIDTH, legend, line, plain

AGEING = ("caudate", "putamen", "pallidum", "thalamus")
SHOWN, SHOWN_ERROR = (0.0, 1.2), 0.25
TOP = 0.8


def method_figure(images: Mapping[str, Float[Tensor, "x y z"]], pair: Pair, title: str) -> bytes:
    """Return a picture of an axial and a coronal slice through the deep nuclei.

    Args:
        images: By method, the true one first.
        pair: Of the subject.
        title: Title of the picture.
    """
    deep = np.isin(pair.labels.numpy(), [LABELS[name] for name in DEEP])
    return draw_images([_cut(images, deep, axes) for axes in ((0, 1, 2), (0, 2, 1))], title)


def _cut(
    images: Mapping[str, Float[Tensor, "x y z"]], deep: NDArray[np.bool_], axes: tuple[int, ...]
) -> dict[str, Image]:
    """Return the slice across the last axis with most of the deep nuclei, as radiologists see it."""
    counts = deep.transpose(axes).sum((0, 1))
    most = int(counts.argmax()) if counts.any() else len(counts) // 2
    return {
        name: np.rot90(image.double().numpy().transpose(axes)[::-1, :, most])
        for name, image in images.items()
    }


def age_figure(records: Sequence[SubjectRecord], methods: Sequence[str], title: str) -> bytes | None:
    """Return a picture of true and synthetic volumes against age; None where no age is known."""
    by_method: dict[str, dict[str, SubjectRecord]] = {}
    for record in records:
        if record.method in (TRUTH, *methods) and "age" in record.about:
            by_method.setdefault(record.method, {})[record.subject] = record
    if TRUTH not in by_method:
        return None
    drawn = [method for method in (TRUTH, *methods) if method in by_method]
    subjects = sorted(set.intersection(*(set(by_method[method]) for method in drawn)))
    age = [float(str(by_method[TRUTH][subject].about["age"])) for subject in subjects]
    if len(set(age)) < 2:
        return None
    volumes = {
        structure: {
            method: [by_method[method][subject].volume_ml[structure] for subject in subjects]
            for method in drawn
        }
        for structure in AGEING
    }
    return draw_ages(age, volumes, title)


def draw_images(planes: Sequence[Mapping[str, Image]], title: str) -> bytes:
    """Draw the true image and those synthesised, each above its error.

    Args:
        planes: For each plane, images by method as they lie on the page, the true one first.
        title: Title of the picture.
    """
    names = list(planes[0])
    heights = [
        next(iter(images.values())).shape[0] / next(iter(images.values())).shape[1]
        for images in planes
        for _ in (0, 1)
    ]
    wide = WIDTH * max(1.0, len(names) / 5)
    tall = sum(heights) * wide / len(names) + TOP
    figure = sheet(tall, wide)
    grid = figure.subplots(2 * len(planes), len(names), squeeze=False, height_ratios=heights)
    error = error_colours(SHOWN_ERROR)
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
        bar.set_label("synthetic minus true, white matter is 1", fontsize=8)
        bar.ax.tick_params(labelsize=7)
    return finished(figure, title)


def draw_gains(gains: Sequence[Gain], title: str) -> bytes:
    """Draw what each condition adds to each structure, with intervals."""
    figure = sheet(4.4)
    axes = figure.subplots()
    plain(axes)
    structures = list(dict.fromkeys(gain.structure for gain in gains))
    conditions = list(dict.fromkeys(gain.condition for gain in gains))
    for number, condition in enumerate(conditions):
        some = {gain.structure: gain for gain in gains if gain.condition == condition}
        known = [name for name in structures if name in some]
        places = [structures.index(name) + 0.2 * (number - (len(conditions) - 1) / 2) for name in known]
        means = np.array([some[name].mean for name in known])
        lower = means - np.array([some[name].lower for name in known])
        upper = np.array([some[name].upper for name in known]) - means
        style = line(number) | {"linestyle": "none"}
        axes.errorbar(places, means, yerr=np.array([lower, upper]), label=condition, **style)
    axes.axhline(0, color=GREY, linewidth=1)
    axes.set_xticks(range(len(structures)))
    axes.set_xticklabels([name.replace("_", " ") for name in structures], fontsize=8)
    axes.set_ylabel("change", fontsize=9)
    legend(figure, axes)
    return finished(figure, title)


def draw_ages(
    age: Sequence[float], volumes: Mapping[str, Mapping[str, Sequence[float]]], title: str
) -> bytes:
    """Draw volumes against age, one panel a structure, true and synthetic.

    Args:
        age: Of each subject [years].
        volumes: By structure and method, for each subject [ml]; the true ones first.
        title: Title of the picture.
    """
    columns = min(4, len(volumes))
    rows = -(-len(volumes) // columns)
    figure = sheet(2.7 * rows + 0.6)
    grid = figure.subplots(rows, columns, squeeze=False).reshape(-1)
    years = np.array(age)
    for axes in grid[len(volumes) :]:
        axes.set_axis_off()
    for axes, (structure, by_method) in zip(grid, volumes.items(), strict=False):
        plain(axes)
        for number, (method, values) in enumerate(by_method.items()):
            style = line(number)
            volume = np.array(values)
            axes.plot(
                years, volume, style["marker"], color=style["color"], markersize=2.5, alpha=0.5, linewidth=0
            )
            slope, start = np.polyfit(years, volume, 1)
            ends = np.array([years.min(), years.max()])
            axes.plot(ends, start + slope * ends, color=style["color"], linewidth=1.5, label=method)
        axes.set_title(structure.replace("_", " "), fontsize=9, color=INK)
        axes.tick_params(labelsize=7)
        axes.set_xlabel("age [years]", fontsize=8)
    grid[0].set_ylabel("volume [ml]", fontsize=8)
    legend(figure, grid[0])
    return finished(figure, title)
