import math

import pytest
import torch

from unweight.core.errors import ProtocolError
from unweight.core.seeding import seeded_generator
from unweight.fit.log_linear import LogLinear

EVEN = torch.arange(1, 9, dtype=torch.float64) * 0.004
UNEVEN = torch.tensor([0.001, 0.002, 0.0045, 0.007, 0.012, 0.013, 0.021, 0.03], dtype=torch.float64)
RATES = torch.logspace(0, math.log10(200.0), 400, dtype=torch.float64)


@pytest.mark.parametrize("echo_time", [EVEN, UNEVEN], ids=["even", "uneven"])
def test_noiseless_truth_is_recovered(echo_time: torch.Tensor) -> None:
    decay = LogLinear()(3.0 * torch.exp(-RATES[:, None] * echo_time), echo_time)
    assert bool(decay.settled.all())
    assert float((decay.rate / RATES - 1).abs().max()) < 1e-12
    assert float((decay.amplitude / 3.0 - 1).abs().max()) < 1e-12


def test_two_echoes_give_the_logarithm_of_their_ratio() -> None:
    signal = torch.tensor([[900.0, 300.0], [10.0, 11.0]], dtype=torch.float64)
    decay = LogLinear()(signal, torch.tensor([0.005, 0.025], dtype=torch.float64))
    expected = torch.log(signal[:, 0] / signal[:, 1]) / 0.02
    torch.testing.assert_close(decay.rate, expected)
    torch.testing.assert_close(decay.amplitude, signal[:, 0] * torch.exp(0.005 * expected))


def test_it_is_the_weighted_least_squares_of_another_solver() -> None:
    signal = torch.rand(5, 8, generator=seeded_generator(0, "echoes"), dtype=torch.float64) + 0.1
    decay = LogLinear()(signal, EVEN)
    for voxel, rate, amplitude in zip(signal, decay.rate, decay.amplitude, strict=True):
        design = torch.stack((torch.ones_like(EVEN), -EVEN), -1) * voxel[:, None]
        solution = torch.linalg.lstsq(design, (voxel * voxel.log())[:, None]).solution[:, 0]
        torch.testing.assert_close(solution, torch.stack((amplitude.log(), rate)))


def test_single_precision_suffices() -> None:
    signal = torch.exp(-RATES[:, None] * EVEN)
    decay = LogLinear()(signal.float(), EVEN.float())
    assert decay.rate.dtype == torch.float32
    assert float((decay.rate.double() / RATES - 1).abs().max()) < 3e-5


@pytest.mark.parametrize("scale", [1e-3, 1e4, 1e-18, 1e18])
def test_the_unit_of_the_signal_does_not_matter(scale: float) -> None:
    signal = torch.exp(-20 * EVEN.float()) + 0.05 * torch.rand(
        50, 8, generator=seeded_generator(1, "noise")
    )
    here, there = LogLinear()(signal, EVEN.float()), LogLinear()(signal * scale, EVEN.float())
    torch.testing.assert_close(here.rate, there.rate, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(here.amplitude, there.amplitude / scale, rtol=1e-5, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("empty", [0.0, -0.01])
def test_samples_that_are_not_positive_have_no_weight(dtype: torch.dtype, empty: float) -> None:
    signal = torch.exp(-30 * EVEN).to(dtype).repeat(2, 1)
    signal[1, 5:] = empty
    decay = LogLinear()(signal, EVEN.to(dtype))
    torch.testing.assert_close(decay.rate, torch.full((2,), 30.0, dtype=dtype))
    assert bool(decay.settled.all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_fewer_than_two_samples_do_not_settle(dtype: torch.dtype) -> None:
    signal = torch.zeros(4, 8, dtype=dtype)
    signal[1, 0] = 1.0
    signal[2, 6] = 1.0
    signal[3] = -1.0
    decay = LogLinear()(signal, EVEN.to(dtype))
    assert not bool(decay.settled.any())
    assert bool(decay.rate.isnan().all())


def test_the_input_is_untouched() -> None:
    signal = torch.rand(8, 100, generator=seeded_generator(2, "echoes"), dtype=torch.float64)
    before = signal.clone()
    LogLinear()(signal.T, EVEN)
    assert torch.equal(signal, before)


def test_message() -> None:
    with pytest.raises(ProtocolError, match="log-linear fit needs 2 different echo times, but there are 1"):
        LogLinear().accept(torch.tensor([0.01, 0.01]))
