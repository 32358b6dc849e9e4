"""Static pictures of maps and of the phantom, as PNG bytes."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, Colormap, ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from numpy.typing import NDArray

from unweight.core.maps import CHI_SQUARE, PHASE_RESIDUAL, RMS_OF_LOG, ParameterMaps, VoxelStatus
from unweight.report.colours import UNCERTAINTY, RelaxationNorm, colour_map, colours_for, spaced_ticks
from unweight.report.slices import Plane, busiest_slices, lay_out, place, plane_of

STATUS_COLOURS = (
    "#4c9f70", "#000000", "#3a3a3a", "#d1495b", "#8d3b9a", "#edae49", "#f4d35e", "#00798c",
    "#c9a7d8",
)  # fmt: skip
RELATIVE_SD = ("T1", "R2star")  # in per cent of the value
# Shown as it is: title, factor, largest value shown, unit.
PLAIN_SD = {
    "Chi": ("SD, noise only [ppb]", 1000.0, 20.0, "ppb"),
    "T1w": ("SD [% of white matter]", 100.0, 20.0, "%"),
}
# What the misfit of each kind of map is called, and the largest value shown.
MISFITS = {
    CHI_SQUARE: ("Misfit (1: noise only)", 5.0),
    RMS_OF_LOG: ("Misfit (RMS of ln S)", 0.5),
    PHASE_RESIDUAL: ("Residual of phase [rad]", 0.5),
}
INK, PAPER = "#1b1b1e", "#ffffff"
MAX_SLICES = 4
LEAST_SPACE, MOST_TICKS = 0.12, 8  # between ticks as a share of the bar


@final
@dataclass(frozen=True, kw_only=True)
class SphereMark:
    """One sphere to draw on the phantom picture.

    Attributes:
        number: Its number on the plate.
        centre: Voxel index of its centre (three numbers).
        radius: Of the region measured [mm].
        nominal: Nominal T1 [s].
        mean: Measured T1 [s]; NaN if there is none.
        sd: Its standard deviation in the region [s].
        status: `ok`, `ambiguous` or `failed`.
    """

    number: int
    centre: tuple[float, float, float]
    radius: float
    nominal: float
    mean: float
    sd: float
    status: str


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Panel:
    """One row of a picture: a map and how to show it."""

    title: str
    values: NDArray[np.floating[Any]]
    colours: Colormap
    norm: Normalize
    unit: str


def draw_maps(maps: ParameterMaps, title: str) -> bytes:
    """Draw each map with its standard deviation, the misfit and the status, as PNG."""
    affine = _affine(maps)
    panels = _panels(maps)
    plane = plane_of(panels[0].values.shape, affine)
    valued = ~_volume(maps.failed)
    displayed = busiest_slices(valued, plane, MAX_SLICES)
    figure = Figure(
        figsize=(2.6 * len(panels) + 0.6, 2.6 * len(displayed) + 1.2), facecolor=PAPER, layout="constrained"
    )
    grid = figure.subplots(len(displayed), len(panels), squeeze=False)
    for column, panel in enumerate(panels):
        for row, index in enumerate(displayed):
            _draw_slice(grid[row, column], panel, plane, index)
        grid[0, column].set_title(panel.title, fontsize=9, color=INK)
        _colour_bar(figure, grid[:, column].tolist(), panel)
    grid[0, 0].text(0.02, 0.5, plane.left, transform=grid[0, 0].transAxes, color="white", fontsize=8)
    figure.suptitle(title, fontsize=10, color=INK)
    return png(figure)


def draw_phantom(maps: ParameterMaps, marks: Sequence[SphereMark], title: str) -> bytes:
    """Draw the spheres found on the T1 map, and how far each is from its nominal T1."""
    t1 = _volume(maps.value("T1"))
    plane = plane_of(t1.shape, _affine(maps))
    colours, norm = colours_for(maps.specs[0], t1)
    panel = Panel(title="T1 [s]", values=t1, colours=colours, norm=norm, unit="s")
    figure = Figure(figsize=(10.5, 4.6), facecolor=PAPER, layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.25])
    _draw_slice(left, panel, plane, round(marks[0].centre[plane.slice_axis]))
    step = float(np.linalg.norm(_affine(maps)[:3, 3 - plane.slice_axis - plane.row_axis]))
    for mark in marks:
        at = place(np.asarray(mark.centre), plane, t1.shape)
        left.add_patch(Circle(at, mark.radius / step, fill=False, color="white", linewidth=1))
        left.text(*at, str(mark.number), color="white", fontsize=7, ha="center", va="center")
    left.set_title("Detected spheres on the T1 map", fontsize=9, color=INK)
    bar = figure.colorbar(left.images[0], ax=left, shrink=0.8)
    bar.set_label("T1 [s]", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    _draw_errors(right, marks)
    figure.suptitle(title, fontsize=10, color=INK)
    return png(figure)


def _draw_errors(axes: Axes, marks: Sequence[SphereMark]) -> None:
    for mark in marks:
        error = 100 * (mark.mean / mark.nominal - 1)
        spread = 100 * mark.sd / mark.nominal
        solid = mark.status == "ok"
        axes.errorbar(
            mark.number,
            error,
            yerr=spread,
            fmt="o" if solid else "s",
            color="#00798c" if solid else "#d1495b",
            mfc="#00798c" if solid else "white",
            capsize=3,
            markersize=5,
        )
    axes.axhspan(-5, 5, color="#00798c", alpha=0.08, linewidth=0)
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.set_xticks([mark.number for mark in marks])
    axes.set_xticklabels([f"{mark.number}\n{1e3 * mark.nominal:.0f}" for mark in marks], fontsize=7)
    axes.set_xlabel("sphere, nominal T1 [ms]", fontsize=8)
    axes.set_ylabel("T1 error [%] (bar: SD in the region)", fontsize=8)
    axes.tick_params(axis="y", labelsize=7)
    finite = [100 * abs(mark.mean / mark.nominal - 1) for mark in marks if np.isfinite(mark.mean)]
    reach = min(60.0, max([10.0, *finite]) * 1.25)
    axes.set_ylim(-reach, reach)
    axes.set_title("Deviation from nominal T1 (open red: unreliable; band: ±5 %)", fontsize=9, color=INK)
    axes.spines[["top", "right"]].set_visible(False)


def _panels(maps: ParameterMaps) -> list[Panel]:
    panels = []
    for spec in maps.specs:
        value = _volume(maps.value(spec.name))
        unit = "a.u." if spec.unit == "arbitrary" else ("" if spec.unit == "1" else spec.unit)
        label = f"{spec.name} [{unit}]" if unit else spec.name
        colours, norm = colours_for(spec, value)
        panels.append(Panel(title=label, values=value, colours=colours, norm=norm, unit=unit))
        computed = bool(spec.desc) and not spec.zero_filled  # in which white matter has no fixed value
        if spec.name in RELATIVE_SD or computed:
            relative = 100 * _volume(maps.deviation(spec.name)) / value
            panels.append(_uncertainty(f"SD of {spec.name} [%]", relative, 20, "%"))
        elif spec.name in PLAIN_SD:
            called, factor, most, of = PLAIN_SD[spec.name]
            panels.append(_uncertainty(called, factor * _volume(maps.deviation(spec.name)), most, of))
    if maps.misfit is not None:
        title, top = MISFITS.get(maps.misfit_meaning, ("Misfit", 0.5))
        panels.append(_uncertainty(title, _volume(maps.misfit), top, ""))
    names = [status.name.lower().replace("_", " ") for status in VoxelStatus]
    panels.append(
        Panel(
            title="Status",
            values=_volume(maps.status).astype(float),
            colours=ListedColormap(STATUS_COLOURS, name=",".join(names)),
            norm=BoundaryNorm(np.arange(len(names) + 1) - 0.5, len(names)),
            unit="status",
        )
    )
    return panels


def _uncertainty(title: str, values: NDArray[np.floating[Any]], top: float, unit: str) -> Panel:
    return Panel(
        title=title,
        values=values,
        colours=colour_map(UNCERTAINTY),
        norm=Normalize(0, top, clip=True),
        unit=unit,
    )


def _draw_slice(axes: Axes, panel: Panel, plane: Plane, index: int) -> None:
    image = lay_out(panel.values, plane, index)
    axes.imshow(
        np.ma.masked_invalid(image),
        cmap=panel.colours,
        norm=panel.norm,
        aspect=plane.aspect,
        interpolation="nearest",
    )
    # Without ticks an axis shows nothing, but would be measured for the layout all the same.
    axes.set_xticks([])
    axes.set_yticks([])
    axes.xaxis.set_visible(False)
    axes.yaxis.set_visible(False)
    axes.set_facecolor("black")


def _colour_bar(figure: Figure, axes: list[Axes], panel: Panel) -> None:
    bar = figure.colorbar(axes[0].images[0], ax=axes, orientation="horizontal", shrink=0.9)
    if panel.unit == "status":
        bar.set_ticks(range(len(VoxelStatus)))
        bar.set_ticklabels([s.name.lower().replace("_", " ") for s in VoxelStatus], rotation=90)
    elif panel.title.startswith("T1 "):
        low, high = float(panel.norm.vmin or 0), float(panel.norm.vmax or 1)
        bar.set_ticks([tick for tick in (0, 0.5, 1, 2, 3, 4, 6, 8) if low <= tick <= high])
        bar.ax.minorticks_off()
    elif isinstance(panel.norm, RelaxationNorm):
        bar.set_ticks(spaced_ticks(panel.norm, LEAST_SPACE, MOST_TICKS))
        bar.ax.minorticks_off()
    bar.ax.tick_params(labelsize=6)


def _affine(maps: ParameterMaps) -> NDArray[np.float64]:
    if maps.affine is None:
        return np.eye(4)
    return np.asarray(maps.affine.cpu().double().numpy())


def _volume(tensor: Any) -> NDArray[Any]:
    """Return a tensor as an array with exactly three axes."""
    array = np.asarray(tensor.cpu().numpy())
    if array.dtype != np.bool_:
        array = array.astype(float)
    return array.reshape(array.shape + (1,) * (3 - array.ndim))


def png(figure: Figure) -> bytes:
    """Return a figure as PNG, the same bytes each time."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130, metadata={"Software": None}, bbox_inches="tight")
    return buffer.getvalue()
