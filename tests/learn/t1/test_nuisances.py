import math
from dataclasses import replace

import pytest
import torch

from tests.fit.acquisitions import SEVEN, TIMES, acquire, parameters
from unweight.core.acquisition import Acquisition
from unweight.core.protocol import Protocol, protocol_from_values
from unweight.fit.inversion_recovery import InversionRecoveryFit
from unweight.learn.t1.nuisances import USUAL_B, ScanNuisances, of_the_pulse, scan_nuisances

FIT = InversionRecoveryFit(noise_window=0)
SHORT_TR = protocol_from_values(inversion_time=[0.05, 0.1, 0.3, 0.7, 1.2, 2.0], repetition_time=[2.5] * 6)


def scan(
    b: float, sigma: float, *, protocol: Protocol = SEVEN, late: float = 0.0, count: int = 2500
) -> Acquisition:
    """Return a square of any T1 under one pulse; inversion times are counted too long by `late` [s]."""
    theta = parameters(count, (0.05, 2.0), b=(b, b))
    times = protocol.require("inversion_time", "test")
    real = replace(protocol, inversion_time=times - late)
    side = math.isqrt(count)
    signal = acquire(theta, sigma, protocol=real).signal.reshape(side, side, -1)
    return Acquisition(signal=signal, protocol=protocol, noise_sd=sigma)


def nuisances(of: Acquisition) -> ScanNuisances:
    return scan_nuisances(FIT, of, FIT(of))[0]


@pytest.mark.parametrize("sigma", [0.02, 0.005])
@pytest.mark.parametrize("b", [1.4, 1.55, 1.7, 1.85, 2.0])
@pytest.mark.parametrize("protocol", [SEVEN, SHORT_TR], ids=["seven", "short TR"])
def test_efficiency_of_the_pulse_is_found(b: float, sigma: float, protocol: Protocol) -> None:
    found = nuisances(scan(b, sigma, protocol=protocol))
    assert found.follows
    assert found.scan_efficiency == pytest.approx(b, abs=0.03)
    assert float(found.efficiency.median()) == pytest.approx(b, abs=0.03)


def test_a_scan_of_little_signal_stays_near_the_usual_pulse() -> None:
    found = nuisances(scan(1.9, 1 / 12, count=900))
    assert found.scan_efficiency == pytest.approx(1.9, abs=0.1)


@pytest.mark.parametrize("late", [-0.004, 0.004])
def test_an_error_of_the_inversion_times_is_found_to_a_millisecond(late: float) -> None:
    of = scan(1.95, 0.003, late=late, count=4900)
    found = nuisances(of)
    assert found.ti_error == pytest.approx(late, abs=1e-3)
    assert found.scan_efficiency == pytest.approx(1.95, abs=0.02)
    times = found.corrected(of).protocol.require("inversion_time", "test").tolist()
    assert times == pytest.approx([ti - late for ti in TIMES], abs=1e-3)


def test_right_inversion_times_are_left_alone() -> None:
    of = scan(1.95, 0.003)
    found = nuisances(of)
    assert found.ti_error == 0.0
    assert found.corrected(of) is of


def test_the_pulse_is_one_number_where_tr_is_short() -> None:
    """With C = 2 the fitted B rises with T1; converted, B and PD are those of the pulse."""
    of = scan(1.6, 1e-4, protocol=SHORT_TR)
    free = FIT(of)
    pulse = of_the_pulse(free, of)
    good = free.usable
    assert float(free.value("B")[good].std()) > 0.03
    assert float((pulse.value("B")[good] - 1.6).abs().median()) < 1e-3
    follows = replace(FIT, complete=None)(of)
    torch.testing.assert_close(
        pulse.value("PD")[good].median(), follows.value("PD")[good].median(), rtol=1e-3, atol=0
    )
    torch.testing.assert_close(pulse.value("T1"), free.value("T1"), equal_nan=True)


def test_where_tr_differs_between_volumes_c_stays() -> None:
    several = protocol_from_values(inversion_time=TIMES, repetition_time=[1 + ti for ti in TIMES])
    of = scan(1.95, 0.01, protocol=several)
    assert not nuisances(of).follows


def test_b_that_changes_smoothly_is_followed() -> None:
    side = 64
    across = torch.linspace(1.75, 1.95, side, dtype=torch.float64)[:, None].expand(side, side)
    theta = parameters(side * side, (0.3, 1.5))
    theta[:, 2] = across.flatten()
    signal = acquire(theta, 0.005).signal.reshape(side, side, 7)
    found = nuisances(Acquisition(signal=signal, protocol=SEVEN, noise_sd=0.005))
    error = (found.efficiency - across)[8:-8, 8:-8]
    assert float(error.abs().max()) < 0.03


def test_a_handful_of_voxels_says_nothing() -> None:
    found = nuisances(scan(1.5, 0.01, count=25))
    assert found.scan_efficiency == USUAL_B and found.ti_error == 0.0


def test_order_and_scale_do_not_matter() -> None:
    of, order = scan(1.7, 0.01), [3, 0, 6, 1, 5, 2, 4]
    first = nuisances(of)
    turned = replace(of, signal=of.signal[..., order], protocol=SEVEN.select(order))
    scaled = replace(of, signal=4096 * of.signal, noise_sd=4096 * 0.01)
    for other in (turned, scaled):
        assert nuisances(other).scan_efficiency == pytest.approx(first.scan_efficiency, abs=1e-3)
