"""Phase images in radians, whatever unit the scanner wrote.

BIDS lets a phase image be in radians (`Units` "rad") or arbitrary. Known are the ranges of radians and
milliradians (Philips), and the integers of Siemens: -4096 … 4094, or 0 … 4095 without their intercept. What
was recognised is said. Other ranges are refused, not guessed; the caller can tell what stands for a turn.
Phase that is exactly 0 or π is left as it is.

GE turns every other slice by π where an image was not shifted after the Fourier transform; neighbouring
slices then oppose each other nearly everywhere, which nothing else does.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from unweight.bids.sidecar import Sidecar
from unweight.core.errors import InputError, UsageError

TURN = 2 * math.pi
NEARLY = 0.9
SLACK = 1.01
# Lowest and highest number, numbers in a turn, the number that is phase 0, and whose habit that is.
RANGES = (
    (-math.pi, math.pi, TURN, 0.0, "radians"),
    (0.0, TURN, TURN, 0.0, "radians from 0 to 2π"),
    (-1000 * math.pi, 1000 * math.pi, 1000 * TURN, 0.0, "milliradians, as Philips writes"),
    (-4096.0, 4096.0, 8192.0, 0.0, "Siemens integers, -4096 to 4094 for a full cycle"),
    (0.0, 4096.0, 4096.0, 2048.0, "Siemens integers, 0 to 4095 for a full cycle"),
)
OPPOSED = -0.5


@final
@dataclass(frozen=True, kw_only=True)
class PhaseScaling:
    """What the caller says about phase images.

    Attributes:
        turn: Lowest and highest number of a full turn; None to recognise them.
        whole_range: The lowest and highest number of the images are those of a full turn.
        inverted: Phase falls where the field is higher, as GE writes it.
    """

    turn: tuple[float, float] | None = None
    whole_range: bool = False
    inverted: bool = False

    def __post_init__(self) -> None:
        if self.turn is not None and not self.turn[0] < self.turn[1]:
            raise UsageError(
                f"--phase-range: {self.turn[0]:g} is not less than {self.turn[1]:g}",
                remedy="Give the lower value, then the higher one.",
            )
        if self.turn is not None and self.whole_range:
            raise UsageError(
                "--phase-range and --phase-full-range cannot be combined", remedy="Give one of them."
            )


AS_RECOGNISED = PhaseScaling()


class Radians(NamedTuple):
    """Phase and how it was read.

    Attributes:
        phase: [rad].
        note: What the stored numbers were taken for.
    """

    phase: Float[Tensor, "*voxels volumes"]
    note: str


def phase_in_radians(
    phase: Float[Tensor, "*voxels volumes"], sidecar: Sidecar, scaling: PhaseScaling = AS_RECOGNISED
) -> Radians:
    """Return the phase in radians, and what it was taken for.

    Args:
        phase: As stored, slope and intercept of the file applied.
        sidecar: Of the image.
        scaling: What the caller says.

    Raises:
        InputError: The unit is not known, and the range is none that is known.
    """
    finite = phase[torch.isfinite(phase)]
    lowest, highest = float(finite.min()), float(finite.max())
    if lowest == highest:
        raise InputError(
            f"the phase is {lowest:g} in every voxel: it was not stored, or was lost",
            remedy="Convert the phase image again.",
            path=sidecar.image,
        )
    sign = -1.0 if scaling.inverted else 1.0
    turned = ", and inverted" if scaling.inverted else ""
    ends = (lowest, highest) if scaling.whole_range else scaling.turn
    if ends is not None:
        if not ends[0] < ends[1]:
            raise _unknown(sidecar, lowest, highest)
        middle, factor = (ends[0] + ends[1]) / 2, TURN / (ends[1] - ends[0])
        return Radians(
            sign * factor * (phase - middle),
            f"phase: {ends[0]:g} to {ends[1]:g} used as a full cycle, as given{turned}",
        )
    if sidecar.fields.get("Units") == "rad":
        if highest - lowest > SLACK * 2 * TURN:
            raise _unknown(sidecar, lowest, highest)
        return Radians(sign * phase, f"phase: radians, from the sidecar{turned}")
    for bottom, top, per_turn, zero, name in RANGES:
        margin = (SLACK - 1) * per_turn
        within = bottom - margin <= lowest and highest <= top + margin
        if within and highest - lowest > NEARLY * per_turn:
            return Radians(
                sign * (phase - zero) * (TURN / per_turn),
                f"phase: from {lowest:g} to {highest:g}, taken for {name}{turned}",
            )
    raise _unknown(sidecar, lowest, highest)


def slices_turned_back(
    signal: Complex[Tensor, "x y z volumes"],
) -> tuple[Complex[Tensor, "x y z volumes"], str | None]:
    """Return the volumes with every other slice turned by π where slices oppose each other, and a note."""
    if signal.shape[2] < 4:
        return signal, None
    product = signal[:, :, 1:] * signal[:, :, :-1].conj()
    size = float(product.abs().sum())
    if not size > 0 or float(product.real.sum()) / size > OPPOSED:
        return signal, None
    sign = 1 - 2 * (torch.arange(signal.shape[2], device=signal.device) % 2).to(signal.real)
    return signal * sign[:, None], "alternate slices had a phase offset of π, as written by GE; corrected"


def _unknown(sidecar: Sidecar, lowest: float, highest: float) -> InputError:
    return InputError(
        f"the scaling of this phase image is unknown: its values range from {lowest:g} to {highest:g}",
        remedy='Give it with --phase-range, or write radians and "Units": "rad" into its sidecar.',
        path=sidecar.image,
    )
