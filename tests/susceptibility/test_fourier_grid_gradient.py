import pytest
import torch

from tests.susceptibility.scenes import places
from unweight.core.seeding import seeded_generator
from unweight.susceptibility.fourier_grid import differences, differences_back, laplacian_kernel

VOXEL = (1.0, 1.5, 2.0)


def test_slope_per_millimetre() -> None:
    x, y, z = places((6, 7, 8), VOXEL)
    parts = differences(2 * x - 3 * y + 5 * z, VOXEL)[:, :-1, :-1, :-1]
    for part, expected in zip(parts, (2.0, -3.0, 5.0), strict=True):
        torch.testing.assert_close(part, torch.full_like(part, expected))


@pytest.mark.parametrize("shape", [(6, 7, 8), (5, 4, 9), (6, 6, 1)])
def test_back_is_the_transpose_and_its_spectrum_is_known(shape: tuple[int, int, int]) -> None:
    values = torch.randn(shape, generator=seeded_generator(1), dtype=torch.float64)
    parts = torch.randn((3, *shape), generator=seeded_generator(2), dtype=torch.float64)
    there = (differences(values, VOXEL) * parts).sum()
    torch.testing.assert_close(there, (values * differences_back(parts, VOXEL)).sum())
    twice = differences_back(differences(values, VOXEL), VOXEL)
    kernel = laplacian_kernel(shape, VOXEL)
    found = torch.fft.irfftn(torch.fft.rfftn(values) * kernel, s=shape)
    # The kernel is single precision.
    torch.testing.assert_close(found, twice, atol=1e-5, rtol=1e-5)


def test_a_slow_wave_sees_the_laplacian() -> None:
    kernel = laplacian_kernel((64, 64, 64), VOXEL)
    for place, size in (((1, 0, 0), 1.0), ((0, 1, 0), 1.5), ((0, 0, 1), 2.0)):
        # The sine of the finite difference: (πk)²/3 = 0.08 % below the square.
        assert float(kernel[place]) == pytest.approx((2 * torch.pi / (64 * size)) ** 2, rel=1e-3)
    assert float(kernel[0, 0, 0]) == 0.0
