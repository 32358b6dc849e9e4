import math

import pytest
import torch

from unweight.core.errors import ProtocolError
from unweight.core.seeding import seeded_generator
from unweight.fit.arlo import Arlo

SPACING = 0.004
EVEN = torch.arange(1, 9, dtype=torch.float64) * SPACING
UNEVEN = torch.tensor([0.001, 0.0022, 0.003, 0.0046, 0.0055, 0.0075, 0.009, 0.0102], dtype=torch.float64)


def test_equal_spacing_is_the_published_formula() -> None:
    """T2* = (Σ s² + Δ/3 Σ sδ)/(Δ/3 Σ δ² + Σ sδ), s by Simpson's rule (Pei et al. 2015)."""
    signal = torch.rand(20, 8, generator=seeded_generator(0, "echoes"), dtype=torch.float64) + 0.5
    s = SPACING / 3 * (signal[:, :-2] + 4 * signal[:, 1:-1] + signal[:, 2:])
    delta = signal[:, :-2] - signal[:, 2:]
    above = (s**2).sum(1) + SPACING / 3 * (s * delta).sum(1)
    below = SPACING / 3 * (delta**2).sum(1) + (s * delta).sum(1)
    decay = Arlo()(signal, EVEN)
    torch.testing.assert_close(1 / decay.rate[decay.settled], (above / below)[decay.settled])
    assert int(decay.settled.sum()) > 15


def test_noiseless_decay_has_the_error_of_simpsons_rule_and_no_other() -> None:
    rates = torch.logspace(0, math.log10(200.0), 400, dtype=torch.float64)
    decay = Arlo()(2.0 * torch.exp(-rates[:, None] * EVEN), EVEN)
    z = rates * SPACING
    torch.testing.assert_close(decay.rate, rates * 3 * torch.sinh(z) / (z * (2 + torch.cosh(z))))
    assert float((decay.rate / rates - 1).abs().max()) < 0.0025  # at R·Δ = 0.8
    assert float((decay.amplitude / 2.0 - 1).abs().max()) < 0.003


def test_unequal_spacing() -> None:
    rates = torch.logspace(0, math.log10(200.0), 400, dtype=torch.float64)
    decay = Arlo()(2.0 * torch.exp(-rates[:, None] * UNEVEN), UNEVEN)
    # Unequal spacing leaves the parabola an error of third order: R·Δ is up to 0.4 here.
    assert float((decay.rate / rates - 1).abs().max()) < 0.005
    slow = rates < 50
    assert float((decay.rate / rates - 1).abs()[slow].max()) < 1e-4


def test_integral_of_a_parabola_is_exact_on_unequal_spacing() -> None:
    """One triple of S = c − b·TE + a·TE² has R = [S(t0) − S(t2)]/∫S, by calculus."""
    times = torch.tensor([0.001, 0.003, 0.0035], dtype=torch.float64)
    a, b, c = 2e4, 150.0, 1.0
    signal = c - b * times + a * times**2
    integral = (c * times - b * times**2 / 2 + a * times**3 / 3).diff().sum()
    rate = Arlo()(signal[None], times).rate[0]
    torch.testing.assert_close(rate, (signal[0] - signal[2]) / integral)


@pytest.mark.parametrize("scale", [1e-3, 1e4, 1e18])
def test_the_unit_of_the_signal_does_not_matter(scale: float) -> None:
    signal = torch.exp(-20 * EVEN.float()) + 0.05 * torch.rand(
        50, 8, generator=seeded_generator(1, "noise")
    )
    here, there = Arlo()(signal, EVEN.float()), Arlo()(signal * scale, EVEN.float())
    torch.testing.assert_close(here.rate, there.rate, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(here.amplitude, there.amplitude / scale, rtol=1e-5, atol=0)


def test_zeros() -> None:
    signal = torch.exp(-60 * EVEN).repeat(2, 1)
    signal[0, 5:] = 0.0
    signal[1] = 0.0
    decay = Arlo()(signal, EVEN)
    assert decay.settled.tolist() == [True, False]
    assert math.isfinite(float(decay.rate[0]))


def test_messages() -> None:
    with pytest.raises(ProtocolError, match="ARLO needs 3 different echo times, but there are 2"):
        Arlo().accept(torch.tensor([0.01, 0.02]))
    with pytest.raises(ProtocolError, match="echoes at different times, but some are repeated"):
        Arlo().accept(torch.tensor([0.01, 0.01, 0.02, 0.03]))
