"""The readout according to sidecars, where it decides which model holds.

Inversion recovery takes one excitation after each inversion. Where small flip angles α follow each other
every τ during the recovery (Look-Locker, MOLLI, MPRAGE), it is faster,

    1/T1* = 1/T1 − ln(cos α)/τ,

and a fit of plain recovery takes T1* for T1. Where one inversion serves all slices, each has an inversion
time of its own. Spin echoes decay with T2, and their phase does not grow with echo time; gradient echoes
decay with T2*.
"""

import sys
from collections.abc import Sequence
from enum import Enum

from unweight.bids.names import image_stem, parse_stem
from unweight.bids.series.overrides import ProtocolOverrides
from unweight.bids.series.part import Entry
from unweight.bids.sidecar import Sidecar
from unweight.core.errors import ProtocolError

# What scanners call an inversion followed by a train of small excitations.
MPRAGE_WORDS = (
    "mprage", "mp-rage", "mp_rage", "tfl", "bravo", "3d_tfe", "t1tfe", "ir-fspgr", "ir_fspgr", "gre_fsp",
)  # fmt: skip
MP2RAGE_WORDS = ("mp2rage", "mp2-rage")
LOOK_LOCKER_WORDS = ("look-locker", "look_locker", "look locker", "looklocker", "molli")
DESCRIBING = (
    "PulseSequenceType",
    "PulseSequenceDetails",
    "PulseSequenceName",
    "SequenceName",
    "SeriesDescription",
    "ProtocolName",
)
LARGE_FLIP = 75.0  # of spin echoes and echo-planar readouts; trains during a recovery have less [degrees]
SAME_SLICE_TIME = (
    0.005  # a spread of inversion times that moves T1 by less than a hundredth of a second [s]
)
EXCITATION, REPETITION = "RepetitionTimeExcitation", "RepetitionTime"
READ_ONCE = "Give inversion recovery with a single excitation after each inversion"


class Echoes(Enum):
    """What makes an echo."""

    GRADIENT = "gradient"
    SPIN = "spin"


def described(sidecar: Sidecar) -> str:
    """Return the names that a sidecar gives the sequence, in small letters."""
    return " ".join(words_of(sidecar.fields.get(name)) for name in DESCRIBING).lower()


def scanning_codes(sidecar: Sidecar) -> frozenset[str]:
    """Return the codes of `ScanningSequence`: SE, GR, EP, IR, RM."""
    text = words_of(sidecar.fields.get("ScanningSequence")).upper()
    return frozenset(text.replace("\\", " ").replace("_", " ").replace(",", " ").split())


def words_of(value: object) -> str:
    """Return a field of words as one text; nothing for another type."""
    if isinstance(value, list):
        return " ".join(str(part) for part in value)
    return value if isinstance(value, str) else ""


def is_prepared_gradient_train(sidecar: Sidecar) -> bool:
    """Whether a sidecar describes a train of gradient echoes after a preparation, as an MPRAGE is.

    Its name or the code MP of `SequenceVariant` (magnetisation prepared) beside a gradient echo says so.
    """
    text, codes = described(sidecar), scanning_codes(sidecar)
    if any(word in text for word in MP2RAGE_WORDS) or {"SE", "EP"} & codes:
        return False
    if any(word in text for word in MPRAGE_WORDS):
        return True
    variants = words_of(sidecar.fields.get("SequenceVariant")).upper().replace("\\", " ").replace("_", " ")
    return "GR" in codes and "MP" in variants.split()


def echoes_of(sidecar: Sidecar) -> Echoes | None:
    """Return what makes the echoes, if a sidecar says one and not both."""
    codes, named = scanning_codes(sidecar), words_of(sidecar.fields.get("PulseSequenceType")).lower()
    spin = "SE" in codes or "spin echo" in named
    gradient = "GR" in codes or "gradient" in named
    if spin == gradient:
        return None
    return Echoes.SPIN if spin else Echoes.GRADIENT


def check_echoes(sidecars: Sequence[Sidecar], suffix: str, wanted: Echoes, remedy: str) -> None:
    """Refuse gradient echoes where spin echoes are needed, and the other way round.

    Args:
        sidecars: Of the files.
        suffix: BIDS suffix of the images, or nothing.
        wanted: What the model is of.
        remedy: What to do with the others.

    Raises:
        ProtocolError: A sidecar or the suffix says that they are the others.
    """
    other = Echoes.SPIN if wanted is Echoes.GRADIENT else Echoes.GRADIENT
    problem = f"these are {other.value} echoes, and {wanted.value} echoes are needed"
    for sidecar in sidecars:
        if echoes_of(sidecar) is other:
            label = "ScanningSequence" if "ScanningSequence" in sidecar.fields else "PulseSequenceType"
            what = words_of(sidecar.fields[label])
            raise ProtocolError(f"{label} is {what}: {problem}", remedy=remedy, path=sidecar.origin(label))
    if suffix == ("MESE" if other is Echoes.SPIN else "MEGRE"):
        raise ProtocolError(
            f"is named {suffix}: {problem}", remedy=remedy, path=sidecars[0].image if sidecars else None
        )


def check_recovery(entries: Sequence[Entry], given: ProtocolOverrides) -> list[str]:
    """Refuse a series of inversion times that is not plain inversion recovery.

    Args:
        entries: The files of one series, in the order in which given times count them.
        given: What the caller says about them.

    Returns:
        What a careful reader should know.

    Raises:
        ProtocolError: Excitations follow each other during the recovery, or slices differ in their times.
    """
    times = _inversion_times(entries, given)
    every = {time for listed in times for time in listed}
    if len(every) < 2:
        return []
    notes: list[str] = []
    for entry, listed in zip(entries, times, strict=True):
        if not _single_shot(entry.sidecar):
            _check_name(entry)
            notes += _check_excitations(entry.sidecar, listed)
        notes += _check_slices(entry.sidecar, max(every), given)
    return list(dict.fromkeys(notes))


def _inversion_times(entries: Sequence[Entry], given: ProtocolOverrides) -> list[list[float]]:
    """Return the inversion times of each file."""
    if given.inversion_time is None:
        return [_numbers(entry.sidecar, "InversionTime") for entry in entries]
    if len(given.inversion_time) == len(entries):
        return [[time] for time in given.inversion_time]
    return [list(given.inversion_time) for _ in entries]


def _numbers(sidecar: Sidecar, name: str) -> list[float]:
    """Return the finite numbers of a field; what is none is refused elsewhere."""
    value = sidecar.fields.get(name)
    listed = value if isinstance(value, list) else [value]
    numbers = [item for item in listed if isinstance(item, int | float) and not isinstance(item, bool)]
    return [float(number) for number in numbers if abs(number) <= sys.float_info.max]


def _flip(sidecar: Sidecar) -> float | None:
    return min(_numbers(sidecar, "FlipAngle"), default=None)


def _single_shot(sidecar: Sidecar) -> bool:
    """Whether the excitation is one that no train of excitations has."""
    flip = _flip(sidecar)
    return (flip is not None and flip >= LARGE_FLIP) or "SE" in scanning_codes(sidecar)


def _check_name(entry: Entry) -> None:
    """Refuse what is called by the name of another sequence."""
    text, name = described(entry.sidecar), parse_stem(image_stem(entry.path) or "")
    suffix = "" if name is None else name.suffix
    if suffix in ("MP2RAGE", "UNIT1") or any(word in text for word in MP2RAGE_WORDS):
        kind, do = "an MP2RAGE", "T1 of MP2RAGE is computed from its UNI image and a look-up table"
    elif any(word in text for word in LOOK_LOCKER_WORDS):
        kind, do = "a Look-Locker series", READ_ONCE
    elif any(word in text for word in MPRAGE_WORDS):
        kind, do = "a train of gradient echoes after each inversion (MPRAGE, turbo FLASH)", READ_ONCE
    else:
        return
    raise ProtocolError(
        f"this is {kind}: its repeated excitations change the recovery, and T1 from an inversion-recovery "
        "model would be wrong",
        remedy=f"{do}; if the name misleads, correct it in the sidecar.",
        path=entry.path,
    )


def _check_excitations(sidecar: Sidecar, times: Sequence[float]) -> list[str]:
    """Refuse excitations that follow each other faster than the inversion time."""
    flip = _flip(sidecar)
    for label in (EXCITATION, REPETITION):
        within = _within(_numbers(sidecar, label), times)
        if within is None:
            continue
        interval, time = within
        if flip is not None:
            raise ProtocolError(
                f"{label} {interval:g} s between excitations of {flip:g} degrees is shorter than the "
                f"inversion time {time:g} s: the signal is read repeatedly during each recovery "
                "(Look-Locker), which accelerates it; T1 would be underestimated",
                remedy=f"{READ_ONCE}; if this is one, correct FlipAngle and {label} in the sidecar.",
                path=sidecar.origin(label),
            )
        if label == EXCITATION:
            return [
                f"{label} {interval:g} s is shorter than inversion times; if the signal is read repeatedly "
                "during each recovery (Look-Locker), T1 is underestimated"
            ]
    codes = scanning_codes(sidecar)
    if flip is None or "GR" not in codes or "EP" in codes:
        return []
    if words_of(sidecar.fields.get("MRAcquisitionType")).upper() != "3D":
        return [
            f"gradient echoes of {flip:g} degrees; if several follow each inversion, they change the "
            "recovery, and T1 is biased"
        ]
    raise ProtocolError(
        f"three-dimensional gradient echoes of {flip:g} degrees are acquired in trains after each "
        "inversion, which changes the recovery: T1 from an inversion-recovery model would be wrong",
        remedy=f"{READ_ONCE}; if this is one, correct FlipAngle and MRAcquisitionType in the sidecar.",
        path=sidecar.origin("ScanningSequence"),
    )


def _within(intervals: Sequence[float], times: Sequence[float]) -> tuple[float, float] | None:
    """Return an interval that is shorter than an inversion time of its volume, and that time."""
    if not intervals or not times:
        return None
    if len(intervals) == len(times):
        pairs = list(zip(intervals, times, strict=True))
    else:
        pairs = [(min(intervals), max(times))]
    return next(((interval, time) for interval, time in pairs if 0 < interval < time), None)


def _check_slices(sidecar: Sidecar, longest: float, given: ProtocolOverrides) -> list[str]:
    """Refuse slices that one inversion serves one after the other, as far as the sidecar shows it.

    Slices spread over more than is left of TR after the longest inversion time have an inversion each.
    """
    slices = _numbers(sidecar, "SliceTiming")
    spread = max(slices) - min(slices) if slices else 0.0
    if spread <= SAME_SLICE_TIME:
        return []
    repetition = max(given.repetition_time or _numbers(sidecar, REPETITION), default=0.0)
    if 0 < repetition < longest + spread:
        return []
    codes = scanning_codes(sidecar)
    if given.inversion_time is not None or ("SE" in codes and "EP" not in codes):
        return [
            f"slices were acquired over {spread:.3g} s; the inversion times are assumed to hold for every "
            "slice, as with one inversion per slice"
        ]
    raise ProtocolError(
        f"SliceTiming spreads the slices over {spread:.3g} s: with a common inversion, each slice has its "
        "own inversion time, and a single T1 model is not valid for all",
        remedy="If each slice has its own inversion, give their times with --ti, or remove SliceTiming "
        "from the sidecar; otherwise map the slices separately, each with its times.",
        path=sidecar.origin("SliceTiming"),
    )
