import math

import pytest
import torch

from tests.metrics.test_gradient_similarity import everywhere
from unweight.core.errors import UsageError
from unweight.core.seeding import seeded_generator
from unweight.metrics.slice_continuity import slice_jumps

SHAPE = (40, 44, 48)


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=seeded_generator(7, *shape), dtype=torch.float64)


TRUTH = 5 * drawn(*SHAPE)
INSIDE = everywhere(TRUTH)


def test_white_noise_has_no_jumps() -> None:
    for axis in range(3):
        # Of some 80 000 differences the ratio is known to half a percent.
        assert slice_jumps(TRUTH + drawn(*SHAPE), TRUTH, INSIDE, axis) == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_striping(axis: int) -> None:
    """Offsets of variance s² on noise of variance v: √(1 + s²/v), with what the offsets drawn have."""
    shape = [1, 1, 1]
    shape[axis] = SHAPE[axis]
    offsets = drawn(*shape)
    estimate = TRUTH + 0.5 * drawn(*SHAPE) + offsets
    square = float(offsets.diff(dim=axis).square().mean()) / 2
    said = math.sqrt(1 + square / 0.25)
    assert slice_jumps(estimate, TRUTH, INSIDE, axis) == pytest.approx(said, rel=0.02)
    assert slice_jumps(estimate, TRUTH, INSIDE, (axis + 1) % 3) < 1


def test_of_a_ramp() -> None:
    """An error of slopes 3, 4 and 10: 10/√((9 + 16)/2), where there are as many pairs along both."""
    i, j, k = torch.meshgrid(*(torch.arange(float(n)) for n in (9, 9, 5)), indexing="ij")
    error = 3 * i + 4 * j + 10 * k
    inside = everywhere(error)
    assert slice_jumps(error, 0 * error, inside, 2) == pytest.approx(10 / math.sqrt(12.5), rel=1e-6)


def test_only_neighbours_in_the_mask_count() -> None:
    estimate = TRUTH + drawn(*SHAPE)
    inside = INSIDE.clone()
    inside[:, 20:] = False
    part = slice_jumps(estimate[:, :20], TRUTH[:, :20], INSIDE[:, :20], 0)
    estimate[:, 20:30] = 1e6
    estimate[:, 30:] = math.nan
    assert slice_jumps(estimate, TRUTH, inside, 0) == pytest.approx(part, abs=1e-12)
    assert math.isnan(slice_jumps(estimate, TRUTH, inside & False, 0))
    # Every second slice alone has no neighbour along the stack.
    inside[1::2] = False
    assert math.isnan(slice_jumps(estimate, TRUTH, inside, 0))


def test_without_error_within_the_plane() -> None:
    truth = torch.zeros(4, 4, 4)
    assert math.isnan(slice_jumps(truth + 1, truth, everywhere(truth), 2))
    assert slice_jumps(truth + torch.arange(4.0), truth, everywhere(truth), 2) == math.inf


def test_messages() -> None:
    for axis in (-1, 3):
        with pytest.raises(UsageError, match=f"a stacking axis of {axis}. Give 0, 1 or 2."):
            slice_jumps(TRUTH, TRUTH, INSIDE, axis)
