"""Pictures of T1w images made in several ways: what lies where, and that the numbers given are drawn."""

import io
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread
from numpy.typing import NDArray

from unweight.benchmark.core import figures as core_figures
from unweight.benchmark.mprage.figures import SHOWN_ERROR, draw_ages, draw_gains, draw_images
from unweight.benchmark.mprage.scores import Gain
from unweight.report.page import DPI, WIDTH

CONDITIONS = ("+ R2*", "+ QSM", "+ both")
Drawn = Callable[[], Figure]


@pytest.fixture
def last(monkeypatch: pytest.MonkeyPatch) -> Drawn:
    """Give the figure that was drawn last."""
    figures: list[Figure] = []
    as_file = core_figures.png

    def keep(figure: Figure) -> bytes:
        figures.append(figure)
        return as_file(figure)

    monkeypatch.setattr(core_figures, "png", keep)
    return lambda: figures[-1]


def pixels(png: bytes) -> NDArray[np.float64]:
    return np.asarray(imread(io.BytesIO(png)), dtype=float)


def brain(level: float = 0.8) -> NDArray[np.float64]:
    """Return a square brain on nothing."""
    image = np.zeros((12, 10))
    image[2:10, 2:8] = level
    return image


def ways(n: int) -> dict[str, NDArray[np.float64]]:
    return {f"way {one}": brain(0.8 + 0.02 * one) for one in range(n)}


@pytest.mark.parametrize(("n", "wide"), [(1, 1.0), (2, 1.0), (5, 1.0), (7, 1.4)])
def test_a_column_for_each_way(last: Drawn, n: int, wide: float) -> None:
    image = pixels(draw_images([ways(n), ways(n)], "title"))
    assert image.shape[1] == pytest.approx(wide * WIDTH * DPI, abs=1)
    grid = last().axes[0].get_gridspec()
    # Two planes, each with an image above its error.
    assert (grid.nrows, grid.ncols) == (4, n)
    titles = [axes.get_title() for axes in last().axes if axes.get_title()]
    assert titles == list(ways(n))
    # The colour bar belongs to errors: there are none of the true image alone.
    assert len(last().axes) == 4 * n + (n > 1)


def test_error_is_made_less_true_where_there_is_a_brain(last: Drawn) -> None:
    truth, made = brain(0.8), brain(0.9)
    made[0, 0] = 0.3
    draw_images([{"truth": truth, "made": made}], "title")
    true_above, above, true_below, below = last().axes[:4]
    np.testing.assert_array_equal(true_above.images[0].get_array(), truth)
    np.testing.assert_array_equal(above.images[0].get_array(), made)
    assert not true_below.images
    error = np.ma.asarray(below.images[0].get_array())
    np.testing.assert_array_equal(np.ma.getmaskarray(error), truth == 0)
    np.testing.assert_allclose(error.compressed(), 0.1)
    assert last().axes[4].get_ylabel() == "synthetic minus true, white matter is 1"


def test_one_scale_for_all_images() -> None:
    def drawn(level: float) -> bytes:
        return draw_images([{"truth": brain(), "made": brain(level)}], "title")

    # Errors beyond the end look the same, as do images brighter than what is shown.
    assert drawn(1.3) == drawn(1.9)
    assert drawn(0.8 + SHOWN_ERROR / 2) != drawn(0.8 + SHOWN_ERROR)


def bars() -> list[Gain]:
    return [
        Gain(
            n=9,
            structure=structure,
            condition=condition,
            mean=1.0 * n,
            lower=n - 2.0,
            upper=n + 0.5,
        )
        for structure in ("grey_matter", "putamen", "thalamus")
        for n, condition in enumerate(CONDITIONS)
    ]


def test_gains_stand_at_their_structure(last: Drawn) -> None:
    image = pixels(draw_gains(bars(), "title"))
    assert image.shape[1] == round(WIDTH * DPI)
    (axes,) = last().axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["grey matter", "putamen", "thalamus"]
    assert [one.get_label() for one in axes.containers] == list(CONDITIONS)
    for number, container in enumerate(axes.containers):
        points, _, (whiskers,) = container.lines
        assert np.round(np.array(points.get_xdata(), dtype=float)).tolist() == [0, 1, 2]
        np.testing.assert_allclose(points.get_ydata(), number, atol=1e-9)
        ends = np.array([segment[:, 1] for segment in whiskers.get_segments()])
        np.testing.assert_allclose(ends, [[number - 2, number + 0.5]] * 3, atol=1e-9)


def test_gains_of_some_structures_under_some_conditions(last: Drawn) -> None:
    """What is absent leaves its place empty, and moves nothing else."""
    whole = bars()
    draw_gains([one for one in whole if (one.structure, one.condition) != ("putamen", "+ QSM")], "title")
    places = [container.lines[0].get_xdata() for container in last().axes[0].containers]
    assert [np.round(np.array(one, dtype=float)).tolist() for one in places] == [
        [0, 1, 2],
        [0, 2],
        [0, 1, 2],
    ]
    assert draw_gains(whole, "title") == draw_gains(bars(), "title")
    assert draw_gains([replace(whole[0], lower=-3.0), *whole[1:]], "title") != draw_gains(whole, "title")


@pytest.mark.parametrize(("n", "rows"), [(1, 1), (3, 1), (4, 1), (5, 2)])
def test_a_panel_for_each_structure(last: Drawn, n: int, rows: int) -> None:
    names = [f"structure_{number}" for number in range(n)]
    volumes = {name: {"truth": [4.0, 3.5, 3.0], "unet": [4.1, 3.4, 3.2]} for name in names}
    image = pixels(draw_ages([20.0, 50.0, 80.0], volumes, "title"))
    assert image.shape[1] == round(WIDTH * DPI)
    grid = last().axes[0].get_gridspec()
    assert (grid.nrows, grid.ncols) == (rows, min(n, 4))
    shown = [axes for axes in last().axes if axes.axison]
    assert [axes.get_title() for axes in shown] == [name.replace("_", " ") for name in names]


def test_line_of_volume_on_age(last: Drawn) -> None:
    """Volumes that lie on a line have it drawn; of others it is that of least squares, by hand."""
    draw_ages([60.0, 20.0, 40.0], {"putamen": {"truth": [3.0, 4.0, 3.5], "unet": [1.0, 1.0, 4.0]}}, "title")
    points, line, made_points, made_line = last().axes[0].get_lines()
    assert points.get_xdata().tolist() == [60, 20, 40] and points.get_ydata().tolist() == [3, 4, 3.5]
    np.testing.assert_allclose(line.get_xydata(), [[20, 4], [60, 3]])
    assert made_points.get_ydata().tolist() == [1, 1, 4]
    # Ends alike, the middle higher: level, at the mean.
    np.testing.assert_allclose(made_line.get_xydata(), [[20, 2], [60, 2]])
    assert [line.get_label(), made_line.get_label()] == ["truth", "unet"]
    assert line.get_color() != made_line.get_color()
