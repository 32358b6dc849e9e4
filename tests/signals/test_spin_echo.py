import math

import numpy as np
import pytest
import torch

from tests.signals import bloch
from unweight.core.errors import ProtocolError
from unweight.core.protocol import protocol_from_values
from unweight.signals.spin_echo import SpinEcho
from unweight.testing.check_signal_model import check_signal_model

T1 = np.array([0.1, 0.84, 1.4, 4.3])
T2 = np.array([0.02, 0.07, 0.11, 1.6])
THETA = torch.from_numpy(np.stack([T1, T2, np.full(4, 1.5)], axis=-1))


def train(*, angle: float, spacing: float, n_echoes: int, repetition_time: float) -> np.ndarray:
    """Excite about x, refocus by 180° about y in the middle of each spacing, spoil at TR; all echoes."""
    m = bloch.equilibrium(len(T1))
    for _ in range(250):
        echoes = []
        m = bloch.pulse(m, angle)
        for _ in range(n_echoes):
            m = bloch.rest(m, spacing / 2, T1, T2)
            m = bloch.rest(bloch.pulse(m, math.pi, "y"), spacing / 2, T1, T2)
            echoes.append(bloch.transverse(m))
        m = bloch.rest(bloch.spoil(m), repetition_time - n_echoes * spacing, T1)
    return 1.5 * np.stack(echoes, axis=-1)


def test_contract() -> None:
    theta = torch.tensor([[0.9, 0.08, 1.0], [0.3, 0.02, 200.0], [4.0, 1.5, 0.5]])
    check_signal_model(SpinEcho(), theta, protocol_from_values(echo_time=[0.01, 0.1]))
    single = protocol_from_values(
        echo_time=[0.015, 0.09], repetition_time=[0.5, 4.0], flip_angle=[math.pi / 2, 1.2]
    )
    check_signal_model(SpinEcho(), theta.reshape(1, 3, 3), single)
    turbo = protocol_from_values(
        echo_time=[0.012, 0.1], repetition_time=[0.6, 4.0], readout_time=[0.04, 0.25]
    )
    check_signal_model(SpinEcho(), theta, turbo)


@pytest.mark.parametrize("degrees", [30, 70, 90])
@pytest.mark.parametrize(("echo_time", "repetition_time"), [(0.015, 0.5), (0.1, 0.4), (0.08, 4.0)])
def test_one_echo_is_the_simulated_steady_state(degrees, echo_time, repetition_time) -> None:
    angle = math.radians(degrees)
    truth = train(angle=angle, spacing=echo_time, n_echoes=1, repetition_time=repetition_time)
    protocol = protocol_from_values(
        echo_time=[echo_time], repetition_time=[repetition_time], flip_angle=[angle]
    )
    torch.testing.assert_close(SpinEcho()(THETA, protocol), torch.from_numpy(truth), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("n_echoes", [8, 16])
def test_a_train_is_the_simulated_steady_state(n_echoes) -> None:
    """Second order in spacing/T1, which is 0.1 at T1 = 0.1 s: hence 1 %, and 0.01 % in tissue."""
    spacing, repetition_time = 0.01, 0.6
    truth = torch.from_numpy(
        train(angle=math.pi / 2, spacing=spacing, n_echoes=n_echoes, repetition_time=repetition_time)
    )
    protocol = protocol_from_values(
        echo_time=[spacing * (1 + i) for i in range(n_echoes)],
        repetition_time=[repetition_time] * n_echoes,
        readout_time=[spacing * n_echoes] * n_echoes,
    )
    found = SpinEcho()(THETA, protocol)
    torch.testing.assert_close(found, truth, rtol=1e-2, atol=0)
    torch.testing.assert_close(found[1:], truth[1:], rtol=1e-4, atol=0)


def test_limits() -> None:
    """No TR: PD exp(-TE/T2). TE = 0: PD (1 - exp(-TR/T1)). Relaxed and excited by 30°: one half."""
    t1, t2, pd = THETA.unbind(-1)
    relaxed = SpinEcho()(THETA, protocol_from_values(echo_time=[0.1]))[:, 0]
    torch.testing.assert_close(relaxed, pd * torch.exp(-0.1 / t2))
    saturated = SpinEcho()(THETA, protocol_from_values(echo_time=[0.0], repetition_time=[0.5]))[:, 0]
    torch.testing.assert_close(saturated, pd * (1 - torch.exp(-0.5 / t1)))
    partial = SpinEcho()(THETA, protocol_from_values(echo_time=[0.1], flip_angle=[math.pi / 6]))[:, 0]
    torch.testing.assert_close(partial, relaxed / 2)


def test_missing_echo_time_is_named() -> None:
    with pytest.raises(ProtocolError, match="SpinEcho needs echo_time"):
        SpinEcho()(THETA, protocol_from_values(repetition_time=[3.0]))


@pytest.mark.parametrize("degrees", [111, 150, 180])
def test_a_refocusing_angle_is_not_taken_for_an_excitation(degrees) -> None:
    protocol = protocol_from_values(echo_time=[0.1, 0.1], flip_angle=[math.pi / 2, math.radians(degrees)])
    with pytest.raises(ProtocolError, match=r"more than 90 degrees.*volume 2.*Leave flip_angle out"):
        SpinEcho()(THETA, protocol)


def test_a_readout_longer_than_the_repetition_is_refused() -> None:
    protocol = protocol_from_values(echo_time=[0.1], repetition_time=[0.5], readout_time=[0.6])
    with pytest.raises(ProtocolError, match="SpinEcho: the readout is not over"):
        SpinEcho()(THETA, protocol)
