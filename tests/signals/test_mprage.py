import math

import numpy as np
import pytest
import torch

from tests.signals import bloch
from unweight.core.acquisition import SignalKind
from unweight.core.errors import ProtocolError, UsageError
from unweight.core.protocol import protocol_from_values
from unweight.signals.mprage import Mprage
from unweight.testing.check_signal_model import check_signal_model

SIGNED = Mprage(kind=SignalKind.SIGNED)
ADNI = {
    "repetition_time": [2.3],
    "echo_time": [0.00298],
    "inversion_time": [0.9],
    "flip_angle": [math.radians(9)],
    "echo_spacing": [0.0071],
    "train_length": [176.0],
    "centre_index": [88.0],
}
CENTRE_OUT = ADNI | {"inversion_time": [0.6], "centre_index": [0.0], "flip_angle": [math.radians(12)]}
NO_PAUSES = ADNI | {
    "inversion_time": [88 * 0.0071],
    "repetition_time": [176 * 0.0071],
    "flip_angle": [math.radians(5)],
}
T1 = np.array([0.26, 0.84, 1.4, 4.3])
THETA = torch.from_numpy(np.stack([T1, np.full(4, 1.5), np.array([40.0, 20.0, 15.0, 1.0])], axis=-1))


def simulate(timings, *, angle_of_inversion: float, b1: np.ndarray) -> torch.Tensor:
    """Invert, spoil, rest for TA; excite, spoil and rest n times; rest for TB; until nothing changes."""
    (tr,), (te,), (ti,), (flip,), (spacing,), (n,), (centre,) = (timings[name] for name in ADNI)
    before = ti - centre * spacing
    m = bloch.equilibrium(len(T1))
    for _ in range(25):
        m = bloch.rest(bloch.spoil(bloch.pulse(m, angle_of_inversion)), before, T1)
        for index in range(int(n)):
            excited = bloch.pulse(m, b1 * flip)
            if index == centre:
                seen = -excited[1]
            m = bloch.rest(bloch.spoil(excited), spacing, T1)
        m = bloch.rest(m, tr - before - n * spacing, T1)
    return (1.5 * torch.from_numpy(seen) * torch.exp(-te * THETA[:, 2])).unsqueeze(-1)


@pytest.mark.parametrize("timings", [ADNI, CENTRE_OUT, NO_PAUSES])
@pytest.mark.parametrize("kind", [SignalKind.MAGNITUDE, SignalKind.SIGNED])
def test_contract(timings, kind) -> None:
    known = {"B1": torch.tensor([0.8, 1.0, 1.1, 1.2]), "B": torch.tensor([1.9, 2.0, 1.96, 1.8])}
    check_signal_model(Mprage(kind=kind), THETA, protocol_from_values(**timings))
    check_signal_model(Mprage(kind=kind), THETA, protocol_from_values(**timings), known=known)


@pytest.mark.parametrize("timings", [ADNI, CENTRE_OUT, NO_PAUSES])
@pytest.mark.parametrize("degrees", [150, 164, 180])
def test_signal_is_the_simulated_steady_state(timings, degrees) -> None:
    """Pulse by pulse, with the inversion angle free and B1 different in each voxel."""
    b1 = np.array([0.8, 1.0, 1.1, 1.2])
    b = torch.full((4,), 1 - math.cos(math.radians(degrees)), dtype=torch.float64)
    truth = simulate(timings, angle_of_inversion=math.radians(degrees), b1=b1)
    found = SIGNED(THETA, protocol_from_values(**timings), {"B1": torch.from_numpy(b1), "B": b})
    torch.testing.assert_close(found, truth, rtol=1e-9, atol=1e-9)


def test_contrast_of_the_brain_with_a_standard_protocol() -> None:
    """TR 2300, TI 900, 9°, 7.1 ms, 176 pulses at 3 T, white matter = 1.

    Grey matter .72, fluid .21 and pallidum .95, from an independent simulation with tissue values
    rounded differently: hence 0.05.
    """
    tissue = torch.tensor([[0.84, 0.69, 20.0], [1.35, 0.84, 15.0], [3.817, 1.0, 2.0], [0.92, 0.76, 36.5]])
    signal = Mprage()(tissue, protocol_from_values(**ADNI))[:, 0]
    expected = torch.tensor([1.0, 0.72, 0.21, 0.95])
    torch.testing.assert_close(signal / signal[0], expected, rtol=0, atol=0.05)


def test_without_flip_the_train_is_an_inversion_recovery() -> None:
    """α → 0 leaves m = (1 - E(TR))/(1 + η E(TR)) before the inversion, and 1 - (1 + η m) E(TI) after TI."""
    small = 1e-6
    protocol = protocol_from_values(**ADNI | {"flip_angle": [small], "echo_time": [0.0]})
    t1 = THETA[:, 0]
    repeat = torch.exp(-2.3 / t1)
    expected = 1 - (1 + 0.96 * (1 - repeat) / (1 + 0.96 * repeat)) * torch.exp(-0.9 / t1)
    torch.testing.assert_close(SIGNED(THETA, protocol)[:, 0] / (1.5 * small), expected)


def test_the_default_inversion_efficiency_is_96_percent() -> None:
    protocol = protocol_from_values(**ADNI)
    known = {"B": torch.full((4,), 1.96, dtype=torch.float64)}
    torch.testing.assert_close(Mprage()(THETA, protocol), Mprage()(THETA, protocol, known))


def test_single_precision_suffices() -> None:
    """176 pulses raise rounding to about 10⁻⁵ of the signal."""
    protocol = protocol_from_values(**ADNI)
    exact = SIGNED(THETA, protocol)
    torch.testing.assert_close(SIGNED(THETA.float(), protocol).double(), exact, rtol=2e-5, atol=0)


@pytest.mark.parametrize("missing", list(ADNI))
def test_missing_timing_is_named(missing) -> None:
    protocol = protocol_from_values(**{k: v for k, v in ADNI.items() if k != missing})
    with pytest.raises(ProtocolError, match=f"Mprage needs {missing}, which this protocol does not give"):
        Mprage()(THETA, protocol)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inversion_time": [0.5]}, "the train would have to start before the inversion"),
        ({"repetition_time": [1.4]}, "the train is not over when the next inversion comes"),
        ({"centre_index": [176.0]}, "centre_index lies beyond the train"),
    ],
)
def test_impossible_timing_is_refused(change, message) -> None:
    with pytest.raises(ProtocolError, match=rf"Mprage: {message}.*\(volume 1\)"):
        Mprage()(THETA, protocol_from_values(**ADNI | change))


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(UsageError, match="an efficiency of 96 %"):
        Mprage(b=0.0)
    with pytest.raises(UsageError, match="not complex ones"):
        Mprage(kind=SignalKind.COMPLEX)
