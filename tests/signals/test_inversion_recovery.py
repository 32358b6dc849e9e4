import math

import numpy as np
import pytest
import torch

from tests.signals import bloch
from unweight.core.acquisition import SignalKind
from unweight.core.errors import ProtocolError, UsageError
from unweight.core.protocol import protocol_from_values
from unweight.signals.inversion_recovery import InversionRecovery, recovery_interval
from unweight.testing.check_signal_model import check_signal_model

SIGNED = InversionRecovery(kind=SignalKind.SIGNED)
INVERSION_TIMES = (0.05, 0.3, 0.9, 2.0)
T1 = np.array([0.06, 0.34, 0.84, 1.4, 4.3])


def simulate(
    *, angle: float, repetition_time: float, readout_time: float, delay: float = 0.0
) -> torch.Tensor:
    """Repeat: invert, wait TI + delay, excite by 90°, hold m_z at 0 for the readout, recover until TR."""
    volumes = []
    for inversion_time in INVERSION_TIMES:
        m = bloch.equilibrium(len(T1))
        for _ in range(30):
            m = bloch.rest(bloch.spoil(bloch.pulse(m, angle)), inversion_time + delay, T1)
            seen = m[2]
            m = bloch.rest(np.zeros_like(m), repetition_time - inversion_time - delay - readout_time, T1)
        volumes.append(seen)
    return torch.from_numpy(np.stack(volumes, axis=-1))


def at(b: torch.Tensor | float) -> torch.Tensor:
    t1 = torch.from_numpy(T1)
    return torch.stack([t1, torch.ones_like(t1), torch.as_tensor(b, dtype=t1.dtype).expand_as(t1)], dim=-1)


@pytest.mark.parametrize("kind", [SignalKind.MAGNITUDE, SignalKind.SIGNED])
@pytest.mark.parametrize("complete", [None, 2.0])
def test_contract(kind, complete) -> None:
    theta = torch.tensor([[[0.05, 1.0, 1.9]], [[0.9, 0.7, 2.0]], [[4.0, 120.0, 1.6]]])
    protocol = protocol_from_values(
        inversion_time=[0.05, 0.4, 1.5], repetition_time=[2.5, 3.0, 10.0], readout_time=[0.3, 0.3, 0.0]
    )
    check_signal_model(InversionRecovery(kind=kind, complete=complete), theta, protocol)
    check_signal_model(InversionRecovery(), theta, protocol_from_values(inversion_time=[0.05, 0.4]))


@pytest.mark.parametrize("angle", [100, 140, 165, 180])
@pytest.mark.parametrize("repetition_time", [2.6, 5.0])
@pytest.mark.parametrize("readout_time", [0.0, 0.4])
def test_b_of_the_pulse_is_the_repeated_sequence(angle, repetition_time, readout_time) -> None:
    """C = B: a pulse of angle θ, repeated until nothing changes, with any readout."""
    b = 1 - math.cos(math.radians(angle))
    protocol = protocol_from_values(
        inversion_time=INVERSION_TIMES,
        repetition_time=[repetition_time] * 4,
        readout_time=[readout_time] * 4,
    )
    truth = simulate(angle=math.radians(angle), repetition_time=repetition_time, readout_time=readout_time)
    torch.testing.assert_close(SIGNED(at(b), protocol), truth, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("delay", [0.0, 0.012, -0.008])
def test_b_of_a_shifted_inversion_time_is_the_repeated_sequence(delay) -> None:
    """C = 2: a complete inversion whose TI is counted `delay` too short has B = 2 exp(-delay/T1)."""
    protocol = protocol_from_values(
        inversion_time=INVERSION_TIMES, repetition_time=[3.0] * 4, readout_time=[0.2] * 4
    )
    b = 2 * torch.exp(-delay / torch.from_numpy(T1))
    truth = simulate(angle=math.pi, repetition_time=3.0, readout_time=0.2, delay=delay)
    model = InversionRecovery(kind=SignalKind.SIGNED, complete=2.0)
    torch.testing.assert_close(model(at(b), protocol), truth, rtol=1e-10, atol=1e-10)


def test_the_conventions_agree_for_a_complete_inversion_only() -> None:
    protocol = protocol_from_values(inversion_time=[0.5], repetition_time=[2.0])
    complete = InversionRecovery(kind=SignalKind.SIGNED, complete=2.0)
    torch.testing.assert_close(SIGNED(at(2.0), protocol), complete(at(2.0), protocol))
    assert float((SIGNED(at(1.8), protocol) - complete(at(1.8), protocol)).abs().max()) > 0.1


def test_without_a_repetition_time_the_recovery_is_complete() -> None:
    """Closed form PD (1 - B exp(-TI/T1)); null at TI = T1 ln 2; and the limit of a long TR."""
    theta = torch.tensor([[0.8, 3.0, 2.0]], dtype=torch.float64)
    nulled = protocol_from_values(inversion_time=[0.8 * math.log(2), 0.8])
    expected = torch.tensor([[0.0, 3 * (1 - 2 / math.e)]], dtype=torch.float64)
    torch.testing.assert_close(SIGNED(theta, nulled), expected)
    late = protocol_from_values(inversion_time=[0.8 * math.log(2), 0.8], repetition_time=[40.0] * 2)
    torch.testing.assert_close(SIGNED(theta, late), expected)


def test_magnitude_is_the_size_of_the_signed_signal() -> None:
    protocol = protocol_from_values(inversion_time=INVERSION_TIMES)
    signed = SIGNED(at(1.9), protocol)
    assert bool((signed < 0).any())
    torch.testing.assert_close(InversionRecovery()(at(1.9), protocol), signed.abs())


def test_recovery_interval() -> None:
    assert recovery_interval(protocol_from_values(inversion_time=[1.0])) is None
    plain = recovery_interval(protocol_from_values(repetition_time=[3.0]))
    train = recovery_interval(protocol_from_values(repetition_time=[3.0], readout_time=[0.5]))
    assert plain is not None and train is not None
    assert (float(plain[0]), float(train[0])) == (3.0, 2.5)


def test_missing_inversion_time_is_named() -> None:
    with pytest.raises(ProtocolError, match="InversionRecovery needs inversion_time, which this protocol"):
        InversionRecovery()(at(2.0), protocol_from_values(repetition_time=[3.0]))


def test_complex_is_refused() -> None:
    with pytest.raises(UsageError, match="magnitude or signed signals, not complex"):
        InversionRecovery(kind=SignalKind.COMPLEX)
