import math

import numpy as np
import pytest
import torch
from torch import Tensor

from unweight.core.errors import ProtocolError, UsageError
from unweight.core.protocol import Protocol, protocol_from_values
from unweight.signals.epg import (
    MULTI_ECHO_SPIN_ECHO,
    MultiEchoSpinEcho,
    SliceProfile,
    echo_train,
    sinc_profile,
)
from unweight.signals.exponential_decay import T2_DECAY
from unweight.testing.check_signal_model import check_signal_model

SPACING = 0.009
ECHOES = protocol_from_values(echo_time=[SPACING * number for number in range(1, 21)])
THETA = torch.tensor(
    [[0.08, 2.0, 0.8, 1.1], [0.03, 700.0, 1.0, 0.4], [0.4, 1.0, 1.25, 2.5], [1.2, 3.0, 0.55, 3.0]],
    dtype=torch.float64,
)
UNEQUAL = tuple(math.radians(angle) for angle in (150.0, 120.0, *(90.0, 110.0) * 9))


def isochromats(
    theta: Tensor, refocusing: np.ndarray, excitation: float, spacing: float, count: int = 360
) -> np.ndarray:
    """Return the echoes of one voxel by the Bloch equation of spins that crushers turn by any angle.

    Pulses are instantaneous rotations of each spin, recovery towards equilibrium goes on between them.
    """
    t2, s0, _, t1 = theta.tolist()
    turn = 2 * np.pi * (np.arange(count) + 0.5) / count
    spins = np.zeros((3, count))
    spins[0], spins[2] = math.sin(excitation), math.cos(excitation)

    def half() -> None:
        x, y = spins[0].copy(), spins[1].copy()
        decay, regain = math.exp(-spacing / 2 / t2), math.exp(-spacing / 2 / t1)
        spins[0] = decay * (np.cos(turn) * x - np.sin(turn) * y)
        spins[1] = decay * (np.sin(turn) * x + np.cos(turn) * y)
        spins[2] = 1 - (1 - spins[2]) * regain

    echoes = []
    for angle in refocusing:
        half()
        y, z = spins[1].copy(), spins[2].copy()
        spins[1], spins[2] = (
            math.cos(angle) * y - math.sin(angle) * z,
            math.sin(angle) * y + math.cos(angle) * z,
        )
        half()
        echoes.append(spins[0].mean())
    return s0 * np.array(echoes)


@pytest.mark.parametrize(
    "model",
    [
        MULTI_ECHO_SPIN_ECHO,
        MultiEchoSpinEcho(refocusing=UNEQUAL, excitation=1.2),
        MultiEchoSpinEcho(profile=sinc_profile(1.25)),
    ],
)
def test_contract(model: MultiEchoSpinEcho) -> None:
    check_signal_model(model, THETA, ECHOES)


@pytest.mark.parametrize(
    "model",
    [
        MULTI_ECHO_SPIN_ECHO,
        MultiEchoSpinEcho(refocusing=UNEQUAL, excitation=math.radians(70)),
        MultiEchoSpinEcho(refocusing=(math.radians(100),)),
    ],
)
def test_echoes_are_those_of_many_spins(model: MultiEchoSpinEcho) -> None:
    """Tolerance: 1e-3 is asked for; 360 spins are exact to rounding for orders below 180."""
    echoes = model(THETA, ECHOES)
    angles = np.array(model.refocusing if len(model.refocusing) > 1 else model.refocusing * 20)
    for voxel, theta in zip(echoes, THETA, strict=True):
        b1 = float(theta[2])
        expected = isochromats(theta, b1 * angles, b1 * model.excitation, SPACING)
        np.testing.assert_allclose(voxel.numpy(), expected, rtol=0, atol=1e-9 * float(theta[1]))


def test_the_signal_of_a_slice_is_the_mean_of_its_parts() -> None:
    profile = SliceProfile(excitation=(1.0, 0.7, 0.2), refocusing=(0.98, 0.8, 0.3), weights=(2.0, 1.0, 1.0))
    echoes = MultiEchoSpinEcho(profile=profile)(THETA[:1], ECHOES)[0].numpy()
    parts = [
        weight * isochromats(THETA[0], np.full(20, share * 0.8 * np.pi), excites * 0.4 * np.pi, SPACING)
        for excites, share, weight in zip((1.0, 0.7, 0.2), (0.98, 0.8, 0.3), (2, 1, 1), strict=True)
    ]
    np.testing.assert_allclose(echoes, np.sum(parts, axis=0) / 4, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_180_degrees_are_one_exponential(dtype: torch.dtype) -> None:
    theta = THETA.to(dtype)
    theta[:, 2] = 1.0
    close = 10 * torch.finfo(dtype).eps * 20
    torch.testing.assert_close(
        MULTI_ECHO_SPIN_ECHO(theta, ECHOES), T2_DECAY(theta[:, :2], ECHOES), rtol=close, atol=0
    )


def test_angles_that_miss_180_degrees_by_as_much_give_the_same_echoes() -> None:
    mirrored = THETA.clone()
    mirrored[:, 2] = 2 - THETA[:, 2]
    assert MULTI_ECHO_SPIN_ECHO.folds
    torch.testing.assert_close(MULTI_ECHO_SPIN_ECHO(mirrored, ECHOES), MULTI_ECHO_SPIN_ECHO(THETA, ECHOES))
    assert not MultiEchoSpinEcho(refocusing=(2.0,)).folds
    assert not MultiEchoSpinEcho(profile=sinc_profile(1.0)).folds


def test_a_slice_profile_is_what_rotations_of_a_vector_give() -> None:
    """The same pulse by rotation matrices, of which the angle is the arc cosine of what is left along z."""
    profile = sinc_profile(1.5, time_bandwidth=4.0, apodisation=0.5)
    places = 0.4 * (np.polynomial.legendre.leggauss(len(profile.weights))[0] + 1)
    time = (np.arange(2000) + 0.5) / 2000 - 0.5
    pulse = np.sinc(4 * time) * np.cos(np.pi * time) ** 2
    for nominal, factors, width in ((np.pi / 2, profile.excitation, 1.0), (np.pi, profile.refocusing, 1.5)):
        for place, factor in zip(places, factors, strict=True):
            vector = np.array([0.0, 0.0, 1.0])
            for nutation in nominal * pulse / pulse.sum():
                field = np.array([nutation, 0.0, 2 * np.pi * 4 * place / width / 2000])
                angle = np.linalg.norm(field)
                axis = field / angle
                vector = (
                    vector * math.cos(angle)
                    + np.cross(axis, vector) * math.sin(angle)
                    + axis * (axis @ vector) * (1 - math.cos(angle))
                )
            assert abs(factor) * nominal == pytest.approx(math.acos(vector[2].clip(-1, 1)), abs=2e-3)
    assert profile.excitation[0] == pytest.approx(1, abs=1e-2) and abs(profile.excitation[-1]) < 0.05


def test_echoes_that_are_missing_leave_the_others_as_they_are() -> None:
    whole = MULTI_ECHO_SPIN_ECHO(THETA, ECHOES)
    some = MULTI_ECHO_SPIN_ECHO(THETA, ECHOES.select([7, 2, 3, 12]))
    torch.testing.assert_close(some, whole[:, [7, 2, 3, 12]])


@pytest.mark.parametrize(
    ("times", "numbers"),
    [
        ((0.01, 0.02, 0.03), (1, 2, 3)),
        ((0.02, 0.03, 0.04), (2, 3, 4)),
        ((0.0128, 0.0256, 0.0385), (1, 2, 3)),
        ((0.0481, 0.0096, 0.0193), (5, 1, 2)),
        ((0.02, 0.04, 0.04, 0.02), (1, 2, 2, 1)),
    ],
)
def test_numbers_of_echoes(times: tuple[float, ...], numbers: tuple[int, ...]) -> None:
    assert echo_train(torch.tensor(times)).numbers == numbers


def test_messages() -> None:
    uneven = protocol_from_values(echo_time=[0.01, 0.0235, 0.03])
    with pytest.raises(ProtocolError, match=r"echo times of 10, 23.5, 30 ms are not those of one train"):
        MULTI_ECHO_SPIN_ECHO(THETA, uneven)
    with pytest.raises(ProtocolError, match="needs echo_time"):
        MULTI_ECHO_SPIN_ECHO(THETA, Protocol(repetition_time=torch.ones(3)))
    with pytest.raises(ProtocolError, match="2 refocusing angles for 20 pulses"):
        MultiEchoSpinEcho(refocusing=(3.0, 2.0))(THETA, ECHOES)
    with pytest.raises(UsageError, match="not those of a spin echo"):
        MultiEchoSpinEcho(refocusing=(180.0,))
    with pytest.raises(UsageError, match="1 excitation and 2 refocusing factors"):
        SliceProfile(refocusing=(1.0, 0.5))
    with pytest.raises(UsageError, match="must not be negative"):
        SliceProfile(weights=(-1.0,))
    with pytest.raises(UsageError, match="refocusing width of 0"):
        sinc_profile(0.0)
