"""Which gradient echoes a network was trained for; others are refused, or every voxel is marked.

The contrast of the echoes depends on flip angle and TR: in the steady state of a spoiled gradient echo, to
first order in α² and TR/T1,

    S(TE) ∝ PD · α / (1 + α²·T1/(2·TR)) · exp(−TE·R2*)

so an image made of echoes of another flip angle or TR than those of the training has the wrong contrast,
without anything in the echoes that tells (Helms et al., Magn Reson Med 59:667, 2008).

The SNR of a scan is known where its noise is, or where the background of the images shows it. That estimate
is rough (several coils and filters change the background), so a scan is taken as too noisy only below half
of the lower end, and never as too clean.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import final

import torch
from torch import Tensor

from unweight.core.acquisition import Acquisition
from unweight.core.errors import MissingValue, MissingValuesError, ProtocolError
from unweight.core.protocol import Protocol
from unweight.fit.noise_level import noise_from_background

Ends = tuple[float, float]
FLIP_ANGLE, REPETITION_TIME = "flip_angle", "repetition_time"
FIRST_ECHO, LAST_ECHO, N_ECHOES = "first_echo", "last_echo", "n_echoes"
FIELD_STRENGTH, SNR = "field_strength", "snr"
BASELINE = 0.008  # [s] from the first to the last echo, at least, for the decay to be seen
SCAN = "scan"  # where a pair keeps them
NAMES = (FLIP_ANGLE, REPETITION_TIME, FIRST_ECHO, LAST_ECHO, N_ECHOES, FIELD_STRENGTH, SNR)
NEEDED = {
    FLIP_ANGLE: MissingValue(field="FlipAngle", of="these images", option="--flip DEG"),
    REPETITION_TIME: MissingValue(field="RepetitionTime", of="these images", option="--tr S"),
}
TOLERANCE = 0.02  # of a value beyond an end
FIELD_TOLERANCE = 0.25  # [T]
NOISIER = 2.0  # than the lower end of the SNR by so much is too noisy
BRIGHT = 0.95  # quantile of the brightest volume that SNR refers to, as in the simulation
MOST_VOXELS = 2**20
# Words, factor to the unit that is written, and that unit.
WORDS: Mapping[str, tuple[str, float, str]] = MappingProxyType(
    {
        FLIP_ANGLE: ("a flip angle of", 180 / math.pi, " degrees"),
        REPETITION_TIME: ("TR", 1e3, " ms"),
        FIRST_ECHO: ("a first echo at", 1e3, " ms"),
        LAST_ECHO: ("a last echo at", 1e3, " ms"),
        N_ECHOES: ("a number of echoes of", 1.0, ""),
        FIELD_STRENGTH: ("echoes at", 1.0, " T"),
        SNR: ("an SNR of about", 1.0, ""),
    }
)
ANY_FIELD_3T: Mapping[str, Ends] = MappingProxyType({FIELD_STRENGTH: (3.0, 3.0)})
NEVERTHELESS = "--any-scan synthesises the image nevertheless and flags every voxel."
REMEDY = (
    f"Check the values (--flip, --tr, --te, --field), or use weights trained for such scans; {NEVERTHELESS}"
)


@final
@dataclass(frozen=True, kw_only=True)
class EchoScanRange:
    """The smallest and the largest of each property of the scans of a training.

    Attributes:
        ends: By name: `flip_angle` [rad], `repetition_time`, `first_echo`, `last_echo` [s], `n_echoes`,
            `field_strength` [T], `snr`. What is absent is not compared.
    """

    ends: Mapping[str, Ends] = field(default_factory=lambda: ANY_FIELD_3T)

    @property
    def unknown(self) -> tuple[str, ...]:
        """Return what the contrast depends on and no range is known of."""
        return tuple(name for name in NEEDED if name not in self.ends)

    def outside(self, measured: Acquisition) -> tuple[str, ...]:
        """Return what lies outside, a sentence with value and range for each; what is missing likewise."""
        return self._faults(values_of(measured))

    def _faults(self, values: Mapping[str, tuple[float, ...]]) -> tuple[str, ...]:
        faults = []
        for name, (low, high) in self.ends.items():
            entries = values.get(name, ())
            if not entries and name in NEEDED:
                faults.append(f"{NEEDED[name].field} is not known ({_trained(name, low, high)})")
            wrong = [value for value in entries if not _within(name, value, low, high)]
            if wrong:
                words, unit, symbol = WORDS[name]
                faults.append(f"{words} {unit * wrong[0]:.3g}{symbol} ({_trained(name, low, high)})")
        return tuple(faults)

    def check(self, measured: Acquisition) -> None:
        """Return if the scan lies within.

        Raises:
            MissingValuesError: Flip angle or TR is not known; says with which options they are given.
            ProtocolError: Something lies outside; says what, and what was trained.
        """
        values = values_of(measured)
        missing = [NEEDED[name] for name in NEEDED if name in self.ends and name not in values]
        if missing:
            raise MissingValuesError(missing)
        faults = self._faults(values)
        if faults:
            raise ProtocolError("; ".join(faults), remedy=REMEDY)


def range_of_card(ranges: Mapping[str, Ends]) -> EchoScanRange:
    """Return what a card says of the scans; of a card that does not name the field, 3 T."""
    return EchoScanRange(ends={**ANY_FIELD_3T, **{name: ranges[name] for name in NAMES if name in ranges}})


def values_of(measured: Acquisition) -> dict[str, tuple[float, ...]]:
    """Return the properties of a scan that are known; of flip angles and TR that differ, the ends.

    Args:
        measured: Echoes; the SNR is that of the brightest volume, where its noise is known.
    """
    snr = snr_of(measured)
    return values_of_protocol(measured.protocol) | ({SNR: (snr,)} if math.isfinite(snr) else {})


def values_of_protocol(protocol: Protocol) -> dict[str, tuple[float, ...]]:
    """Return the properties of a scan in its protocol; of flip angles and TR that differ, the ends."""
    result: dict[str, tuple[float, ...]] = {}
    for name in NEEDED:
        times = getattr(protocol, name)
        if times is not None:
            result[name] = _ends(times)
    echoes = protocol.echo_time
    if echoes is not None:
        first, last = _ends(echoes)[0], _ends(echoes)[-1]
        result |= {FIRST_ECHO: (first,), LAST_ECHO: (last,), N_ECHOES: (float(echoes.shape[-1]),)}
    if protocol.field_strength is not None:
        result[FIELD_STRENGTH] = (protocol.field_strength,)
    return result


def snr_of(measured: Acquisition) -> float:
    """Return the bright signal of the brightest volume over the noise of one channel; NaN if not known."""
    magnitude = measured.signal.abs().reshape(-1, measured.signal.shape[-1])
    noise = measured.noise_sd or noise_from_background(magnitude)
    brightest = magnitude[:, int(magnitude.nanmean(0).argmax())]
    brightest = brightest[brightest > 0]
    if not noise > 0 or not len(brightest):
        return math.nan
    some = brightest[:: max(1, len(brightest) // MOST_VOXELS)].double()
    return float(some.quantile(BRIGHT)) / noise


def _ends(values: Tensor) -> tuple[float, ...]:
    """Return the smallest and the largest value, once if they agree."""
    low, high = float(values.min()), float(values.max())
    return (low,) if torch.isclose(values.min(), values.max()) else (low, high)


def _within(name: str, value: float, low: float, high: float) -> bool:
    if name == SNR:
        return value >= low / NOISIER
    if name == N_ECHOES:
        return value >= low  # more echoes are less noise
    if name == FIELD_STRENGTH:
        return low - FIELD_TOLERANCE <= value <= high + FIELD_TOLERANCE
    return low * (1 - TOLERANCE) <= value <= high * (1 + TOLERANCE)


def _trained(name: str, low: float, high: float) -> str:
    _, unit, symbol = WORDS[name]
    ends = (f"{unit * low:.3g}",) if high - low < 1e-9 else (f"{unit * low:.3g}", f"{unit * high:.3g}")
    return f"the network was trained at {' to '.join(ends)}{symbol}"


def ends_of_scans(scans: Sequence[Mapping[str, float]]) -> dict[str, Ends]:
    """Return the ends of the properties that all scans of a training have; of no scans, none."""
    names = [name for name in NAMES if scans and all(name in scan for scan in scans)]
    return {name: (min(scan[name] for scan in scans), max(scan[name] for scan in scans)) for name in names}


def plain_scan(protocol: Protocol) -> dict[str, float]:
    """Return the properties of a scan as a pair keeps them, but for those that differ between echoes."""
    known = values_of_protocol(protocol)
    return {name: values[0] for name, values in known.items() if len(values) == 1}


N_FEATURES = 7
# The ratio of the PD of grey to white matter, with magnetisation transfer, differs by so much between
# people and scans (standard deviation of its logarithm; assumed; `cohort.WIDE` is drawn with it).
DENSITY_SPREAD = 0.08
LEAST_T1_CONTRAST = 1.5 * DENSITY_SPREAD
# Mean T1 [s] and PD of white and of cortical grey matter at 3 T, as in `synth.tissue.materials`.
WHITE_MATTER, GREY_MATTER = (0.85, 0.69), (1.45, 0.84)


def t1_contrast(flip_angle: float, repetition_time: float) -> float:
    """Return ln of grey over white matter in a spoiled gradient echo at TE = 0, by mean T1 and PD at 3 T.

    Negative where T1 dominates, as in an MPRAGE, positive where PD does; 0 where the two cancel.

        S = PD · sin α · (1 − E1) / (1 − cos α · E1),    E1 = exp(−TR/T1)

    Args:
        flip_angle: Nominal [rad].
        repetition_time: [s]
    """

    def signal(t1: float, density: float) -> float:
        e1 = math.exp(-repetition_time / t1)
        return density * (1 - e1) / (1 - math.cos(flip_angle) * e1)

    return math.log(signal(*GREY_MATTER) / signal(*WHITE_MATTER))


def without_t1_contrast(measured: Acquisition) -> tuple[str, ...]:
    """Return a sentence if T1 changes the echoes less than the ratio of PD between tissues may vary.

    T1 alone changes grey over white matter by the factor exp(`t1_contrast`) over the ratio of their PD;
    where that is within 1.5 standard deviations of the ratio of PD, the image rests on PD and R2*.
    """
    scan = plain_scan(measured.protocol)
    if any(name not in scan for name in NEEDED):
        return ()
    angle, time = scan[FLIP_ANGLE], scan[REPETITION_TIME]
    share = t1_contrast(angle, time) - math.log(GREY_MATTER[1] / WHITE_MATTER[1])
    if abs(share) >= LEAST_T1_CONTRAST:
        return ()
    effect, spread = (100 * math.expm1(value) for value in (abs(share), LEAST_T1_CONTRAST))
    scanned = f"flip angle of {math.degrees(angle):.3g} degrees and TR {1e3 * time:.3g} ms"
    return (
        f"with a {scanned} the echoes hold hardly any T1 contrast: T1 changes grey over white matter by "
        f"{effect:.0f} %, less than the {spread:.0f} % that proton density may",
    )


def scan_features(scan: Mapping[str, float]) -> tuple[float, ...] | None:
    """Return what a network is given of a scan, each of the order of one; None if something is not known.

    ln(α²/(2 TR)), on which the steady state depends, ln α, ln TR, ln of first and last TE, ln of the number
    of echoes, and `t1_contrast`.

    Args:
        scan: As `plain_scan` gives it.
    """
    if any(name not in scan for name in (*NEEDED, FIRST_ECHO, LAST_ECHO, N_ECHOES)):
        return None
    angle, time = scan[FLIP_ANGLE], scan[REPETITION_TIME]
    return (
        math.log(angle**2 / (2 * time)) / 1.5,
        math.log(angle / math.radians(12.0)),
        math.log(time / 0.030) / 0.5,
        math.log(scan[FIRST_ECHO] / 0.004) / 0.5,
        math.log(scan[LAST_ECHO] / 0.025) / 0.5,
        math.log(scan[N_ECHOES] / 6.0) / 0.5,
        t1_contrast(angle, time) / 0.2,
    )
