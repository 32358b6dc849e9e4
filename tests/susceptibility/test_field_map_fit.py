import numpy as np
import pytest
import torch

from unweight.core.seeding import seeded_generator
from unweight.susceptibility.field_map import fit_line

TIMES = torch.tensor([0.004, 0.009, 0.016, 0.025], dtype=torch.float64)
SIGMA = 0.02


def test_straight_lines_are_exact() -> None:
    rate = torch.linspace(-900, 900, 12, dtype=torch.float64).reshape(3, 4)
    magnitude = torch.exp(-30 * TIMES).expand(3, 4, 4)
    fit = fit_line(0.7 + rate[..., None] * TIMES, magnitude, TIMES)
    torch.testing.assert_close(fit.rate, rate)
    torch.testing.assert_close(fit.offset, torch.full_like(rate, 0.7))
    assert float(fit.residual.max()) < 1e-12 and float(fit.scatter.max()) < 1e-12


def test_weighted_least_squares_as_numpy_has_it() -> None:
    phase = torch.randn(4, generator=seeded_generator(1), dtype=torch.float64)
    magnitude = torch.tensor([900.0, 500.0, 700.0, 100.0], dtype=torch.float64)
    fit = fit_line(phase, magnitude, TIMES)
    (rate, offset), covariance = np.polyfit(TIMES, phase, 1, w=magnitude, cov="unscaled")
    assert float(fit.rate) == pytest.approx(rate)
    assert float(fit.offset) == pytest.approx(offset)
    assert float(fit.leverage) == pytest.approx(1 / covariance[0, 0])
    left = magnitude * (phase - offset - rate * TIMES)
    assert float(fit.scatter) == pytest.approx(float(left.square().sum()))
    expected = (left.square().sum() / magnitude.square().sum()).sqrt()
    assert float(fit.residual) == pytest.approx(float(expected))


@pytest.mark.parametrize("n_echoes", [1, 2, 4])
def test_variance_is_that_of_the_noise(n_echoes: int) -> None:
    """SNR 50 to 20: the first-order variance of phase is good to 1 %, 20 000 draws to 2 %."""
    times, generator = TIMES[:n_echoes], seeded_generator(2, n_echoes)
    true = torch.exp(-30 * times)
    parts = SIGMA * torch.randn((2, 20_000, n_echoes), generator=generator, dtype=torch.float64)
    noisy = torch.complex(true + parts[0], parts[1])
    fit = fit_line(torch.angle(noisy), noisy.abs(), times)
    predicted = SIGMA**2 / fit_line(torch.zeros(n_echoes, dtype=torch.float64), true, times).leverage
    assert float(fit.rate.var() / predicted) == pytest.approx(1.0, abs=0.1)
    assert float((SIGMA**2 / fit.leverage).mean() / predicted) == pytest.approx(1.0, abs=0.1)
    if n_echoes > 2:
        # As many degrees of freedom as echoes beyond two.
        assert float(fit.scatter.mean()) == pytest.approx((n_echoes - 2) * SIGMA**2, rel=0.05)


def test_the_unit_of_magnitude_matters_to_leverage_only() -> None:
    phase = torch.randn(50, 4, generator=seeded_generator(3))
    magnitude = torch.rand(50, 4, generator=seeded_generator(4)) + 0.1
    here = fit_line(phase, magnitude, TIMES.float())
    there = fit_line(phase, 3000 * magnitude, TIMES.float())
    torch.testing.assert_close(here.rate, there.rate, rtol=1e-3, atol=1e-2)
    torch.testing.assert_close(here.residual, there.residual)
    torch.testing.assert_close(here.leverage * 9e6, there.leverage)
    assert here.rate.dtype is torch.float32


def test_no_signal_is_no_number_out_of_range() -> None:
    fit = fit_line(torch.zeros(4), torch.zeros(4), TIMES.float())
    assert all(bool(torch.isfinite(part)) for part in fit)
    assert float(fit.leverage) == 0.0


def test_one_and_two_echoes_have_nothing_left() -> None:
    one = fit_line(torch.tensor([0.5]), torch.tensor([2.0]), torch.tensor([0.004]))
    assert float(one.rate) == pytest.approx(125.0)
    assert float(one.leverage) == pytest.approx(0.008**2)
    assert float(one.offset) == float(one.residual) == float(one.scatter) == 0.0
    two = fit_line(torch.tensor([0.5, 1.0]), torch.tensor([2.0, 1.0]), torch.tensor([0.004, 0.009]))
    assert float(two.rate) == pytest.approx(100.0)
    assert float(two.residual) == pytest.approx(0.0, abs=1e-6)
