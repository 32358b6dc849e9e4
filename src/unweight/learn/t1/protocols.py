"""Protocols a T1 network was trained for: a range of them, or one alone.

Which protocols a network that takes any inversion times was trained for.

Any set of times is a wide promise, but not an endless one: outside what the training saw, the answer would
be an extrapolation. So the ends of the training are kept with the weights, and beyond them the acquisition
is refused.

Whether an acquisition has the timings that a network was trained on.

A network that takes weighted images as channels knows its inversion times only by the place of the channel.
Other times give other maps without any sign of it, so they are refused: each trained inversion time must
be there, to one per cent, in any order.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import final

from unweight.core.acquisition import Acquisition, SignalKind
from unweight.core.errors import InputError, ProtocolError, UsageError

Ends = tuple[float, float]
TOLERANCE = 0.02
AFTER_THE_FIT = ("efficiency", "snr")
EARLY = 0.006  # by which a nominal TI may be too short or too long [s]


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
        for field in fields(self):
            low, high = getattr(self, field.name)
            if not 0 <= low <= high:
                raise UsageError(f"ProtocolRange.{field.name} from {low:g} to {high:g} is empty")

    def check(self, acquisition: Acquisition, name: str) -> None:
        """Return if the acquisition lies in the range.

        Raises:
            ProtocolError: It does not; says what does not fit and what to do.
        """
        times = acquisition.protocol.require("inversion_time", name).tolist()
        result: dict[str, tuple[float, Ends, float]] = {
            "number of inversion times": (len(times), self.n_inversions, 0.0),
            "shortest inversion time": (min(times), self.shortest, EARLY),
            "longest inversion time": (max(times), self.longest, EARLY),
        }
        if acquisition.protocol.repetition_time is None:
            raise ProtocolError(
                f"{name} needs the repetition time, which is unknown: without it, long T1 is "
                "underestimated",
                remedy="Give --tr, or use --method ml, which does not need it.",
            )
        repetition = acquisition.protocol.repetition_time.tolist()
        result["shortest repetition time"] = (min(repetition), self.repetition_time, EARLY)
        result["longest repetition time"] = (max(repetition), self.repetition_time, EARLY)
        for what, (value, (low, high), slack) in result.items():
            if not low * (1 - TOLERANCE) - slack <= value <= high * (1 + TOLERANCE) + slack:
                unit = "" if what.startswith("number") else " s"
                raise ProtocolError(
                    f"the {what} is {value:g}{unit}, outside the range {low:g} to {high:g}{unit} that "
                    f"{name} was trained for",
                    remedy="Use --method ml, which accepts any protocol, or train for yours: unweight "
                    f"train {name} --ti {' '.join(f'{ti:g}' for ti in sorted(times))} --tr TR.",
                )

    def to_plain(self) -> dict[str, Ends]:
        """Return the ends by name, as the card of the weights holds them."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def range_from_plain(values: Mapping[str, Ends]) -> ProtocolRange:
    """Return the range a card holds.

    Raises:
        InputError: The card does not hold it.
    """
    try:
        given = {
            field.name: values[field.name]
            for field in fields(ProtocolRange)
            if field.name not in AFTER_THE_FIT
        }
        later = {name: values[name] for name in AFTER_THE_FIT if name in values}  # older cards lack them
        return ProtocolRange(**given, **later)
    except (KeyError, UsageError) as error:
        raise InputError(f"the card of the weights contains no range of protocols: {error}") from error


MATCH_TOLERANCE = 0.01


@final
@dataclass(frozen=True, kw_only=True)
class TrainedProtocol:
    """The timings a network was trained on.

    Attributes:
        inversion_time: TI of each input channel [s].
        repetition_time: Shortest and longest TR that fit [s]; an unknown TR is accepted.
        recipe: Name of the recipe that trains for other timings, `t1-resnet`.
    """

    inversion_time: tuple[float, ...]
    repetition_time: tuple[float, float]
    recipe: str

    def __post_init__(self) -> None:
        times = self.inversion_time
        if not times or len(set(times)) < len(times) or not all(0 <= ti < math.inf for ti in times):
            raise UsageError(
                f"a network cannot have been trained on inversion times {_listed(times)} s",
                remedy="Give each time of an input channel once, in seconds.",
            )
        shortest, longest = self.repetition_time
        if not 0 <= shortest <= longest:
            raise UsageError(
                f"the range of repetition times, {shortest:g} to {longest:g} s, is invalid",
                remedy="Give the shortest TR first, then the longest, in seconds; neither may be negative.",
            )

    def order(self, acquisition: Acquisition) -> list[int]:
        """Return which volume belongs to each input channel.

        Raises:
            ProtocolError: The acquisition is not what the network was trained on; says what to do.
        """
        if acquisition.kind is not SignalKind.MAGNITUDE:
            raise ProtocolError(
                f"{self.recipe} was trained on magnitude volumes; these are {acquisition.kind.value}",
                remedy="Give the magnitude volumes.",
            )
        result = acquisition.protocol.require("inversion_time", self.recipe).tolist()
        trained = self.inversion_time
        volumes = sorted(range(len(result)), key=lambda volume: float(result[volume]))
        channels = sorted(range(len(trained)), key=lambda channel: trained[channel])
        if len(result) != len(trained) or not all(
            abs(result[volume] - trained[channel]) <= MATCH_TOLERANCE * trained[channel]
            for volume, channel in zip(volumes, channels, strict=True)
        ):
            raise ProtocolError(
                f"{self.recipe} was trained for inversion times {_listed(trained)} s; "
                f"this acquisition has {_listed(result)} s",
                remedy=self._train(result),
            )
        self._check_repetition(acquisition)
        place = dict(zip(channels, volumes, strict=True))
        return [place[channel] for channel in range(len(trained))]

    def _check_repetition(self, acquisition: Acquisition) -> None:
        given = acquisition.protocol.repetition_time
        if given is None:
            return
        shortest, longest = self.repetition_time
        outside = [
            tr
            for tr in given.tolist()
            if not (1 - MATCH_TOLERANCE) * shortest <= tr <= (1 + MATCH_TOLERANCE) * longest
        ]
        if outside:
            raise ProtocolError(
                f"{self.recipe} was trained for repetition times from {shortest:g} to {longest:g} s; "
                f"this acquisition has {_listed(sorted(set(outside)))} s",
                remedy=self._train(self.inversion_time, f" --tr {max(outside):g}"),
            )

    def _train(self, times: Sequence[float], more: str = "") -> str:
        wanted = " ".join(f"{ti:g}" for ti in sorted(times))
        return (
            "Use --method ml, which accepts any protocol, or train for yours: unweight train "
            f"{self.recipe} --ti {wanted}{more or ' --tr TR'}."
        )


def _listed(times: Sequence[float]) -> str:
    return ", ".join(f"{time:g}" for time in times)
