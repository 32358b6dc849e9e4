import io

import numpy as np
from matplotlib.colors import to_hex
from matplotlib.image import imread

from unweight.report.colours import colour_map
from unweight.report.page import COLOURS, DPI, MARKERS, WIDTH, bright_ends, legend, line, page, png


def test_a_page_is_1200_pixels_wide() -> None:
    figure, axes = page(4.0, "title")
    axes.plot([0, 1], [0, 1], label="fit", **line(0))
    legend(figure, axes)
    assert imread(io.BytesIO(png(figure))).shape[:2] == (4 * DPI, round(WIDTH * DPI)) == (500, 1200)


def test_methods_keep_colour_and_marker_by_their_place() -> None:
    assert line(1) == line(1) and (line(1)["color"], line(1)["marker"]) == (COLOURS[1], MARKERS[1])
    assert line(len(COLOURS))["color"] == COLOURS[0]
    assert line(len(COLOURS))["marker"] != line(0)["marker"]  # so that no two look alike


def test_black_is_kept_for_no_value() -> None:
    shown = bright_ends(colour_map("vik"))
    assert to_hex(shown(np.ma.masked_invalid([np.nan]))[0]) == "#000000"
    assert min(sum(shown(share)[:3]) for share in (0.0, 1.0)) > 0.3
