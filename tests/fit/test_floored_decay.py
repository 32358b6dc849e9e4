import math

import pytest
import torch

from tests.fit.decays import BRAIN, decays, magnitudes
from unweight.core.errors import ProtocolError
from unweight.core.protocol import protocol_from_values
from unweight.fit.floored_decay import FlooredDecay
from unweight.fit.noise_floor import NoiseFloor
from unweight.signals.noise import Rician
from unweight.signals.precision import cramer_rao_bound
from unweight.signals.spin_echo import SpinEcho

EVEN = torch.tensor(BRAIN, dtype=torch.float64)
UNEVEN = torch.tensor([0.001, 0.002, 0.0045, 0.007, 0.012, 0.013, 0.021, 0.03], dtype=torch.float64)
FLOOR = FlooredDecay(floor=NoiseFloor(sigma=1.0))


@pytest.mark.parametrize("echo_time", [EVEN, UNEVEN], ids=["even", "uneven"])
@pytest.mark.parametrize("n_channels", [1.0, 6.0])
def test_expected_squares_give_the_truth(echo_time: torch.Tensor, n_channels: float) -> None:
    floor = NoiseFloor(sigma=0.01, n_channels=n_channels)
    rate = torch.logspace(0, math.log10(400.0), 300, dtype=torch.float64)
    signal = (9 * torch.exp(-2 * rate[:, None] * echo_time) + floor.power).sqrt()
    decay = FlooredDecay(floor=floor)(signal, echo_time)
    assert bool(decay.settled.all())
    assert float((decay.rate / rate - 1).abs().max()) < 2e-3
    assert float((decay.amplitude / 3 - 1).abs().max()) < 2e-3


@pytest.mark.parametrize(("rate", "snr"), [(50.0, 40.0), (100.0, 40.0), (200.0, 100.0), (300.0, 300.0)])
def test_error_is_unbiased_and_near_the_bound(rate: float, snr: float) -> None:
    """Within 10 % of the Cramér–Rao bound of the Rician law; bias below a tenth of that."""
    decay = FLOOR(magnitudes(decays((rate,), snr, n=20_000)), EVEN)
    theta = torch.tensor([1.0, 1 / rate, 1.0], dtype=torch.float64)
    bound = cramer_rao_bound(
        SpinEcho(),
        theta,
        protocol_from_values(echo_time=BRAIN),
        Rician(sigma=1 / snr),
        {"T1": torch.tensor(1.0)},
    )
    lowest = float(bound[1]) * rate**2
    assert bool(decay.settled.all())
    assert 0.97 < float(decay.rate.std()) / lowest < 1.10
    assert abs(float(decay.rate.median()) - rate) < 0.1 * lowest


def test_several_channels_are_unbiased() -> None:
    floor = FlooredDecay(floor=NoiseFloor(sigma=1.0, n_channels=8))
    decay = floor(magnitudes(decays((100.0,), 40, n=10_000), 8), EVEN)
    assert float(decay.rate.median()) == pytest.approx(100, rel=0.01)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e-6, 1e4, 1e15])
def test_the_unit_of_the_signal_does_not_matter(scale: float, dtype: torch.dtype) -> None:
    signal, times = magnitudes(decays((80.0,), 50, n=200)).to(dtype), EVEN.to(dtype)
    here = FLOOR(signal, times)
    there = FlooredDecay(floor=NoiseFloor(sigma=scale))(signal * scale, times)
    assert there.rate.dtype == dtype
    torch.testing.assert_close(here.rate, there.rate, rtol=1e-3, atol=0)
    torch.testing.assert_close(here.amplitude, there.amplitude / scale, rtol=1e-3, atol=0)


def test_zeros_were_not_measured_and_the_input_stays() -> None:
    signal = torch.exp(-30 * EVEN).repeat(3, 1)
    signal[1, 5:] = 0.0
    signal[2, 1:] = 0.0
    before = signal.clone()
    decay = FlooredDecay(floor=NoiseFloor(sigma=1e-4))(signal, EVEN)
    torch.testing.assert_close(decay.rate[:2], torch.full((2,), 30.0).double(), rtol=1e-3, atol=0)
    assert decay.settled.tolist() == [True, True, False]
    assert torch.equal(signal, before)


def test_message() -> None:
    with pytest.raises(ProtocolError, match="above a noise floor needs 2 different echo times"):
        FLOOR.accept(torch.tensor([0.01, 0.01]))
