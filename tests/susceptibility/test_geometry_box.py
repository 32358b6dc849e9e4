import pytest
import torch

from unweight.core.errors import InputError
from unweight.core.seeding import seeded_generator
from unweight.susceptibility.geometry import Box, box_around


def test_box_by_hand() -> None:
    mask = torch.zeros(10, 12, 8, dtype=torch.bool)
    mask[3, 5:8, 0] = True
    mask[4, 6, 7] = True
    assert box_around(mask, margin=0) == Box(ranges=((3, 5), (5, 8), (0, 8)))
    assert box_around(mask) == Box(ranges=((2, 6), (4, 9), (0, 8)))
    assert box_around(mask, margin=50) == Box(ranges=((0, 10), (0, 12), (0, 8)))


def test_what_is_cut_fills_again() -> None:
    values = torch.randn(10, 12, 8, generator=seeded_generator(1))
    echoes = torch.stack([values, -values], dim=-1)
    box = Box(ranges=((2, 6), (4, 9), (0, 8)))
    assert torch.equal(box.cut(echoes), echoes[2:6, 4:9])
    assert torch.equal(box.fill(values, box.cut(values)), values)
    filled = box.fill(torch.zeros_like(values), box.cut(values))
    assert torch.equal(box.cut(filled), box.cut(values))
    assert int((filled != 0).sum()) == 4 * 5 * 8
    assert bool((values != 0).all())


def test_empty_mask_is_refused() -> None:
    with pytest.raises(InputError, match=r"the mask is empty\. Check the mask"):
        box_around(torch.zeros(4, 4, 4, dtype=torch.bool))
