import pytest
import torch

from tests.susceptibility.scenes import rms, scene
from unweight.core.errors import InputError
from unweight.susceptibility.fourier_grid import eroded_by, grid_around, sphere_kernel
from unweight.susceptibility.geometry import FieldGeometry
from unweight.susceptibility.vsharp import vsharp

CUBE = FieldGeometry(voxel_mm=(1.0, 1.0, 1.0))
SLAB = FieldGeometry(voxel_mm=(1.0, 1.0, 2.0))


@pytest.mark.parametrize("geometry", [CUBE, SLAB], ids=str)
def test_mask_shrinks_by_the_smallest_sphere(geometry: FieldGeometry) -> None:
    """One voxel wide, the largest side of it."""
    _, background, mask, _ = scene(geometry, (40, 40, 24))
    grid = grid_around(mask.shape, (8, 8, 8))
    kernel = sphere_kernel(grid, geometry.voxel_mm, max(geometry.voxel_mm))
    found = vsharp(background, mask, geometry, largest_mm=3.0)
    assert torch.equal(found.mask, eroded_by(mask, kernel, grid))


def test_local_field_of_any_size_of_sphere() -> None:
    """Measured error of the local field deep inside: 18, 15 and 30 % for spheres of 3, 6 and 12 mm
    and the customary threshold.

    In a mask of 15 mm the largest spheres leave few voxels that are told in full.
    """
    local, background, mask, deep = scene(CUBE)
    for largest_mm, allowed in ((3.0, 0.25), (6.0, 0.2), (12.0, 0.35)):
        found = vsharp(local + background, mask, CUBE, largest_mm=largest_mm, threshold=0.05)
        here = found.mask & deep
        assert rms((found.field - local)[here]) < allowed * rms(local[here])


def test_weight_is_not_used() -> None:
    local, background, mask, _ = scene(CUBE)
    weighted = vsharp(local + background, mask, CUBE, local.abs(), largest_mm=3.0)
    assert torch.equal(weighted.field, vsharp(local + background, mask, CUBE, largest_mm=3.0).field)


def test_mask_that_is_too_thin_is_refused() -> None:
    thin = torch.zeros(24, 24, 24, dtype=torch.bool)
    thin[4:20, 4:20, 11:13] = True
    with pytest.raises(InputError, match=r"thinner than the smallest sphere.*give a larger one"):
        vsharp(torch.zeros(24, 24, 24), thin, CUBE)
