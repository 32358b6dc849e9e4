import math

import pytest
import torch

from tests.fit.decays import decays, magnitudes
from unweight.core.errors import UsageError
from unweight.fit.noise_floor import FloorSource, NoiseFloor, floor_of_background

TISSUE = (15.0, 25.0, 40.0, 60.0)


def scene(snr: float, n_channels: int, n_air: int = 8000) -> torch.Tensor:
    signal = torch.cat((decays(TISSUE, snr), torch.zeros(n_air, 8, dtype=torch.float64)))
    return magnitudes(signal, n_channels)


@pytest.mark.parametrize("n_channels", [1, 4, 12])
@pytest.mark.parametrize("snr", [15, 40, 300])
def test_air_tells_noise_and_channels(snr: float, n_channels: int) -> None:
    floor = floor_of_background(scene(snr, n_channels), residual=1.0)
    assert floor is not None and floor.source is FloorSource.BACKGROUND
    assert floor.power == pytest.approx(2 * n_channels, rel=0.04)
    assert floor.sigma == pytest.approx(1, rel=0.05)
    assert floor.n_channels == pytest.approx(n_channels, rel=0.1)


def test_the_unit_and_whole_numbers_do_not_matter() -> None:
    """Noise of two steps of the number format: quantiles of its whole numbers are a step apart."""
    signal = scene(100, 1)
    for values, unit in ((1e-6 * signal.float(), 1e-6), ((2 * signal).round(), 2.0)):
        floor = floor_of_background(values, residual=unit)
        assert floor is not None
        assert floor.mean == pytest.approx(unit * math.sqrt(math.pi / 2), rel=0.04)


def test_ghosts_in_air_hardly_matter() -> None:
    """A twentieth of the air has ghosts of ten times the noise: the median of the rest is 3 % higher."""
    signal = scene(100, 1)
    ghosts = torch.zeros_like(signal)
    ghosts[-400:] = 12 * torch.exp(-0.1 * torch.arange(8.0))
    floor = floor_of_background(torch.hypot(signal, ghosts), residual=1.0)
    assert floor is not None and floor.mean == pytest.approx(math.sqrt(math.pi / 2), rel=0.05)


def test_a_weak_signal_is_no_air() -> None:
    """A tenth of the signal of the rest, which decays or not, and no air: nothing tells the floor."""
    for rate in (0.0, 2.0, 20.0):
        weak = decays((rate,), 7.0, n=4000)
        assert floor_of_background(magnitudes(torch.cat((decays(TISSUE, 100), weak))), 1.0) is None
    spread = decays((2.0,), 5.0, n=4000) * torch.linspace(0.7, 1.4, 4000)[:, None]
    assert floor_of_background(magnitudes(torch.cat((decays((2.0,), 15), spread))), 1.0) is None


def test_no_air_tells_nothing() -> None:
    tissue = magnitudes(decays(TISSUE, 50))
    assert floor_of_background(tissue, 1.0) is None
    assert floor_of_background(torch.cat((tissue, torch.zeros_like(tissue))), 1.0) is None
    assert floor_of_background(torch.full((100, 8), math.nan), 1.0) is None
    assert floor_of_background(tissue, math.nan) is None


def test_means_and_limits_of_noise_alone() -> None:
    """Closed forms: Rayleigh σ·√(π/2); for n channels σ·√2·Γ(n + 1/2)/Γ(n)."""
    one = NoiseFloor(sigma=3.0)
    assert one.mean == pytest.approx(3 * math.sqrt(math.pi / 2))
    assert one.power == pytest.approx(18)
    assert one.top == pytest.approx(15, rel=1e-3)
    four = NoiseFloor(sigma=1.0, n_channels=4)
    assert four.mean == pytest.approx(math.sqrt(2) * math.gamma(4.5) / math.gamma(4))
    noise = magnitudes(torch.zeros(200_000, 1, dtype=torch.float64), 4)
    assert float(noise.mean()) == pytest.approx(four.mean, rel=2e-3)
    assert float((noise > four.top).double().mean()) < 3e-5
    real = NoiseFloor(sigma=2.0, n_channels=0)
    assert (real.power, real.mean) == (0, 0) and real.top == pytest.approx(10, rel=1e-3)


@pytest.mark.parametrize(("sigma", "n_channels"), [(0.0, 1.0), (math.inf, 1.0), (1.0, -1.0)])
def test_message(sigma: float, n_channels: float) -> None:
    with pytest.raises(UsageError, match="a noise floor of sigma"):
        NoiseFloor(sigma=sigma, n_channels=n_channels)
