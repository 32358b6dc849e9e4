import io
import math

import numpy as np
from matplotlib.image import imread
from numpy.typing import NDArray

from unweight.benchmark.qsm.figures import COLUMNS, draw_structures, draw_susceptibility
from unweight.report.page import DPI, WIDTH

NAMES = ["pallidum", "putamen", "red_nucleus"]


def pixels(png: bytes) -> NDArray[np.float64]:
    return np.asarray(imread(io.BytesIO(png)), dtype=float)


def image(level: float) -> NDArray[np.float64]:
    values = np.full((12, 10), level)
    values[0] = math.nan
    return values


def test_maps_side_by_side_in_rows() -> None:
    four = pixels(draw_susceptibility({str(one): image(0.0) for one in range(COLUMNS)}, "title"))
    five = pixels(draw_susceptibility({str(one): image(0.0) for one in range(COLUMNS + 1)}, "title"))
    assert four.shape[1] == five.shape[1] == round(WIDTH * DPI)
    assert five.shape[0] > 1.5 * four.shape[0]


def test_one_scale_for_all_maps() -> None:
    """Grey in the middle is 0 whatever else is drawn; strong sources are as bright as 0.15 ppm."""
    one, strong = (
        pixels(draw_susceptibility({"truth": image(0.0), "other": image(level)}, "title"))
        for level in (0.15, 3.0)
    )
    np.testing.assert_array_equal(one, strong)
    weak = pixels(draw_susceptibility({"truth": image(0.0), "other": image(0.05)}, "title"))
    assert bool((one != weak).any())


def test_only_voxels_without_a_value_are_black() -> None:
    def share(low: float) -> float:
        drawn = image(low)
        drawn[0] = low
        black = (pixels(draw_susceptibility({"truth": drawn}, ""))[..., :3] < 0.02).all(-1)
        return float(black.mean())

    assert share(math.nan) > 0.1
    # Letters and ticks.
    assert share(-3.0) < 0.01


def test_structures_against_the_truth() -> None:
    found = {"vsharp+wtv": [0.09, 0.03, 0.05], "pdf+tkd": [0.12, math.nan, 0.04]}
    drawn = draw_structures([0.1, 0.03, 0.06], found, NAMES, "title")
    assert pixels(drawn).shape[1] == round(WIDTH * DPI)
    assert drawn == draw_structures([0.1, 0.03, 0.06], found, NAMES, "title")
    other = found | {"pdf+tkd": [0.13, math.nan, 0.04]}
    assert drawn != draw_structures([0.1, 0.03, 0.06], other, NAMES, "title")
