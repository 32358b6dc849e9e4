from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.report.test_shown_set import set_of
from unweight.report import slice_pictures
from unweight.report.shown_set import ShownSet, show_set
from unweight.report.slice_pictures import AXIAL, CORONAL, SAGITTAL


@pytest.fixture
def marked(derivatives: Path) -> ShownSet:
    """Return a set with one bright corner: patient right, front, top."""
    shown = show_set(set_of(derivatives, "T1map", acq="ir"))
    values = torch.full((9, 10, 11), 0.5)
    values[-1, -1, -1] = 3.0
    first = shown.maps[0]
    changed = replace(first, value=replace(first.value, values=values))
    affine = torch.diag(torch.tensor([2.0, 2.0, 4.0, 1.0], dtype=torch.float64))
    return replace(shown, maps=(changed,), status=torch.zeros(9, 10, 11, dtype=torch.uint8), affine=affine)


@pytest.mark.parametrize(
    ("axis", "index", "corner"),
    [(AXIAL, 10, (0, 0)), (CORONAL, 9, (0, 0)), (SAGITTAL, 8, (0, 0))],
)
def test_right_front_and_top_are_where_a_radiologist_looks(
    marked: ShownSet, axis: int, index: int, corner: tuple[int, int]
) -> None:
    """Patient right is left on the page, front and top are up, and sagittal planes look to the left."""
    tile = slice_pictures._tile(marked, marked.maps[0].value, axis, index)
    assert tile[corner] == tile.max()
    assert tile[-1, -1] < tile.max()


def test_pixels_are_square(marked: ShownSet) -> None:
    tile = slice_pictures._tile(marked, marked.maps[0].value, CORONAL, 9)
    assert tile.shape[0] / tile.shape[1] == pytest.approx(11 * 4 / (9 * 2), rel=0.02)


def test_no_value_is_black_and_low_ones_are_not(marked: ShownSet) -> None:
    values = marked.maps[0].value.values.clone()
    values[0, 0, -1] = torch.nan
    values[1, 0, -1] = 0.0
    layer = replace(marked.maps[0].value, values=values)
    tile = slice_pictures._tile(marked, layer, AXIAL, 10)
    table = slice_pictures.palette(layer.colours)
    assert table[tile[-1, -1]].tolist() == [0, 0, 0]
    larger = tile.shape[1] // 9
    assert table[tile[-1, -1 - larger]].sum() > 0.05
    assert np.isfinite(table).all()
