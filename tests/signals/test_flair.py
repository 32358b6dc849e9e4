import math

import numpy as np
import pytest
import torch

from tests.signals import bloch
from unweight.core.acquisition import SignalKind
from unweight.core.errors import ProtocolError, UsageError
from unweight.core.protocol import Protocol, protocol_from_values
from unweight.signals.flair import Flair
from unweight.testing.check_signal_model import check_signal_model

T1 = np.array([0.26, 0.84, 1.4, 4.3])
T2 = np.array([0.06, 0.07, 0.11, 1.6])
THETA = torch.from_numpy(np.stack([T1, T2, np.full(4, 1.5)], axis=-1))
FULL = {"inversion_time": [2.5], "repetition_time": [9.0], "echo_time": [0.12], "readout_time": [0.4]}


def simulate(*, angle: float, protocol: Protocol) -> torch.Tensor:
    """Repeat: invert, wait TI, excite by 90°, 180° pulses every 10 ms to the end of the train, recover."""
    ti, tr, te, end = (
        float(getattr(protocol, name)[0])
        for name in ("inversion_time", "repetition_time", "echo_time", "readout_time")
    )
    m = bloch.equilibrium(len(T1))
    for _ in range(20):
        m = bloch.rest(bloch.spoil(bloch.pulse(m, angle)), ti, T1)
        sign = np.sign(m[2])
        m = bloch.pulse(m, math.pi / 2)
        for echo in range(1, round(end / 0.01) + 1):
            m = bloch.pulse(bloch.rest(m, 0.005, T1, T2), math.pi, "y")
            m = bloch.rest(m, 0.005, T1, T2)
            if echo == round(te / 0.01):
                seen = sign * bloch.transverse(m)
        m = bloch.rest(bloch.spoil(m), tr - ti - end, T1)
    return 1.5 * torch.from_numpy(seen).unsqueeze(-1)


@pytest.mark.parametrize("kind", [SignalKind.MAGNITUDE, SignalKind.SIGNED])
def test_contract(kind) -> None:
    theta = torch.tensor([[0.9, 0.08, 1.0], [0.3, 0.02, 200.0], [4.0, 1.5, 0.5]])
    check_signal_model(Flair(kind=kind), theta, protocol_from_values(**FULL))
    check_signal_model(
        Flair(kind=kind), theta, protocol_from_values(**FULL), known={"B": torch.tensor([1.9, 2.0, 1.7])}
    )


@pytest.mark.parametrize("degrees", [140, 164, 180])
@pytest.mark.parametrize(("ti", "tr"), [(2.5, 9.0), (0.2, 2.0)])
def test_signal_is_the_simulated_steady_state(degrees, ti, tr) -> None:
    """The 10 ms train leaves second order in 0.01/T1 along the field: 2·10⁻⁴ at T1 = 0.26 s."""
    angle = math.radians(degrees)
    protocol = protocol_from_values(
        inversion_time=[ti], repetition_time=[tr], echo_time=[0.12], readout_time=[0.4]
    )
    found = Flair(kind=SignalKind.SIGNED, b=1 - math.cos(angle))(THETA, protocol)
    torch.testing.assert_close(found, simulate(angle=angle, protocol=protocol), rtol=3e-4, atol=3e-5)


def test_the_null_is_where_the_docstring_says() -> None:
    t1, interval, b = 4.3, 9.0 - 0.4, 1.96
    null = t1 * math.log(b / (1 + (b - 1) * math.exp(-interval / t1)))
    protocol = protocol_from_values(**FULL | {"inversion_time": [null]})
    assert float(Flair(b=b)(THETA, protocol)[3, 0]) == pytest.approx(0.0, abs=1e-12)


def test_a_known_map_takes_the_place_of_the_field() -> None:
    protocol = protocol_from_values(**FULL)
    known = {"B": torch.full((4,), 1.7, dtype=torch.float64)}
    torch.testing.assert_close(Flair()(THETA, protocol, known), Flair(b=1.7)(THETA, protocol))


def test_without_a_readout_time_recovery_lasts_the_whole_repetition() -> None:
    without = protocol_from_values(**{k: v for k, v in FULL.items() if k != "readout_time"})
    t1, t2, pd = THETA.unbind(-1)
    expected = pd * (1 - 2 * torch.exp(-2.5 / t1) + torch.exp(-9 / t1)) * torch.exp(-0.12 / t2)
    torch.testing.assert_close(Flair(b=2.0, kind=SignalKind.SIGNED)(THETA, without)[:, 0], expected)


@pytest.mark.parametrize("missing", ["inversion_time", "repetition_time", "echo_time"])
def test_missing_timing_is_named(missing) -> None:
    protocol = protocol_from_values(**{k: v for k, v in FULL.items() if k != missing})
    with pytest.raises(ProtocolError, match=f"Flair needs {missing}, which this protocol does not give"):
        Flair()(THETA, protocol)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ProtocolError, match="Flair: the readout is not over when the next repetition"):
        Flair()(THETA, protocol_from_values(**FULL | {"repetition_time": [2.8]}))
    with pytest.raises(UsageError, match=r"b is 1 - cos\(theta\) and lies between 0 and 2, not at 2.4"):
        Flair(b=2.4)
    with pytest.raises(UsageError, match="not complex ones"):
        Flair(kind=SignalKind.COMPLEX)
