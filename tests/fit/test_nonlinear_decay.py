import math

import numpy as np
import pytest
import torch
from scipy.optimize import curve_fit

from unweight.core.errors import ProtocolError, UsageError
from unweight.core.seeding import seeded_generator
from unweight.fit.nonlinear_decay import NonlinearDecay

EVEN = torch.arange(1, 9, dtype=torch.float64) * 0.004
UNEVEN = torch.tensor([0.001, 0.002, 0.0045, 0.007, 0.012, 0.013, 0.021, 0.03], dtype=torch.float64)
RATES = torch.logspace(0, math.log10(200.0), 400, dtype=torch.float64)


@pytest.mark.parametrize("echo_time", [EVEN, UNEVEN], ids=["even", "uneven"])
def test_noiseless_truth_is_recovered(echo_time: torch.Tensor) -> None:
    signal = 3.0 * torch.exp(-RATES[:, None] * echo_time)
    decay = NonlinearDecay()(signal, echo_time)
    assert bool(decay.settled.all())
    assert float((decay.rate / RATES - 1).abs().max()) < 1e-9
    assert float((decay.amplitude / 3.0 - 1).abs().max()) < 1e-9


def test_it_is_the_least_squares_of_another_solver() -> None:
    generator = seeded_generator(0, "noise")
    signal = torch.exp(-30 * EVEN) + 0.05 * torch.randn(20, 8, generator=generator, dtype=torch.float64)
    signal = signal.abs()
    decay = NonlinearDecay(n_steps=40)(signal, EVEN)

    def model(te: np.ndarray, rate: float, amplitude: float) -> np.ndarray:
        return amplitude * np.exp(-te * rate)

    for voxel, rate, amplitude in zip(signal, decay.rate, decay.amplitude, strict=True):
        found, _ = curve_fit(model, EVEN.numpy(), voxel.numpy(), p0=(30.0, 1.0), xtol=1e-12, ftol=1e-12)
        assert float(rate) == pytest.approx(found[0], rel=1e-4)
        assert float(amplitude) == pytest.approx(found[1], rel=1e-4)
    assert bool(decay.settled.all())


def test_the_unit_of_the_signal_does_not_matter() -> None:
    generator = seeded_generator(1, "noise")
    signal = (torch.exp(-20 * EVEN.float()) + 0.05 * torch.randn(50, 8, generator=generator)).abs()
    here = NonlinearDecay()(signal, EVEN.float())
    for scale in (1e-3, 1e4):
        there = NonlinearDecay()(signal * scale, EVEN.float())
        torch.testing.assert_close(here.rate, there.rate, rtol=1e-4, atol=1e-3)


def test_what_did_not_settle_is_told() -> None:
    signal = torch.exp(-20 * EVEN).repeat(3, 1)
    signal[0] = 0.0
    signal[1] = torch.tensor([1.0, 0.1, 0.9, 0.2, 0.8, 0.1, 0.9, 0.1], dtype=torch.float64)
    assert NonlinearDecay(n_steps=1)(signal, EVEN).settled.tolist() == [False, False, True]
    assert NonlinearDecay(n_steps=30)(signal, EVEN).settled.tolist() == [False, True, True]


def test_zeros_in_late_echoes_and_the_input_stay() -> None:
    signal = torch.exp(-60 * EVEN).repeat(2, 1)
    signal[0, 4:] = 0.0
    before = signal.clone()
    decay = NonlinearDecay()(signal, EVEN)
    assert bool(torch.isfinite(decay.rate).all())
    assert torch.equal(signal, before)


def test_messages() -> None:
    with pytest.raises(ProtocolError, match="nonlinear fit of a decay needs 3 different echo times"):
        NonlinearDecay().accept(torch.tensor([0.01, 0.02]))
    with pytest.raises(UsageError, match="n_steps is 0"):
        NonlinearDecay(n_steps=0)
