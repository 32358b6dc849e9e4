import math
from pathlib import Path

import pytest
import torch

from unweight.bids.phase import phase_in_radians
from unweight.bids.sidecar import Sidecar
from unweight.core.errors import InputError

TURNS = torch.linspace(-0.49, 0.49, 101).reshape(101, 1)
RADIANS = TURNS * 2 * math.pi
PLAIN = Sidecar(image=Path("p.nii"))


def test_known_ranges_become_radians() -> None:
    for values in (RADIANS, RADIANS * 1000, TURNS * 8192, TURNS * 4096 + 2048):
        torch.testing.assert_close(phase_in_radians(values, PLAIN).phase, RADIANS)


def test_radians_that_are_told_are_believed_unless_impossible() -> None:
    told = Sidecar(image=Path("p.nii"), fields={"Units": "rad"})
    torch.testing.assert_close(phase_in_radians(RADIANS * 0.1, told).phase, RADIANS * 0.1)
    with pytest.raises(InputError, match="reaches from"):
        phase_in_radians(TURNS * 8192, told)


def test_other_ranges_are_refused() -> None:
    for values in (RADIANS * 0.001, RADIANS * 100):
        with pytest.raises(InputError, match="unit of this phase image is not known"):
            phase_in_radians(values, PLAIN)
