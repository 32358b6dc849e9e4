"""How one weighted image was made: what was read out, and with which timings."""

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from unweight.core.errors import ProtocolError
from unweight.core.protocol import PER_VOLUME, Protocol

# What is assumed where a file does not tell it; each assumption is named in the notes of the maps.
MPRAGE_TRAIN = 176.0
MPRAGE_SPACING = 0.0075
TRAIN_OVER_ECHO = 2.0
REST = 0.005  # shortest pause before and after an MPRAGE train [s]


class Readout(StrEnum):
    """What follows the preparation. With an inversion time, TSE is a FLAIR and SE an inversion recovery.

    Attributes:
        SPIN_ECHO: One refocusing pulse.
        TURBO_SPIN_ECHO: A train of refocusing pulses.
        MPRAGE: An inversion, then a train of small excitations.
    """

    SPIN_ECHO = "spin-echo"
    TURBO_SPIN_ECHO = "turbo-spin-echo"
    MPRAGE = "mprage"


READOUTS = tuple(Readout)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Weighting:
    """One image's readout and timings.

    Attributes:
        readout: What was read out.
        protocol: Its timings, of one volume; TR and TE at least, TI too for MPRAGE.
        alternatives: Other timings that the image may have had, where some of the protocol are assumed:
            those at the limits of what is possible.
    """

    readout: Readout
    protocol: Protocol
    alternatives: tuple[Protocol, ...] = ()

    def __post_init__(self) -> None:
        if self.protocol.n_volumes != 1:
            raise ProtocolError(f"a weighted image has one volume, not {self.protocol.n_volumes}")
        needed = ["repetition_time", "echo_time"]
        if self.readout is Readout.MPRAGE:
            needed += ["inversion_time", "flip_angle"]
        for name in needed:
            self.protocol.require(name, f"an image by {self.readout}")

    @property
    def inverts(self) -> bool:
        """Whether an inversion comes first."""
        return self.protocol.inversion_time is not None

    def time(self, name: str) -> float | None:
        """Return one timing as a number; None if it is not known."""
        value = getattr(self.protocol, name)
        return None if value is None else float(value[0])

    def row(self) -> Float[Tensor, " timings"]:
        """Return the place of the readout in READOUTS, then each timing of PER_VOLUME; NaN if unknown."""
        known = (self.time(name) for name in PER_VOLUME)
        numbers = [math.nan if value is None else value for value in known]
        return torch.tensor([float(READOUTS.index(self.readout)), *numbers], dtype=torch.float64)


def completed(weighting: Weighting) -> tuple[Weighting, tuple[str, ...]]:
    """Return the weighting with what its signal needs, and a sentence for each thing assumed.

    A turbo spin echo is taken to fill the centre of k-space half way through its train, so that the train
    ends at 2 TE; an MPRAGE to have 176 excitations 7.5 ms apart, the middle one at the centre, fewer where
    they do not fit between the inversions.

    Raises:
        ProtocolError: No train fits.
    """
    protocol = weighting.protocol
    if weighting.readout is Readout.TURBO_SPIN_ECHO and protocol.readout_time is None:
        end = TRAIN_OVER_ECHO * protocol.require("echo_time", "a turbo spin echo")
        _check_train(weighting, float(end[0]))
        text = f"the echo train is assumed to end at twice the echo time, {float(end[0]):.3g} s"
        return replace(weighting, protocol=replace(protocol, readout_time=end)), (text,)
    if weighting.readout is not Readout.MPRAGE:
        _check_train(weighting, weighting.time("readout_time") or 0.0)
        return weighting, ()
    return _completed_mprage(weighting)


def _check_train(weighting: Weighting, end: float) -> None:
    """Refuse an echo train that is not over when the next repetition begins."""
    cycle, before = weighting.time("repetition_time") or 0.0, weighting.time("inversion_time") or 0.0
    if before + end >= cycle:
        raise ProtocolError(
            f"an echo train that ends {end:g} s after its excitation does not fit TI {before:g} s and TR "
            f"{cycle:g} s",
            remedy="Check TR, TE and TI, in seconds.",
        )


def _completed_mprage(weighting: Weighting) -> tuple[Weighting, tuple[str, ...]]:
    names: list[str] = []
    spacing, length, centre = (
        weighting.time(name) for name in ("echo_spacing", "train_length", "centre_index")
    )
    before, cycle = weighting.time("inversion_time") or 0.0, weighting.time("repetition_time") or 0.0
    after = cycle - before
    if spacing is None:
        spacing = max(MPRAGE_SPACING, 2 * (weighting.time("echo_time") or 0.0))
        names.append(f"the echo spacing of the MPRAGE is assumed to be {1e3 * spacing:.3g} ms")
    if length is None:
        half = MPRAGE_TRAIN / 2 if centre is None else centre
        room = math.floor((before - REST) / spacing) if centre is None else half
        room = min(room, math.floor((after - REST) / spacing))
        length = 2.0 * min(half, room)
        names.append(f"the MPRAGE train is assumed to have {length:g} excitations in a train")
    if centre is None:
        centre = math.floor(length / 2)
        names.append("the centre of k-space of the MPRAGE is assumed at the middle excitation")
    length = max(length, 0.0)
    if not length >= 1 or centre * spacing > before or (length - centre) * spacing > after:
        raise ProtocolError(
            f"an MPRAGE train of {length:g} excitations {1e3 * spacing:.3g} ms apart does not fit TI "
            f"{before:g} s and TR {cycle:g} s",
            remedy="TR of an MPRAGE runs from inversion to inversion (1 to 4 s); check it, TI, the echo "
            "spacing and the length of the train.",
        )
    train = replace(
        weighting.protocol,
        echo_spacing=torch.tensor([spacing], dtype=torch.float64),
        train_length=torch.tensor([length], dtype=torch.float64),
        centre_index=torch.tensor([centre], dtype=torch.float64),
    )
    return replace(weighting, protocol=train), tuple(names)
