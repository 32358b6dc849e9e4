import pytest
import torch
from torch import Tensor

from unweight.core.errors import UsageError
from unweight.fit.signal_table import TableAxis, axis_between, signal_table


def curves(places: Tensor) -> Tensor:
    x, y = places[:, 0], places[:, 1]
    return torch.stack([torch.sin(2 * x) * torch.exp(-y), x * y**2, x**3 + y], dim=-1)


def test_values_and_slopes_are_those_of_the_function() -> None:
    """To the fourth power of the step, and a little less at the ends, where margins are cut off."""
    table = signal_table((axis_between(-1.0, 2.0, 0.05), axis_between(0.0, 1.0, 0.05)), curves)
    grid = torch.rand(200, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    places = grid * torch.tensor([3.0, 1.0]) - torch.tensor([1.0, 0.0])
    values, slopes = table.at(places)
    torch.testing.assert_close(values, curves(places), rtol=0, atol=1e-4)
    for axis in range(2):
        step = torch.zeros(2, dtype=torch.float64)
        step[axis] = 1e-5
        finite = (curves(places + step) - curves(places - step)) / 2e-5
        torch.testing.assert_close(slopes[..., axis], finite, rtol=0, atol=1e-2)


def test_an_axis_of_one_point_is_held() -> None:
    table = signal_table((axis_between(-1.0, 2.0, 0.05), TableAxis(start=0.5)), curves)
    places = torch.tensor([[0.3, 0.5], [1.7, 0.5]], dtype=torch.float64)
    values, slopes = table.at(places)
    torch.testing.assert_close(values, curves(places), rtol=0, atol=1e-5)
    assert bool((slopes[..., 1] == 0).all()) and bool((slopes[..., 0] != 0).any())


def test_an_axis_without_points_is_refused() -> None:
    with pytest.raises(UsageError, match="an axis of 0 points"):
        TableAxis(start=0.0, count=0)
