import math

import numpy as np
import pytest
import torch

from tests.signals import bloch
from unweight.core.errors import ProtocolError
from unweight.core.protocol import protocol_from_values
from unweight.signals.variable_flip_angle import MPM_25_MS, ImperfectSpoiling, VariableFlipAngle
from unweight.testing.check_signal_model import check_signal_model

T1 = np.array([0.26, 0.84, 1.4, 4.3])
B1 = np.array([0.8, 1.0, 1.1, 1.2])
THETA = torch.from_numpy(np.stack([T1, np.array([1.5, 1.0, 0.7, 2.0])], axis=-1))
ANGLES = (3, 6, 12, 21)


def protocol(degrees: tuple[float, ...] = ANGLES, repetition_time: float = 0.025):
    return protocol_from_values(
        flip_angle=[math.radians(angle) for angle in degrees],
        repetition_time=[repetition_time] * len(degrees),
    )


@pytest.mark.parametrize("model", [VariableFlipAngle(), VariableFlipAngle(spoiling=MPM_25_MS)])
def test_contract(model) -> None:
    check_signal_model(model, THETA, protocol())
    check_signal_model(model, THETA.reshape(2, 2, 2), protocol(), {"B1": torch.rand(2, 2) + 0.6})


def test_pulses_approach_the_steady_state() -> None:
    """Excite, see, spoil, rest, 4000 times, for each flip angle."""
    columns = []
    for degrees in ANGLES:
        m = bloch.equilibrium(4)
        for _ in range(4000):
            excited = bloch.pulse(m, B1 * math.radians(degrees))
            m = bloch.rest(bloch.spoil(excited), 0.025, T1)
        columns.append(bloch.transverse(excited))
    truth = THETA[:, 1].numpy()[:, None] * np.stack(columns, axis=-1)
    signal = VariableFlipAngle()(THETA, protocol(), {"B1": torch.from_numpy(B1)})
    np.testing.assert_allclose(signal.numpy(), truth, rtol=1e-9)


def test_two_angles_lie_on_the_line_of_fram() -> None:
    """S/sin(a) over S/tan(a) is a line of slope exp(-TR/T1)."""
    signal = VariableFlipAngle()(THETA, protocol())
    angle = protocol().require("flip_angle", "")
    x, y = signal / torch.tan(angle), signal / torch.sin(angle)
    slope = (y.diff(dim=-1) / x.diff(dim=-1)).numpy()
    np.testing.assert_allclose(slope, np.exp(-0.025 / T1)[:, None].repeat(3, axis=1), rtol=1e-9)


def test_the_largest_signal_is_at_the_ernst_angle() -> None:
    ernst = math.acos(math.exp(-0.025 / 0.84))
    around = [math.degrees(ernst) + step for step in (-0.5, 0.0, 0.5)]
    signal = VariableFlipAngle()(THETA[1:2], protocol(tuple(around)))[0]
    assert int(signal.argmax()) == 1


def test_imperfect_spoiling_gives_the_apparent_t1_of_its_line() -> None:
    """A fit of perfect spoiling finds T1_app, and a(B1) + b(B1) T1_app is T1."""
    spoiling = ImperfectSpoiling(a=(0.05, -0.08, 0.05), b=(-0.1, 0.1, 0.95))
    b1 = torch.from_numpy(B1)
    signal = VariableFlipAngle(spoiling=spoiling)(THETA, protocol(), {"B1": b1})
    a, b = 0.05 * B1**2 - 0.08 * B1 + 0.05, -0.1 * B1**2 + 0.1 * B1 + 0.95
    apparent = THETA.clone()
    apparent[:, 0] = torch.from_numpy((T1 - a) / b)
    perfect = VariableFlipAngle()(apparent, protocol(), {"B1": b1})
    np.testing.assert_allclose(signal.numpy(), perfect.numpy(), rtol=1e-12)


def test_the_published_correction_is_of_a_few_per_cent() -> None:
    """At the nominal flip angle it takes T1 of 1 s from 1.028 s."""
    apparent = MPM_25_MS.apparent(torch.tensor([[1.0]]), torch.tensor([[1.0]]))
    assert float(apparent) == pytest.approx((1.0 - 0.01734527) / 0.95655773, rel=1e-5)


def test_flip_angle_is_needed() -> None:
    with pytest.raises(ProtocolError, match="needs flip_angle"):
        VariableFlipAngle()(THETA, protocol_from_values(repetition_time=[0.025]))
