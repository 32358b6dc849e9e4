import pytest
import torch

from tests.susceptibility.scenes import ball
from unweight.core.errors import InputError
from unweight.susceptibility.morphology import fill_holes, large_pieces, largest_component

SHAPE, VOXEL = (24, 24, 24), (1.0, 1.0, 1.0)


def test_largest_of_three_and_corners_do_not_touch() -> None:
    large = torch.zeros(SHAPE, dtype=torch.bool)
    large[2:10, 2:10, 2:10] = True
    mask = large.clone()
    mask[10:13, 10:13, 10:13] = True
    mask[0, 0, 0] = True
    assert torch.equal(largest_component(mask), large)
    assert torch.equal(largest_component(large), large)


def test_pieces_of_a_hundredth_and_more_are_kept() -> None:
    large, small, speck = (torch.zeros(SHAPE, dtype=torch.bool) for _ in range(3))
    large[2:12, 2:12, 2:12] = True
    small[16, 16, 10:20] = True
    speck[20, 20, 0:9] = True
    assert torch.equal(large_pieces(large | small | speck), large | small)
    assert torch.equal(large_pieces(large | small, share=0.02), large)
    with pytest.raises(InputError, match="the mask is empty"):
        large_pieces(torch.zeros(SHAPE, dtype=torch.bool))


def test_holes_are_filled_and_bays_are_not() -> None:
    full = ball(SHAPE, VOXEL, (0.0, 0.0, 0.0), 8.0) >= 0.5
    hollow = full & (ball(SHAPE, VOXEL, (0.0, 0.0, 0.0), 4.0) < 0.5)
    assert torch.equal(fill_holes(hollow), full)
    opened = hollow.clone()
    opened[12, 12, 12:] = False
    assert torch.equal(fill_holes(opened), opened)


def test_empty_mask_is_refused() -> None:
    with pytest.raises(InputError, match=r"the mask is empty\. Check the mask"):
        largest_component(torch.zeros(SHAPE, dtype=torch.bool))
    assert not bool(fill_holes(torch.zeros(SHAPE, dtype=torch.bool)).any())
