"""Whether an acquisition has the timings that a network was trained on.

A network that takes weighted images as channels knows its inversion times only by the place of the channel.
Other times give other maps without any sign of it, so they are refused: each trained inversion time must
be there, to one per cent, in any order.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from unweight.core.acquisition import Acquisition, SignalKind
from unweight.core.errors import ProtocolError, UsageError

TOLERANCE = 0.01


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
                f"no repetition time lies between {shortest:g} and {longest:g} s",
                remedy="Give the shortest and the longest, in seconds.",
            )

    def order(self, acquisition: Acquisition) -> list[int]:
        """Return which volume belongs to each input channel.

        Raises:
            ProtocolError: The acquisition is not what the network was trained on; says what to do.
        """
        if acquisition.kind is not SignalKind.MAGNITUDE:
            raise ProtocolError(
                f"{self.recipe} was trained on magnitude volumes, these are {acquisition.kind.value}",
                remedy="Give the magnitude volumes.",
            )
        found = acquisition.protocol.require("inversion_time", self.recipe).tolist()
        trained = self.inversion_time
        volumes = sorted(range(len(found)), key=lambda volume: float(found[volume]))
        channels = sorted(range(len(trained)), key=lambda channel: trained[channel])
        if len(found) != len(trained) or not all(
            abs(found[volume] - trained[channel]) <= TOLERANCE * trained[channel]
            for volume, channel in zip(volumes, channels, strict=True)
        ):
            raise ProtocolError(
                f"{self.recipe} was trained for inversion times {_listed(trained)} s, "
                f"this acquisition has {_listed(found)} s",
                remedy=self._train(found),
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
            tr for tr in given.tolist() if not (1 - TOLERANCE) * shortest <= tr <= (1 + TOLERANCE) * longest
        ]
        if outside:
            raise ProtocolError(
                f"{self.recipe} was trained for repetition times from {shortest:g} to {longest:g} s, "
                f"this acquisition has {_listed(sorted(set(outside)))} s",
                remedy=self._train(self.inversion_time, f" --tr {max(outside):g}"),
            )

    def _train(self, times: Sequence[float], more: str = "") -> str:
        wanted = " ".join(f"{ti:g}" for ti in sorted(times))
        return (
            f"Train for your protocol: unweight train {self.recipe} --ti {wanted}{more or ' --tr TR'}; "
            "or fit, which takes any protocol."
        )


def _listed(times: Sequence[float]) -> str:
    return ", ".join(f"{time:g}" for time in times)
