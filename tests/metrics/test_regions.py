import math

import pytest
import torch

from unweight.core.errors import UsageError
from unweight.metrics.regions import region_table

NAN = math.nan


def test_a_table_by_hand() -> None:
    values = torch.tensor([1.0, 2.0, 3.0, 4.0, NAN, 7.0, math.inf, 9.0]).reshape(2, 2, 2)
    labels = torch.tensor([5, 5, 5, 5, 5, 2, 2, 0]).reshape(2, 2, 2)
    rows = region_table(values, labels, {5: "white matter", 2: "thalamus", 3: "caudate"})
    assert [row.name for row in rows] == ["white matter", "thalamus", "caudate"]
    white, thalamus, caudate = rows
    assert (white.index, white.n_voxels, white.n_missing) == (5, 5, 1)
    assert (white.mean, white.median) == (2.5, 2.5)
    assert (white.lower_quartile, white.upper_quartile) == (1.75, 3.25)
    assert white.sd == pytest.approx(math.sqrt(5 / 3))
    assert (thalamus.n_voxels, thalamus.n_missing, thalamus.mean) == (2, 1, 7.0)
    assert math.isnan(thalamus.sd)
    assert (caudate.n_voxels, caudate.n_missing) == (0, 0)
    assert all(math.isnan(value) for value in (caudate.mean, caudate.median, caudate.upper_quartile))


def test_single_precision_does_not_reach_the_mean() -> None:
    """The sum of 2²⁰ values near 1 is taken in double precision."""
    values = 1 + torch.arange(2**20, dtype=torch.float32).reshape(64, 128, 128) % 2 * 2**-20
    (row,) = region_table(values, torch.ones(64, 128, 128, dtype=torch.int16), {1: "all"})
    assert row.mean == pytest.approx(1 + 2**-21, abs=1e-12)


def test_a_region_is_eroded_before_the_mask_cuts_it() -> None:
    labels = torch.zeros(9, 9, 9, dtype=torch.int64)
    labels[2:7, 2:7, 2:7] = 1
    labels[0:3, 0:2, 0:2] = 4  # too thin
    values = labels.double()
    mask = torch.ones_like(labels, dtype=torch.bool)
    mask[:4] = False
    names = {1: "cube", 4: "corner"}
    counts = [
        [row.n_voxels for row in region_table(values, labels, names, inside, erode)]
        for inside, erode in ((None, 0), (None, 1), (None, 2), (mask, 1), (mask, 0))
    ]
    assert counts == [[125, 12], [27, 0], [1, 0], [18, 0], [75, 0]]


def test_the_edge_of_the_grid_is_an_edge_but_a_single_slice_is_none() -> None:
    whole = torch.ones(5, 5, 5, dtype=torch.int64)
    (row,) = region_table(whole.double(), whole, {1: "all"}, erode=1)
    assert row.n_voxels == 27
    (row,) = region_table(whole[..., :1].double(), whole[..., :1], {1: "slice"}, erode=1)
    assert row.n_voxels == 9


def test_message() -> None:
    with pytest.raises(UsageError, match="eroded -1 times"):
        region_table(torch.zeros(2, 2, 2), torch.zeros(2, 2, 2, dtype=torch.int64), {}, erode=-1)
