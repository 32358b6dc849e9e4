import math

import numpy as np
import pytest
import torch

from tests.signals import bloch
from unweight.core.acquisition import SignalKind
from unweight.core.errors import ProtocolError, UsageError
from unweight.core.protocol import protocol_from_values
from unweight.signals.gradient_echo import GradientEcho, ernst
from unweight.signals.model import derivative
from unweight.testing.check_signal_model import check_signal_model

COMPLEX = GradientEcho(kind=SignalKind.COMPLEX)
ECHO_TIMES = (0.004, 0.012, 0.02, 0.028)
T1 = np.array([0.26, 0.84, 1.4, 4.3])
R2STAR = np.array([120.0, 20.0, 15.0, 1.0])


def multi_echo(*, repetition_time: float = 0.036, degrees: float = 15.0):
    return protocol_from_values(
        echo_time=ECHO_TIMES,
        repetition_time=[repetition_time] * 4,
        flip_angle=[math.radians(degrees)] * 4,
    )


def magnitudes() -> torch.Tensor:
    return torch.from_numpy(np.stack([T1, np.full(4, 1.5), R2STAR], axis=-1))


def complexes() -> torch.Tensor:
    frequency = torch.tensor([-200.0, -3.0, 0.0, 55.0], dtype=torch.float64)
    phase = torch.tensor([0.0, 3.0, -1.0, 0.4], dtype=torch.float64)
    return torch.cat([magnitudes(), frequency.unsqueeze(-1), phase.unsqueeze(-1)], dim=-1)


def test_contract() -> None:
    b1 = {"B1": torch.tensor([0.7, 1.0, 1.1, 1.3])}
    check_signal_model(GradientEcho(), magnitudes(), multi_echo())
    check_signal_model(GradientEcho(), magnitudes(), multi_echo(), known=b1)
    check_signal_model(COMPLEX, complexes().reshape(2, 2, 5), multi_echo())


@pytest.mark.parametrize("degrees", [3, 15, 60, 90])
@pytest.mark.parametrize("repetition_time", [0.03, 0.2])
def test_pulses_approach_the_steady_state(degrees, repetition_time) -> None:
    """Excite, see, spoil, rest, 4000 times; B1 of 0.8 to 1.2 in the four voxels."""
    b1 = np.array([0.8, 1.0, 1.1, 1.2])
    m = bloch.equilibrium(4)
    for _ in range(4000):
        excited = bloch.pulse(m, b1 * math.radians(degrees))
        m = bloch.rest(bloch.spoil(excited), repetition_time, T1)
    decay = np.exp(-np.outer(R2STAR, ECHO_TIMES))
    truth = 1.5 * bloch.transverse(excited)[:, None] * decay
    found = GradientEcho()(
        magnitudes(),
        multi_echo(repetition_time=repetition_time, degrees=degrees),
        {"B1": torch.from_numpy(b1)},
    )
    torch.testing.assert_close(found, torch.from_numpy(truth), rtol=1e-8, atol=0)


def test_the_signal_is_largest_at_the_ernst_angle() -> None:
    """cos α = exp(-TR/T1), where the signal is PD sqrt((1 - E)/(1 + E))."""
    for t1 in (0.3, 1.0, 4.0):
        decay = math.exp(-0.03 / t1)
        angle = torch.acos(torch.tensor([[decay]], dtype=torch.float64)).requires_grad_()
        signal = ernst(
            torch.tensor([[t1]], dtype=torch.float64), torch.tensor([0.03], dtype=torch.float64), angle
        )
        (slope,) = torch.autograd.grad(signal.sum(), angle)
        assert float(slope) == pytest.approx(0.0, abs=1e-9)
        assert float(signal.detach()) == pytest.approx(math.sqrt((1 - decay) / (1 + decay)), rel=1e-12)


def test_phase_turns_with_positive_frequency_from_its_offset() -> None:
    """10 Hz for 25 ms is a quarter turn, counter-clockwise: i at no offset, and -i at half a turn."""
    theta = torch.tensor([[1.0, 2.0, 0.1, 10.0, 0.0], [1.0, 2.0, 0.1, 10.0, math.pi]])
    protocol = protocol_from_values(echo_time=[0.025], repetition_time=[2.0], flip_angle=[math.pi / 2])
    signal = COMPLEX(theta, protocol)
    assert signal.dtype == torch.complex64
    direction = (signal / signal.abs())[:, 0]
    torch.testing.assert_close(direction, torch.tensor([1j, -1j]), rtol=0, atol=1e-6)
    torch.testing.assert_close(signal.abs(), GradientEcho()(theta[:, :3], protocol))


def test_complex_derivative_by_phase_is_a_quarter_turn() -> None:
    """dS/dφ = i S and dS/df = 2πi TE S."""
    signal = COMPLEX(complexes(), multi_echo())
    slopes = derivative(COMPLEX, complexes(), multi_echo())
    torch.testing.assert_close(slopes[..., 4], 1j * signal)
    echo_time = torch.tensor(ECHO_TIMES, dtype=torch.float64)
    torch.testing.assert_close(slopes[..., 3], 2j * math.pi * echo_time * signal)


def test_single_precision_suffices_at_small_angles_and_short_repetition() -> None:
    protocol = multi_echo(repetition_time=0.03, degrees=1)
    exact = GradientEcho()(magnitudes(), protocol)
    torch.testing.assert_close(
        GradientEcho()(magnitudes().float(), protocol).double(), exact, rtol=2e-6, atol=0
    )


@pytest.mark.parametrize("missing", ["repetition_time", "echo_time", "flip_angle"])
def test_missing_timing_is_named(missing) -> None:
    given = {"repetition_time": [0.03], "echo_time": [0.004], "flip_angle": [0.3]}
    del given[missing]
    with pytest.raises(ProtocolError, match=f"GradientEcho needs {missing}, which this protocol"):
        GradientEcho()(magnitudes(), protocol_from_values(**given))


def test_signed_is_refused() -> None:
    with pytest.raises(UsageError, match="magnitude or complex signals, not signed ones"):
        GradientEcho(kind=SignalKind.SIGNED)
