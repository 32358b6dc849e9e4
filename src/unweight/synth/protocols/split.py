"""Which protocols are kept from training, decided by their timings once and for all.

TR, TE and TI of an image are laid on a grid of steps of 10 % in each; one cell in ten, by the SHA-256 of
its place and readout, is held out. A training draws no image of a held-out cell, so that an examination
whose images all lie in such cells differs by its timings from every examination that was trained on,
although each timing by itself lies within the range.
"""

import hashlib
import math

from unweight.core.weighting import Weighting

STEP = 0.1  # of the logarithm of a time
ONE_IN = 10
SHORTEST = 1e-6  # [s]
TIMINGS = ("repetition_time", "echo_time", "inversion_time")


def is_held_out(weighting: Weighting) -> bool:
    """Return whether an image with these timings is kept from training."""
    times = (weighting.time(name) for name in TIMINGS)
    cell = "|".join(
        "-" if time is None else str(math.floor(math.log(max(time, SHORTEST)) / STEP)) for time in times
    )
    digest = hashlib.sha256(f"{weighting.readout}|{cell}".encode()).digest()
    return int.from_bytes(digest[:8], "little") % ONE_IN == 0
