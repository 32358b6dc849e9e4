"""The fixed protocols that published systems were built for, as scans ready to simulate.

A scan is the model that explains its signal, with signs or complex, and its timings. Times follow:
seven inversions and their echo train, Wang et al., arXiv 2407.16477; four inversions, Boudreau et al.,
Magn Reson Med 92:1115, 2024; MPRAGE, the common 3 T protocol of 1 mm (TR 2.3 s, TI 0.9 s). The routine
contrasts and the eight gradient echoes are typical of 3 T.
"""

import math
from dataclasses import dataclass
from typing import final

from unweight.core.acquisition import SignalKind
from unweight.core.protocol import Protocol, protocol_from_values
from unweight.signals.flair import Flair
from unweight.signals.gradient_echo import GradientEcho
from unweight.signals.inversion_recovery import InversionRecovery
from unweight.signals.model import SignalModel
from unweight.signals.mprage import Mprage
from unweight.signals.spin_echo import SpinEcho
from unweight.synth.scanner.blur import EchoOrder, EchoTrain

INVERSION_RECOVERY = InversionRecovery(kind=SignalKind.SIGNED)
SPIN_ECHO = SpinEcho()
FLAIR = Flair(kind=SignalKind.SIGNED)
MPRAGE = Mprage(kind=SignalKind.SIGNED)
GRADIENT_ECHO = GradientEcho(kind=SignalKind.COMPLEX)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Scan:
    """One series as it was prescribed.

    Attributes:
        name: Contrast, as BIDS writes its suffix: `IRT1`, `T1w`, `T2w`, `FLAIR`, `MEGRE`.
        model: Signal, with signs or complex, before noise.
        protocol: Timings.
        train: Refocusing train of a fast spin echo; None for any other readout.
        bipolar: Whether every other gradient echo is read in the opposite direction.
    """

    name: str
    model: SignalModel
    protocol: Protocol
    train: EchoTrain | None = None
    bipolar: bool = False


def seven_inversions() -> Scan:
    """Return inversion recovery with a fast spin echo of 64 echoes, 3 T, TR 10 s."""
    train = EchoTrain(n_echoes=64, echo_spacing=0.00714, order=EchoOrder.CENTRIC)
    return inversion_scan([0.05, 0.10, 0.25, 0.50, 0.85, 1.50, 2.50], 10.0, train)


def four_inversions() -> Scan:
    """Return inversion recovery with one spin echo, 3 T, TR 2.55 s (reproducibility challenge)."""
    train = EchoTrain(n_echoes=1, echo_spacing=0.014)
    return inversion_scan([0.05, 0.40, 1.10, 2.50], 2.55, train)


def routine_contrasts() -> tuple[Scan, Scan, Scan]:
    """Return T1w (spin echo), T2w and FLAIR (fast spin echo) of a clinical examination at 3 T."""
    return (
        Scan(
            name="T1w",
            model=SPIN_ECHO,
            protocol=protocol_from_values(repetition_time=[0.6], echo_time=[0.01], field_strength=3.0),
        ),
        weighted_scan("T2w", 5.0, 8, EchoTrain(n_echoes=15, echo_spacing=0.0125, order=EchoOrder.LINEAR)),
        weighted_scan(
            "FLAIR",
            9.0,
            8,
            EchoTrain(n_echoes=15, echo_spacing=0.0125, order=EchoOrder.LINEAR),
            inversion_time=2.5,
        ),
    )


def eight_echoes() -> Scan:
    """Return a monopolar gradient echo, TE 4 to 32 ms, TR 36 ms, 15°, 3 T."""
    return echo_scan([0.004 * echo for echo in range(1, 9)], 0.036, math.radians(15.0))


def mprage() -> Scan:
    """Return MPRAGE, TR 2.3 s, TI 0.9 s, 9°, 176 excitations 7.1 ms apart, 3 T."""
    return Scan(
        name="T1w",
        model=MPRAGE,
        protocol=protocol_from_values(
            repetition_time=[2.3],
            inversion_time=[0.9],
            echo_time=[0.00298],
            flip_angle=[math.radians(9.0)],
            echo_spacing=[0.0071],
            train_length=[176],
            centre_index=[88],
            field_strength=3.0,
        ),
    )


def inversion_scan(
    inversion_times: list[float], repetition_time: float, train: EchoTrain, field_strength: float = 3.0
) -> Scan:
    """Return inversion recovery with a spin-echo readout.

    Args:
        inversion_times: TI [s].
        repetition_time: TR of all volumes [s].
        train: Readout; its first echo fills the centre of k-space.
        field_strength: Static field [T].
    """
    n = len(inversion_times)
    return Scan(
        name="IRT1",
        model=INVERSION_RECOVERY,
        protocol=protocol_from_values(
            inversion_time=inversion_times,
            repetition_time=[repetition_time] * n,
            echo_time=[train.echo_spacing] * n,
            readout_time=[train.duration] * n,
            field_strength=field_strength,
        ),
        train=train if train.n_echoes > 1 else None,
    )


def weighted_scan(
    name: str,
    repetition_time: float,
    centre_echo: int,
    train: EchoTrain,
    *,
    inversion_time: float | None = None,
    field_strength: float = 3.0,
) -> Scan:
    """Return a fast spin echo, with an inversion before it if a TI is given.

    Args:
        name: Contrast.
        repetition_time: TR [s].
        centre_echo: Which echo fills the centre of k-space, from 1.
        train: Readout.
        inversion_time: TI [s]; None for no inversion.
        field_strength: Static field [T].
    """
    return Scan(
        name=name,
        model=SPIN_ECHO if inversion_time is None else FLAIR,
        protocol=protocol_from_values(
            repetition_time=[repetition_time],
            echo_time=[centre_echo * train.echo_spacing],
            inversion_time=None if inversion_time is None else [inversion_time],
            readout_time=[train.duration],
            field_strength=field_strength,
        ),
        train=train,
    )


def echo_scan(
    echo_times: list[float],
    repetition_time: float,
    flip_angle: float,
    *,
    bipolar: bool = False,
    field_strength: float = 3.0,
) -> Scan:
    """Return a spoiled multi-echo gradient echo.

    Args:
        echo_times: TE [s].
        repetition_time: TR [s].
        flip_angle: Nominal flip angle [rad].
        bipolar: Whether every other echo is read in the opposite direction.
        field_strength: Static field [T].
    """
    n = len(echo_times)
    return Scan(
        name="MEGRE",
        model=GRADIENT_ECHO,
        protocol=protocol_from_values(
            echo_time=echo_times,
            repetition_time=[repetition_time] * n,
            flip_angle=[flip_angle] * n,
            field_strength=field_strength,
        ),
        bipolar=bipolar,
    )
