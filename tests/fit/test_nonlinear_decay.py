import math

import numpy as np
import pytest
import torch
from scipy.optimize import curve_fit

from unweight.core.errors import ProtocolError, UsageError
from unweight.core.seeding import seeded_generator
from unweight.fit.nonlinear_decay import NonlinearDecay
from unweight.signals.noise import Rician

EVEN = torch.arange(1, 9, dtype=torch.float64) * 0.004
UNEVEN = torch.tensor([0.001, 0.002, 0.0045, 0.007, 0.012, 0.013, 0.021, 0.03], dtype=torch.float64)
RATES = torch.logspace(0, math.log10(200.0), 400, dtype=torch.float64)


@pytest.mark.parametrize("floor", [None, 0.05])
@pytest.mark.parametrize("echo_time", [EVEN, UNEVEN], ids=["even", "uneven"])
def test_noiseless_truth_is_recovered(echo_time: torch.Tensor, floor: float | None) -> None:
    signal = torch.hypot(3.0 * torch.exp(-RATES[:, None] * echo_time), torch.tensor(floor or 0.0).double())
    decay = NonlinearDecay(noise_floor=floor)(signal, echo_time)
    assert bool(decay.settled.all())
    assert float((decay.rate / RATES - 1).abs().max()) < 1e-9
    assert float((decay.amplitude / 3.0 - 1).abs().max()) < 1e-9


@pytest.mark.parametrize("floor", [None, 0.1])
def test_it_is_the_least_squares_of_another_solver(floor: float | None) -> None:
    generator = seeded_generator(0, "noise")
    signal = torch.exp(-30 * EVEN) + 0.05 * torch.randn(20, 8, generator=generator, dtype=torch.float64)
    signal = signal.abs()
    decay = NonlinearDecay(noise_floor=floor, n_steps=40)(signal, EVEN)

    def model(te: np.ndarray, rate: float, amplitude: float) -> np.ndarray:
        return np.hypot(amplitude * np.exp(-te * rate), floor or 0.0)

    for voxel, rate, amplitude in zip(signal, decay.rate, decay.amplitude, strict=True):
        found, _ = curve_fit(model, EVEN.numpy(), voxel.numpy(), p0=(30.0, 1.0), xtol=1e-12, ftol=1e-12)
        assert float(rate) == pytest.approx(found[0], rel=1e-4)
        assert float(amplitude) == pytest.approx(found[1], rel=1e-4)
    assert bool(decay.settled.all())


def test_the_noise_floor_takes_away_the_bias_of_late_echoes() -> None:
    """T2 40 ms, 32 echoes to 320 ms, SNR 30: more than half of the echoes are noise."""
    echo_time = torch.arange(1, 33, dtype=torch.float64) * 0.01
    sigma = 1 / 30
    pure = torch.exp(-25.0 * echo_time).expand(10_000, 32)
    signal = Rician(sigma=sigma).draw(pure, seeded_generator(1, "noise"))
    plain = NonlinearDecay()(signal, echo_time)
    ended = NonlinearDecay(noise_floor=sigma * math.sqrt(math.pi / 2))(signal, echo_time)
    assert bool(ended.settled.all())
    assert float((1 / plain.rate).mean() / 0.04 - 1) > 0.06
    assert abs(float((1 / ended.rate).mean() / 0.04 - 1)) < 0.02


def test_the_unit_of_the_signal_does_not_matter() -> None:
    generator = seeded_generator(1, "noise")
    signal = (torch.exp(-20 * EVEN.float()) + 0.05 * torch.randn(50, 8, generator=generator)).abs()
    here = NonlinearDecay()(signal, EVEN.float())
    for scale in (1e-3, 1e4):
        there = NonlinearDecay()(signal * scale, EVEN.float())
        torch.testing.assert_close(here.rate, there.rate, rtol=1e-4, atol=1e-3)
    floored = NonlinearDecay(noise_floor=0.05)(signal, EVEN.float())
    scaled = NonlinearDecay(noise_floor=500.0)(signal * 1e4, EVEN.float())
    torch.testing.assert_close(floored.rate, scaled.rate, rtol=1e-4, atol=1e-3)


def test_what_did_not_settle_is_told() -> None:
    signal = torch.exp(-20 * EVEN).repeat(3, 1)
    signal[0] = 0.0
    signal[1] = torch.tensor([1.0, 0.1, 0.9, 0.2, 0.8, 0.1, 0.9, 0.1], dtype=torch.float64)
    assert NonlinearDecay(n_steps=1)(signal, EVEN).settled.tolist() == [False, False, True]
    assert NonlinearDecay(n_steps=30)(signal, EVEN).settled.tolist() == [False, True, True]


@pytest.mark.parametrize("floor", [None, 0.1])
def test_zeros_in_late_echoes_and_the_input_stay(floor: float | None) -> None:
    signal = torch.exp(-60 * EVEN).repeat(2, 1)
    signal[0, 4:] = 0.0
    before = signal.clone()
    decay = NonlinearDecay(noise_floor=floor)(signal, EVEN)
    assert bool(torch.isfinite(decay.rate).all())
    assert torch.equal(signal, before)


def test_messages() -> None:
    with pytest.raises(ProtocolError, match="nonlinear fit of a decay needs 3 different echo times"):
        NonlinearDecay().accept(torch.tensor([0.01, 0.02]))
    with pytest.raises(UsageError, match="n_steps is 0"):
        NonlinearDecay(n_steps=0)
    with pytest.raises(UsageError, match="noise floor must be positive and finite, not -1"):
        NonlinearDecay(noise_floor=-1.0)
