"""Trains of low refocusing angles: an independent Bloch simulation, and the equivalent echo time."""

import math

import numpy as np
import pytest
import torch

from unweight.core.errors import ProtocolError, UsageError
from unweight.core.protocol import protocol_from_values
from unweight.core.weighting import Readout, Weighting
from unweight.signals.flair import Flair
from unweight.signals.spin_echo import SpinEcho
from unweight.signals.variable_train import (
    SPACING,
    WATERS,
    equivalent_train,
    ln_train_decay,
    refocusing_angles,
    train_amplitude,
)
from unweight.signals.weighted import ln_decay, ln_recovery, signal_with_deviation, weighted_signal

NOMINAL = (0.25, 0.2957, 0.392, 0.475, 0.563)
SPINS = 400


def exact(values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def bloch_echo(t1: float, t2: float, angles: tuple[float, ...], spacing: float) -> float:
    """Rotate and relax spins that crushers turn by evenly spread angles; no recovery enters an echo.

    What recovers along the field does not reach an echo of a train whose crushers balance, so only what the
    excitation turned is followed.
    """
    turn = 2 * math.pi * (np.arange(SPINS) + 0.5) / SPINS
    moment = np.zeros((3, SPINS))
    moment[0] = 1.0  # along the axis of the pulses (CPMG)
    half2, half1 = math.exp(-spacing / 2 / t2), math.exp(-spacing / 2 / t1)

    def free(state: np.ndarray) -> np.ndarray:
        x, y, z = state
        cos, sin = np.cos(turn), np.sin(turn)
        return np.array([(cos * x - sin * y) * half2, (sin * x + cos * y) * half2, z * half1])

    for angle in angles:
        x, y, z = free(moment)
        cos, sin = math.cos(angle), math.sin(angle)
        moment = free(np.array([x, cos * y - sin * z, sin * y + cos * z]))
    return float(moment[0].mean())


@pytest.mark.parametrize(("t1", "t2"), [(0.85, 0.07), (1.4, 0.095), (4.3, 1.9)])
def test_echo_of_a_train_is_that_of_a_bloch_simulation(t1: float, t2: float) -> None:
    angles = refocusing_angles(80, 0.004)[:40]
    ours = train_amplitude(exact(t1), exact(t2), torch.tensor(angles, dtype=torch.float64), 0.004)
    assert float(ours) == pytest.approx(bloch_echo(t1, t2, angles, 0.004), rel=1e-6)


@pytest.mark.parametrize("nominal", NOMINAL)
def test_decay_is_that_of_the_phase_graph(nominal: float) -> None:
    train = equivalent_train(nominal)
    centre = round(nominal / SPACING)
    angles = torch.tensor(refocusing_angles(2 * centre, SPACING)[:centre], dtype=torch.float64)
    t1, t2 = torch.tensor((*WATERS, (3.2, 0.6), (4.3, 0.8), (1e6, 1e6)), dtype=torch.float64).unbind(-1)
    graph = train_amplitude(t1, t2, angles, SPACING)
    model = ln_train_decay(t1, t2, *map(exact, (train.echo_time, centre * SPACING, train.shape)))
    assert float((model[:-1] - (graph / graph[-1]).log()[:-1]).abs().max()) < 0.01


def test_a_train_of_the_design_has_its_plateau_and_its_last_angle() -> None:
    angles = refocusing_angles(282, SPACING)
    assert math.degrees(angles[-1]) == pytest.approx(120, abs=0.5)
    assert math.degrees(min(angles)) < 35 < math.degrees(angles[0])
    state = torch.tensor(angles, dtype=torch.float64)
    echoes = [float(train_amplitude(exact(0.94), exact(0.1), state[:n], SPACING)) for n in (60, 140, 220)]
    ratio = 0.2 ** (80 / (282 - 6))
    assert echoes[1] / echoes[0] == pytest.approx(ratio, rel=1e-3)
    assert echoes[2] / echoes[1] == pytest.approx(ratio, rel=1e-3)


@pytest.mark.parametrize("nominal", NOMINAL)
def test_equivalent_echo_time_is_near_a_tenth_of_a_second(nominal: float) -> None:
    """The contrast of T2-weighted images of the brain, whatever the nominal echo time."""
    train = equivalent_train(nominal)
    assert 0.1 < train.echo_time < 0.13
    assert 0.7 < train.lowest / train.echo_time < 0.85 < 1.2 < train.highest / train.echo_time < 1.35


def test_short_trains_are_refused() -> None:
    with pytest.raises(UsageError, match="not that of a long train"):
        equivalent_train(0.03)


def low_angles(inversion_time: float | None = None) -> Weighting:
    train = equivalent_train(0.475)
    protocol = protocol_from_values(
        repetition_time=[5.0],
        echo_time=[train.echo_time],
        inversion_time=None if inversion_time is None else [inversion_time],
        readout_time=[0.95],
        nominal_echo_time=[0.475],
        train_shape=[train.shape],
    )
    return Weighting(readout=Readout.TURBO_SPIN_ECHO, protocol=protocol)


@pytest.mark.parametrize("inversion_time", [None, 1.8])
def test_models_and_rows_agree(inversion_time: float | None) -> None:
    weighting = low_angles(inversion_time)
    model = SpinEcho() if inversion_time is None else Flair()
    theta = torch.tensor([[0.85, 0.07, 0.7], [1.4, 0.09, 0.8], [4.3, 1.9, 1.0]], dtype=torch.float64)
    t1, t2, pd = theta.unbind(-1)
    torch.testing.assert_close(
        weighted_signal(t1, t2, pd, weighting.row()), model(theta, weighting.protocol)[:, 0]
    )


def test_rows_of_trains_and_of_others_mix() -> None:
    plain = Weighting(
        readout=Readout.TURBO_SPIN_ECHO,
        protocol=protocol_from_values(repetition_time=[5.0], echo_time=[0.1], readout_time=[0.2]),
    )
    rows = torch.stack([plain.row(), low_angles().row()])
    t1, t2 = exact(1.2), exact(0.08)
    both = ln_decay(t1, t2, rows)
    assert float(both[0]) == pytest.approx(-0.1 / 0.08)
    assert float(both[1]) == pytest.approx(float(ln_decay(t1, t2, low_angles().row())))
    line = exact(1.1)  # on the line of ordinary water the decomposition is exact
    for row in rows:
        whole = ln_recovery(line, row) - row[2] / (line / 11)
        assert float(whole) == pytest.approx(float(weighted_signal(line, line / 11, exact(1.0), row).log()))


def test_standard_deviation_follows_both_relaxation_times() -> None:
    row = low_angles(1.8).row()
    theta = torch.tensor([1.3, 0.12, 0.8], dtype=torch.float64)
    for place, step in enumerate((1e-6, 1e-7, 1e-6)):
        std = torch.zeros(3, dtype=torch.float64)
        std[place] = 1.0
        moved = theta.clone()
        moved[place] += step
        numeric = (weighted_signal(*moved, row) - weighted_signal(*theta, row)) / step
        value, deviation = signal_with_deviation(theta, std, row)
        assert float(value) == pytest.approx(float(weighted_signal(*theta, row)))
        assert float(deviation) == pytest.approx(abs(float(numeric)), rel=1e-3)


def test_a_train_without_its_shape_is_refused() -> None:
    protocol = protocol_from_values(echo_time=[0.12], nominal_echo_time=[0.475])
    with pytest.raises(ProtocolError, match="needs train_shape"):
        SpinEcho()(torch.tensor([1.0, 0.1, 1.0]), protocol)
