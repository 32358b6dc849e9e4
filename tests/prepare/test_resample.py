"""Values on another lattice are those of the function they sample."""

import math

import numpy as np
import pytest
import torch

from tests.prepare.heads import image, lattice, level, points_of, rigid
from unweight.prepare.lattice import PlacedImage, VoxelGrid
from unweight.prepare.resample import resampled, resampled_mask, thinned

FINE = lattice((2.0, 2.0, 2.0))


def blob(place: VoxelGrid, width: float) -> torch.Tensor:
    """A Gaussian of height 1, away from the middle."""
    far = points_of(place) - torch.tensor([4.0, -3.0, 2.0], dtype=torch.float64)
    return torch.exp(-far.square().sum(-1) / (2 * width**2)).float()


def test_the_same_lattice_gives_the_same_values() -> None:
    placed = image(FINE, 0)
    assert torch.allclose(resampled(placed, FINE), placed.values, atol=1e-3)


def test_a_moved_head_is_brought_back() -> None:
    """Cubic splines on 2 mm carry a smooth head within 1 % of its level, onto an oblique lattice too."""
    moved = rigid((5.0, -3.0, 8.0), (4.0, -6.0, 3.0))
    target = lattice((2.0, 2.5, 2.0), degrees=(-6.0, 4.0, 10.0), extent_mm=(120.0, 120.0, 120.0))
    found = resampled(image(FINE, 1, moved), target, moved)
    truth = level(points_of(target), 1).float()
    known = torch.isfinite(found)
    assert float(known.float().mean()) > 0.99
    assert float((found - truth)[known].abs().mean()) < 0.5
    assert float((found - truth)[known].abs().quantile(0.99)) < 5.0


def test_larger_voxels_average_what_is_in_them() -> None:
    """A Gaussian smoothed by a Gaussian is one; its height and width are known."""
    source, target = (
        lattice((1.0, 1.0, 1.0), extent_mm=(60.0,) * 3),
        lattice((4.0,) * 3, extent_mm=(48.0,) * 3),
    )
    width = 5.0
    added = (4.0**2 - 1.0**2) / (8 * math.log(2))
    wider = math.sqrt(width**2 + added)
    found = resampled(PlacedImage(values=blob(source, width), affine=source.affine), target)
    assert torch.allclose(found, (width / wider) ** 3 * blob(target, wider), atol=0.01)


def test_smaller_voxels_are_not_smoothed() -> None:
    source, target = lattice((2.0,) * 3, extent_mm=(60.0,) * 3), lattice((1.0,) * 3, extent_mm=(40.0,) * 3)
    found = resampled(PlacedImage(values=blob(source, 5.0), affine=source.affine), target)
    assert torch.allclose(found, blob(target, 5.0), atol=0.01)


def test_half_a_voxel_around_the_outermost_centres_belongs_to_the_image() -> None:
    source = VoxelGrid(
        shape=(4, 4, 2), affine=torch.diag(torch.tensor([1.0, 1, 4, 1], dtype=torch.float64))
    )
    affine = torch.eye(4, dtype=torch.float64)
    affine[2, 3] = -3.0
    target = VoxelGrid(shape=(4, 4, 12), affine=affine)
    found = resampled(PlacedImage(values=torch.ones(4, 4, 2), affine=source.affine), target)
    there = torch.isfinite(found[0, 0]).nonzero()[:, 0].sub(3).tolist()
    assert there == list(range(-2, 7))
    assert torch.allclose(found[torch.isfinite(found)], torch.ones(1), atol=1e-5)


def test_no_value_stays_no_value_and_does_not_spread() -> None:
    values = image(FINE, 0).values
    values[40, 40, 40] = torch.nan
    found = resampled(PlacedImage(values=values, affine=FINE.affine), FINE)
    assert int(torch.isnan(found).sum()) == 1


def test_splines_do_not_ring_below_zero() -> None:
    values = torch.zeros(FINE.shape)
    values[30:50, 30:50, 30:50] = 100.0
    target = lattice((1.3, 1.3, 1.3), degrees=(3.0, 3.0, 3.0), extent_mm=(60.0,) * 3)
    assert (
        float(resampled(PlacedImage(values=values, affine=FINE.affine), target).nan_to_num().min()) == 0.0
    )


def test_a_mask_stays_a_mask() -> None:
    mask = points_of(FINE).norm(dim=-1) < 40
    target = lattice((1.0, 1.0, 3.0), degrees=(20.0, 0.0, 0.0))
    found = resampled_mask(mask, FINE, target)
    volume = float(found.sum()) * 3
    assert volume == pytest.approx(4 / 3 * math.pi * 40**3, rel=0.02)
    far = target.affine.clone()
    far[0, 3] += 500.0
    assert not bool(resampled_mask(mask, FINE, VoxelGrid(shape=target.shape, affine=far)).any())


def test_thinned_images_keep_their_place() -> None:
    source = lattice((1.0, 1.0, 4.0), extent_mm=(80.0,) * 3)
    found = thinned(PlacedImage(values=blob(source, 12.0), affine=source.affine), 8.0)
    assert found.lattice.voxel_mm == pytest.approx((4.0, 4.0, 4.0))
    peak = np.unravel_index(int(found.values.argmax()), found.values.shape)
    place = points_of(found.lattice)[peak]
    assert float((place - torch.tensor([4.0, -3.0, 2.0], dtype=torch.float64)).norm()) < 4.0
