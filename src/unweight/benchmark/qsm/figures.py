"""Pictures of susceptibility mapping on one head by file name, as PNG bytes."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from unweight.benchmark.core.figures import Image, finished, sheet
from unweight.benchmark.qsm.scores import CHI, FROM_TRUTH, STRUCTURES, QsmResult
from unweight.report.colours import colours_for
from unweight.report.page import GREY, INK, WIDTH, bright_ends, legend, line, plain
from unweight.report.slices import lay_out, plane_of
from unweight.signals.parameters import CHI as CHI_SPEC
from unweight.synth.tissue.materials import INDEX

COLUMNS = 4
NUCLEI = STRUCTURES[:7]


def qsm_figures(result: QsmResult) -> dict[str, bytes]:
    """Return pictures by file name: maps beside the truth, and structures against it."""
    head = result.head
    file_name = f"qsm_{head.dataset}_{head.name}"
    affine = head.acquisition.affine
    plane = plane_of(tuple(head.chi.shape), (torch.eye(4) if affine is None else affine).double().numpy())
    pallidum = (head.materials == INDEX["pallidum"]) & head.clean
    others = [axis for axis in range(3) if axis != plane.slice_axis]
    most = int(pallidum.sum(others).argmax())

    def displayed(values: Tensor) -> Image:
        return lay_out(values.double().numpy(), plane, most)

    truth = torch.where(
        head.clean, head.chi - head.chi[head.clean].mean(), torch.full_like(head.chi, math.nan)
    )
    stages = {
        f"qsm_{kind}": {
            label.removesuffix(f" {FROM_TRUTH}"): chi
            for label, chi in result.maps.items()
            if label.endswith(FROM_TRUTH) == (kind == "inversion")
        }
        for kind in ("inversion", "end_to_end")
    }
    figures: dict[str, bytes] = {}
    for kind, maps in stages.items():
        if not maps:
            continue
        centred = {label: chi - chi[head.clean & ~chi.isnan()].mean() for label, chi in maps.items()}
        figures[f"{file_name.replace('qsm', kind, 1)}.png"] = draw_susceptibility(
            {"truth": displayed(truth), **{label: displayed(chi) for label, chi in centred.items()}},
            f"{head.name}, {head.dataset}: {kind.removeprefix('qsm_').replace('_', ' ')}",
        )
    scores = {
        (score.method, score.group, score.metric): score.value
        for score in result.scores
        if score.parameter == CHI
    }
    methods = list(stages["qsm_end_to_end"])
    known = [name for name in NUCLEI if methods and (methods[0], name, "true") in scores]
    if known:
        figures[f"{file_name}_structures.png"] = draw_structures(
            [scores[methods[0], name, "true"] for name in known],
            {
                method: [scores.get((method, name, "mean"), math.nan) for name in known]
                for method in methods
            },
            known,
            f"{head.name}, {head.dataset}: mean of structures, from the images alone",
        )
    return figures


def draw_susceptibility(maps: Mapping[str, Image], title: str) -> bytes:
    """Draw one slice of each map, all on one grey scale; voxels without a value are black.

    Args:
        maps: By name, the truth first, as they lie on the page; NaN where there is no value [ppm].
        title: Title of the picture.
    """
    colours, norm = colours_for(CHI_SPEC, np.zeros(0))
    rows = math.ceil(len(maps) / COLUMNS)
    height, width = next(iter(maps.values())).shape
    tall = rows * (WIDTH - 0.8) / COLUMNS * height / width + 0.4 * rows + 0.6
    figure = sheet(tall)
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
    return finished(figure, title)


def draw_structures(
    true: Sequence[float], estimated: Mapping[str, Sequence[float]], names: Sequence[str], title: str
) -> bytes:
    """Draw the mean susceptibility of structures against the true one.

    Args:
        true: One value a structure [ppm].
        estimated: The same by method.
        names: Of the structures.
        title: Title of the picture.
    """
    figure = sheet(5.2)
    axes = figure.subplots()
    plain(axes)
    ends = [1000 * min(true) - 15, 1000 * max(true) + 25]
    axes.plot(ends, ends, color=GREY, linewidth=1)
    for number, (method, values) in enumerate(estimated.items()):
        style = line(number) | {"linestyle": "none"}
        axes.plot(
            [1000 * value for value in true], [1000 * value for value in values], label=method, **style
        )
    for name, value in zip(names, true, strict=True):
        axes.annotate(
            name.replace("_", " "), (1000 * value, ends[0]), fontsize=7, rotation=90, color=INK, va="bottom"
        )
    axes.set_xlim(*ends)
    axes.set_xlabel("true [ppb]", fontsize=9)
    axes.set_ylabel("found [ppb]", fontsize=9)
    legend(figure, axes)
    return finished(figure, title)
