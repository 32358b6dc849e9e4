"""Which protocols a network that takes any inversion times was trained for.

Any set of times is a wide promise, but not an endless one: outside what the training saw, the answer would
be an extrapolation. So the ends of the training are kept with the weights, and beyond them the acquisition
is refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import final

from unweight.core.acquisition import Acquisition
from unweight.core.errors import InputError, ProtocolError, UsageError

Ends = tuple[float, float]
TOLERANCE = 0.02
AFTER_THE_FIT = ("efficiency", "snr")
EARLY = 0.006  # by which a TI may be told too short or too long [s]


@final
@dataclass(frozen=True, kw_only=True)
class ProtocolRange:
    """The smallest and the largest of each, as trained.

    Attributes:
        n_inversions: Inversion times.
        shortest: Shortest TI [s].
        longest: Longest TI [s].
        repetition_time: TR [s].
        efficiency: Inversion efficiency B of the scan, known only after the fit.
        snr: Brightest volume over noise, likewise.
    """

    n_inversions: Ends
    shortest: Ends
    longest: Ends
    repetition_time: Ends
    efficiency: Ends = (1.35, 2.05)
    snr: Ends = (15.0, 300.0)

    def __post_init__(self) -> None:
        for one in fields(self):
            low, high = getattr(self, one.name)
            if not 0 <= low <= high:
                raise UsageError(f"ProtocolRange.{one.name} from {low:g} to {high:g} is empty")

    def check(self, acquisition: Acquisition, name: str) -> None:
        """Return if the acquisition lies in the range.

        Raises:
            ProtocolError: It does not; says what does not fit and what to do.
        """
        times = acquisition.protocol.require("inversion_time", name).tolist()
        found: dict[str, tuple[float, Ends, float]] = {
            "number of inversion times": (len(times), self.n_inversions, 0.0),
            "shortest inversion time": (min(times), self.shortest, EARLY),
            "longest inversion time": (max(times), self.longest, EARLY),
        }
        if acquisition.protocol.repetition_time is None:
            raise ProtocolError(
                f"{name} needs the repetition time, which nothing tells: without it long T1 looks short",
                remedy="Give --tr, or fit with --method ml, which does without.",
            )
        repetition = acquisition.protocol.repetition_time.tolist()
        found["shortest repetition time"] = (min(repetition), self.repetition_time, EARLY)
        found["longest repetition time"] = (max(repetition), self.repetition_time, EARLY)
        for what, (value, (low, high), slack) in found.items():
            if not low * (1 - TOLERANCE) - slack <= value <= high * (1 + TOLERANCE) + slack:
                unit = "" if what.startswith("number") else " s"
                raise ProtocolError(
                    f"{name} was trained for a {what} from {low:g} to {high:g}{unit}, this acquisition has "
                    f"{value:g}{unit}",
                    remedy="Fit with --method ml, which takes any protocol, or train for yours: unweight "
                    f"train {name} --ti {' '.join(f'{ti:g}' for ti in sorted(times))} --tr TR.",
                )

    def to_plain(self) -> dict[str, Ends]:
        """Return the ends by name, as the card of the weights holds them."""
        return {one.name: getattr(self, one.name) for one in fields(self)}


def range_from_plain(values: Mapping[str, Ends]) -> ProtocolRange:
    """Return the range a card holds.

    Raises:
        InputError: The card does not hold it.
    """
    try:
        given = {
            one.name: values[one.name] for one in fields(ProtocolRange) if one.name not in AFTER_THE_FIT
        }
        later = {name: values[name] for name in AFTER_THE_FIT if name in values}  # older cards lack them
        return ProtocolRange(**given, **later)
    except (KeyError, UsageError) as error:
        raise InputError(f"the card of the weights holds no range of protocols: {error}") from error
