"""Images are turned upright and back without loss, and the affine follows."""

import itertools

import numpy as np
import pytest
import torch
from nibabel.affines import apply_affine
from nibabel.orientations import aff2axcodes

from unweight.bids.nifti.canonical import turn_of
from unweight.core.errors import InputError


def affine_for(order: tuple[int, ...], signs: tuple[int, ...]) -> torch.Tensor:
    matrix = torch.zeros(4, 4, dtype=torch.float64)
    matrix[3, 3] = 1.0
    for axis, (target, sign) in enumerate(zip(order, signs, strict=True)):
        matrix[target, axis] = sign * (axis + 1.0)
    matrix[:3, 3] = torch.tensor([5.0, -7.0, 11.0])
    return matrix


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("signs", list(itertools.product((1, -1), repeat=3)))
def test_there_and_back(order: tuple[int, ...], signs: tuple[int, ...]) -> None:
    affine = affine_for(order, signs)
    image = torch.arange(2 * 3 * 4, dtype=torch.float32).reshape(2, 3, 4)
    turn = turn_of(affine, tuple(image.shape))
    upright = turn.apply(image)
    assert aff2axcodes(turn.affine.numpy()) == ("R", "A", "S")
    assert torch.equal(turn.undo(upright), image)
    # A voxel keeps its place in the head.
    place = (1, 2, 0)
    found = (upright == image[place]).nonzero()[0].numpy()
    assert np.allclose(apply_affine(turn.affine.numpy(), found), apply_affine(affine.numpy(), place))


def test_further_axes_stay() -> None:
    turn = turn_of(affine_for((2, 0, 1), (1, -1, 1)), (2, 3, 4))
    maps = torch.rand(2, 3, 4, 5)
    assert torch.equal(turn.apply(maps)[..., 2], turn.apply(maps[..., 2]))


def test_two_axes_along_one_direction() -> None:
    affine = torch.zeros(4, 4, dtype=torch.float64)
    affine[0, 0] = affine[0, 1] = affine[2, 2] = affine[3, 3] = 1.0
    with pytest.raises(InputError, match="ambiguous axes"):
        turn_of(affine, (2, 3, 4))
