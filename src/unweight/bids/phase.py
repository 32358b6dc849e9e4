"""Phase images in radians, whatever unit the scanner wrote.

BIDS lets a phase image be in radians (`Units` "rad") or arbitrary. Siemens writes -4096 … 4094, or
0 … 4095 without its intercept; both stand for one turn. Other ranges are refused, not guessed.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from unweight.bids.sidecar import Sidecar
from unweight.core.errors import InputError

TURN = 2 * math.pi
NEARLY = 0.9
SLACK = 1.01


def phase_in_radians(
    phase: Float[Tensor, "*voxels volumes"], sidecar: Sidecar
) -> Float[Tensor, "*voxels volumes"]:
    """Return the phase in radians.

    Raises:
        InputError: The unit is not told, and the range is none that is known.
    """
    finite = phase[torch.isfinite(phase)]
    lowest, highest = float(finite.min()), float(finite.max())
    if sidecar.fields.get("Units") == "rad":
        if highest - lowest > SLACK * 2 * TURN:
            raise _unknown(sidecar, lowest, highest)
        return phase
    for bottom, top, per_turn, zero in (
        (-math.pi, math.pi, TURN, 0.0),
        (0.0, TURN, TURN, 0.0),
        (-4096.0, 4096.0, 8192.0, 0.0),
        (0.0, 4096.0, 4096.0, 2048.0),
    ):
        margin = (SLACK - 1) * per_turn
        within = bottom - margin <= lowest and highest <= top + margin
        if within and highest - lowest > NEARLY * per_turn:
            return (phase - zero) * (TURN / per_turn)
    raise _unknown(sidecar, lowest, highest)


def _unknown(sidecar: Sidecar, lowest: float, highest: float) -> InputError:
    return InputError(
        f"the unit of this phase image is not known: it reaches from {lowest:g} to {highest:g}",
        remedy='Write it in radians, and "Units": "rad" into its sidecar.',
        path=sidecar.image,
    )
