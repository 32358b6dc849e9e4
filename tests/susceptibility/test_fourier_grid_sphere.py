import math

import pytest
import torch
from scipy import ndimage

from tests.susceptibility.scenes import places
from unweight.core.errors import UsageError
from unweight.susceptibility.fourier_grid import FourierGrid, eroded_by, grid_around, sphere_kernel

VOXELS = [(1.0, 1.0, 1.0), (1.0, 1.25, 2.0)]
SHAPE = (33, 29, 21)


@pytest.mark.parametrize("voxel_mm", VOXELS)
@pytest.mark.parametrize("radius", [2.0, 5.0])
def test_a_harmonic_field_is_its_own_mean(voxel_mm: tuple[float, float, float], radius: float) -> None:
    grid = grid_around(SHAPE, (12, 12, 12))
    kernel = sphere_kernel(grid, voxel_mm, radius).double()
    x, y, z = places(SHAPE, voxel_mm)
    assert float(kernel[0, 0, 0]) == pytest.approx(1.0, abs=1e-6)
    away = (x**2 + y**2 + z**2).sqrt()
    reach = min(n // 2 * size for n, size in zip(SHAPE, voxel_mm, strict=True))
    whole = away < reach - radius - max(voxel_mm)
    for harmonic in (torch.ones_like(x), z, x * y, x * y * z):
        mean = grid.convolve(harmonic, kernel)
        torch.testing.assert_close(mean[whole], harmonic[whole], atol=1e-3, rtol=1e-5)
    # Mass inside a voxel sits in its centre, which adds size²/12 to the second moment along its axis.
    a, b, c = (size**2 / 12 for size in voxel_mm)
    for saddle, shift in (
        (x**2 - y**2, a - b),
        (x**2 + y**2 - 2 * z**2, a + b - 2 * c),
        (x**2 + y**2 + z**2, 0.6 * radius**2 + a + b + c),
    ):
        rise = (grid.convolve(saddle, kernel) - saddle)[whole]
        # Shares are counted by thirds of a voxel, not exactly: up to 0.1 mm² where it is 2 mm long.
        allowed = 1e-3 if shift == 0 else 0.03 * max(voxel_mm) ** 2
        torch.testing.assert_close(rise, torch.full_like(rise, shift), atol=allowed, rtol=0.01)


@pytest.mark.parametrize("voxel_mm", VOXELS)
def test_erosion_is_by_distance(voxel_mm: tuple[float, float, float]) -> None:
    x, y, z = places(SHAPE, voxel_mm)
    mask = (x / 14) ** 2 + (y / 15) ** 2 + (z / 13) ** 2 < 1
    mask[10, 14, 10] = False
    grid = grid_around(SHAPE, (12, 12, 12))
    radius = 4.0
    kept = eroded_by(mask, sphere_kernel(grid, voxel_mm, radius), grid)
    assert bool(kept.any()) and not bool((kept & ~mask).any())
    # Beyond the grid is outside the mask.
    padded = torch.nn.functional.pad(mask, (1,) * 6).numpy()
    distance = ndimage.distance_transform_edt(padded, sampling=voxel_mm)[1:-1, 1:-1, 1:-1]
    # Half the diagonal of a voxel: a voxel outside may reach into the sphere or not.
    reach = math.hypot(*voxel_mm) / 2
    assert bool(kept[torch.from_numpy(distance > radius + reach)].all())
    assert not bool(kept[torch.from_numpy(distance < radius - reach)].any())


def test_one_slice_takes_a_disc() -> None:
    grid = grid_around((21, 21, 1), (10, 10, 10))
    kernel = sphere_kernel(grid, (1.0, 1.0, 1.0), 4.0)
    x, y, _ = places((21, 21, 1))
    mean = grid.convolve((x**2 - y**2).float(), kernel)
    assert float(mean[10, 10, 0]) == pytest.approx(0.0, abs=1e-4)


def test_what_cannot_be_is_refused() -> None:
    grid = FourierGrid(box=(12, 12, 12), whole=(12, 12, 12))
    with pytest.raises(UsageError, match="sphere of 6 mm does not fit into 12 voxels of 1 mm"):
        sphere_kernel(grid, (1.0, 1.0, 1.0), 6.0)
    with pytest.raises(UsageError, match="sphere of radius 0 mm"):
        sphere_kernel(grid, (1.0, 1.0, 1.0), 0.0)
