import io
import math

import numpy as np
import pytest
from matplotlib.image import imread

from unweight.benchmark.weighted.figures import MapsRow, draw_interval_coverage, draw_map_rows
from unweight.core.errors import UsageError
from unweight.synth.simulate_weighted import SPECS


def size(png: bytes) -> tuple[int, int]:
    rows, columns, _ = imread(io.BytesIO(png)).shape
    return columns, rows


def row(method: str, factor: float = 1.0) -> MapsRow:
    t1 = np.full((12, 10), 1.2)
    t1[0] = math.nan
    return MapsRow(method=method, maps=(factor * t1, factor * t1 / 12, factor * t1 / 1.5))


def test_a_row_for_each_method() -> None:
    outlined = np.zeros((12, 10), dtype=bool)
    outlined[4:6, 4:6] = True
    one = draw_map_rows([row("fit", 1.05)], row("truth"), SPECS, "title", outlined=outlined)
    three = draw_map_rows([row("fit")] * 3, row("truth"), SPECS, "title")
    assert size(one)[0] == size(three)[0] == 1200
    assert size(three)[1] > 1.5 * size(one)[1]


def test_coverage_by_tissue() -> None:
    found = {"T1": {"fit": {"all": 0.9, "CSF": 0.8}, "net": {}}, "T2": {"fit": {"all": 0.5}, "net": {}}}
    assert size(draw_interval_coverage(found, ["all", "CSF"], "title"))[0] == 1200


def test_maps_that_do_not_fit() -> None:
    with pytest.raises(UsageError, match=r"fit: 2 maps, which do not fit 3 of \(12, 10\)"):
        draw_map_rows([MapsRow(method="fit", maps=row("fit").maps[:2])], row("truth"), SPECS, "title")
