"""Time between the inversions of an MPRAGE where a sidecar gives the time between its excitations.

Headers of Philips and UIH, and of inversion-prepared SPGR of GE, give the repetition time of the readout, a
few milliseconds. The time between inversions is then what was measured in all over the number of trains,

    TR = T_scan / N,     N = N_y N_z P / (R_y R_z E),

with N_y and N_z phase-encoding steps, partial Fourier P, accelerations R and E excitations in a train
(`EchoTrainLength`), or with N as `NumberOfKSpaceTrajectories` gives it (DICOM PS3.3, C.8.13.3). Trains
whose middle is at the centre of k-space need TR ≥ TI + τ E / 2, with τ between excitations.

Where this is not possible but TI is known, a TR between the limits that are common in brain imaging is
assumed. TI is never assumed: between 0.7 and 1.1 s the contrast of grey matter changes too much.
"""

from dataclasses import dataclass
from math import ceil
from typing import final

from unweight.bids.series.readout import EXCITATION
from unweight.bids.sidecar import REPETITION_OF_INVERSION, Sidecar
from unweight.core.errors import InputError

LONGEST_SPACING = 0.05  # of the excitations of an MPRAGE [s]
SHORTEST_TRAIN = 16  # excitations; fewer are the echoes of a multi-echo readout
LONGEST_CYCLE = 6.0  # [s]
LARGEST_RATIO = 2.0  # of two counts of trains that should agree
COMMON_CYCLE = (1.7, 3.0)  # limits of what is assumed if the time between inversions is not known [s]
LEAST_RANGE = 0.6  # between the limits, where the train leaves less room [s]
REST = 0.01  # before and after a train [s]
VENDOR_NAMES = (
    ("philips", " (Philips: the TFE shot interval and the inversion delay of the scan protocol)"),
    ("uih", " (UIH: the TR of the scan protocol)"),
    ("ge", " (GE: TI plus the readout and the delay for recovery)"),
)


@final
@dataclass(frozen=True, kw_only=True)
class EstimatedCycle:
    """A time between inversions that was computed from other fields.

    Attributes:
        seconds: [s]
        source: The fields, in words.
    """

    seconds: float
    source: str


def excitation_spacing(sidecar: Sidecar) -> float | None:
    """Return the time between the excitations of an MPRAGE [s]; some scanners write it where TR belongs.

    Raises:
        InputError: A field is no number.
    """
    for label in (EXCITATION, "EchoSpacing", "RepetitionTime"):
        value = sidecar.number(label)
        if value is not None and 0 < value <= LONGEST_SPACING:
            return value
    return None


def readout_repetition(sidecar: Sidecar) -> str:
    """Return the field that gives the time between excitations where that between inversions belongs.

    The first of the fields of a repetition time counts; empty if it can be a time between inversions.

    Raises:
        InputError: A field is no number.
    """
    label = next((name for name in REPETITION_OF_INVERSION if sidecar.number(name) is not None), "")
    repeat = sidecar.number(label) if label else None
    inversion = sidecar.number("InversionTime") or LONGEST_SPACING
    return label if repeat is not None and repeat <= inversion else ""


def excitations_of_train(sidecar: Sidecar) -> float | None:
    """Return how many excitations follow each inversion, where `EchoTrainLength` counts them.

    Raises:
        InputError: The field is no number.
    """
    length = sidecar.number("EchoTrainLength")
    return length if length is not None and length >= SHORTEST_TRAIN else None


def shortest_cycle(sidecar: Sidecar) -> float | None:
    """Return the shortest possible time between inversions [s]; None if the train is not known.

    Raises:
        InputError: A field is no number.
    """
    length, spacing = excitations_of_train(sidecar), excitation_spacing(sidecar)
    if length is None or spacing is None:
        return None
    inversion = sidecar.number("InversionTime")
    return (inversion + length * spacing / 2) if inversion else length * spacing


def estimated_cycle(sidecar: Sidecar) -> EstimatedCycle | None:
    """Return the time between inversions from the duration of the scan and the number of trains.

    None if a field is absent, or if the result does not fit the train, TI or the other count of trains.

    Raises:
        InputError: A field is no number.
    """
    duration, shortest = sidecar.number("AcquisitionDuration"), shortest_cycle(sidecar)
    if duration is None or shortest is None:
        return None
    counted, computed = sidecar.number("NumberOfKSpaceTrajectories"), _trains(sidecar)
    if counted and computed and not 1 / LARGEST_RATIO <= counted / computed <= LARGEST_RATIO:
        counted = None
    trains = counted or computed
    if not trains or trains < 2:
        return None
    seconds = duration / trains
    if not shortest <= seconds <= LONGEST_CYCLE:
        return None
    count = (
        "NumberOfKSpaceTrajectories" if counted else "phase-encoding steps, acceleration and train length"
    )
    return EstimatedCycle(
        seconds=round(seconds, 4),
        source=f"AcquisitionDuration {duration:g} s over {trains:g} trains ({count})",
    )


def assumed_cycle(sidecar: Sidecar) -> tuple[float, float] | None:
    """Return the shortest and the longest common time between inversions with this TI and train [s].

    None if TI or the time between excitations is absent, or if the train does not fit TI.

    Raises:
        InputError: A field is no number.
    """
    inversion, spacing = sidecar.number("InversionTime"), excitation_spacing(sidecar)
    if not inversion or spacing is None:
        return None
    half = REST + (excitations_of_train(sidecar) or 0.0) * spacing / 2
    if half > inversion:
        return None
    shortest = max(COMMON_CYCLE[0], inversion + half)
    return round(shortest, 4), round(max(COMMON_CYCLE[1], shortest + LEAST_RANGE), 4)


def advice_on_cycle(sidecar: Sidecar) -> str:
    """Return what is known of a time between inversions that is asked for, in words."""
    maker = str(sidecar.fields.get("Manufacturer", "")).lower()
    advice = next((text for name, text in VENDOR_NAMES if maker.startswith(name)), "")
    try:
        least, length = shortest_cycle(sidecar), excitations_of_train(sidecar)
    except InputError:
        return advice
    if least is None or length is None or not sidecar.fields.get("InversionTime"):
        return advice
    return f"{advice}; with a train of {length:g} excitations it is at least {least:.2f} s"


def _trains(sidecar: Sidecar) -> float | None:
    """Return the number of trains from the phase-encoding steps; None if a field is absent."""
    inner, outer = sidecar.number("PhaseEncodingSteps"), sidecar.number("PhaseEncodingStepsOutOfPlane")
    length = excitations_of_train(sidecar)
    if not inner or not outer or length is None:
        return None
    shares = [sidecar.number("PartialFourier") or 1.0]
    for name in ("ParallelReductionFactorInPlane", "ParallelReductionFactorOutOfPlane"):
        shares.append(1.0 / max(1.0, sidecar.number(name) or 1.0))
    lines = inner * outer
    for share in shares:
        lines *= min(1.0, share)
    return float(ceil(lines / length - 1e-9))
