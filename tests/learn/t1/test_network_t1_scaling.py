import pytest
import torch

from unweight.learn.t1.network_t1 import LARGEST, scaled, unscaled


def one(value: float) -> torch.Tensor:
    return torch.tensor([value], dtype=torch.float64)


def test_published_numbers() -> None:
    assert float(scaled(one(1.884))) == pytest.approx(0.910, abs=5e-4)
    assert float(scaled(one(0.060))) == pytest.approx(-0.880, abs=5e-4)
    assert float(scaled(one(0.0))) == -1.0


@pytest.mark.parametrize(
    ("t1", "error_ms"),
    [(0.06, 5.0), (0.342, 5.6), (0.987, 11.7), (1.884, 57), (2.0, 71), (3.0, 507), (4.0, 3729)],
)
def test_what_an_error_of_a_hundredth_costs(t1: float, error_ms: float) -> None:
    x = one(t1).requires_grad_()
    (slope,) = torch.autograd.grad(scaled(x).sum(), x)
    assert 10 / float(slope) == pytest.approx(error_ms, rel=0.02)


def test_round_trip() -> None:
    x = torch.linspace(0.0, 9.0, 91, dtype=torch.float64)
    torch.testing.assert_close(unscaled(scaled(x)), x, rtol=1e-8, atol=1e-8)
    # In single precision f keeps 6e-8 beside 1: at 4 s, slope 1/373, that is 22 µs and some rounding.
    x = torch.linspace(0.0, 4.0, 41)
    torch.testing.assert_close(unscaled(scaled(x)), x, rtol=0, atol=1e-4)
    assert unscaled(scaled(x)).dtype == torch.float32


def test_beyond_its_ends_it_stops_at_the_largest_t1() -> None:
    ends = torch.tensor([1.0, 1.5, torch.inf, -3.0, -4.0])
    assert unscaled(ends).tolist() == [LARGEST, LARGEST, LARGEST, -LARGEST, -LARGEST]
    assert torch.isnan(unscaled(torch.tensor([torch.nan]))).all()
