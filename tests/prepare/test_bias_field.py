"""A known smooth field is taken out of a head whose tissue it shades."""

import pytest
import torch

from tests.prepare.heads import image, inside, lattice, points_of
from unweight.core.errors import InputError
from unweight.prepare.bias_field import without_bias

PLACE = lattice((4.0, 4.0, 4.0))


def test_a_known_field_is_taken_out() -> None:
    """What is left over of it is a third at most of the field that was put in."""
    pytest.importorskip("SimpleITK")
    head, region = image(PLACE, 0, noise=1.0).values, inside(PLACE) & (image(PLACE, 0).values > 20)
    x, y, z = (points_of(PLACE) / 80).unbind(-1)
    field = torch.exp(0.5 * x - 0.4 * y * z + 0.3 * z).float()
    found = without_bias(head * field, region, PLACE.affine)
    left, put_in = (torch.log(ratio[region]).std() for ratio in (found / head, field))
    assert float(left / put_in) < 0.33


def test_the_same_image_gives_the_same_values() -> None:
    pytest.importorskip("SimpleITK")
    small = lattice((5.0, 5.0, 5.0))
    head, region = image(small, 0).values, inside(small)
    assert torch.equal(*(without_bias(head, region, small.affine) for _ in range(2)))


def test_an_empty_mask_is_refused() -> None:
    with pytest.raises(InputError, match="mask is empty"):
        without_bias(torch.ones(4, 4, 4), torch.zeros(4, 4, 4, dtype=torch.bool), PLACE.affine)
