"""Sizes, middle and axes of a field of view."""

import pytest
import torch

from tests.prepare.heads import lattice, points_of, rotation
from unweight.prepare.lattice import PlacedImage

OBLIQUE = lattice((1.0, 1.5, 4.0), degrees=(10.0, 20.0, -30.0), extent_mm=(20.0, 30.0, 24.0))


def test_sizes_axes_and_middle() -> None:
    assert OBLIQUE.voxel_mm == pytest.approx((1.0, 1.5, 4.0))
    assert torch.allclose(
        OBLIQUE.axes, rotation(*torch.deg2rad(torch.tensor([10.0, 20.0, -30.0])).tolist())
    )
    assert torch.allclose(OBLIQUE.centre, torch.zeros(3, dtype=torch.float64), atol=1e-12)
    assert torch.allclose(OBLIQUE.centre, points_of(OBLIQUE).reshape(-1, 3).mean(0), atol=1e-12)


def test_every_so_many_voxels() -> None:
    fewer = OBLIQUE.every((2, 3, 1))
    assert fewer.shape == (10, 7, 6)
    assert torch.allclose(points_of(fewer), points_of(OBLIQUE)[::2, ::3])


def test_an_image_knows_its_lattice() -> None:
    placed = PlacedImage(values=torch.zeros(OBLIQUE.shape), affine=OBLIQUE.affine)
    assert placed.lattice.shape == OBLIQUE.shape
