import pytest
import torch

from tests.susceptibility.scenes import places
from unweight.core.seeding import seeded_generator
from unweight.susceptibility.fourier_grid import smooth_complex

SHAPE, VOXEL = (45, 31, 25), (1.0, 1.5, 2.0)


def test_impulse_becomes_a_gaussian_as_wide_as_asked() -> None:
    impulse = torch.zeros(SHAPE, dtype=torch.complex128)
    impulse[22, 15, 12] = 1 + 2j
    smooth = smooth_complex(impulse, 4.0, VOXEL)
    torch.testing.assert_close(smooth.imag, 2 * smooth.real)
    for place in places(SHAPE, VOXEL):
        sd = float(((smooth.real * place**2).sum() / smooth.real.sum()).sqrt())
        # Cut at three deviations, a Gaussian is 1.3 % narrower; the cut falls between voxels.
        assert sd == pytest.approx(4.0, rel=0.03)
    x, y, z = places(SHAPE, VOXEL)
    near = x**2 + y**2 + z**2 < 10**2
    expected = torch.exp(-(x**2 + y**2 + z**2) / (2 * 4.0**2))
    torch.testing.assert_close((smooth.real / smooth.real.max())[near], expected[near])


def test_constant_stays_constant_away_from_the_faces() -> None:
    smooth = smooth_complex(torch.full(SHAPE, 2 - 1j, dtype=torch.complex128), 2.0, VOXEL)
    middle = smooth[6:-6, 4:-4, 3:-3]
    torch.testing.assert_close(middle, middle[:1, :1, :1].expand_as(middle))
    # Three deviations hold 99.73 % along each axis.
    assert float((middle / (2 - 1j) - 1).abs().max()) < 0.012


def test_phase_is_a_mean_weighted_by_magnitude() -> None:
    mask = torch.rand(SHAPE, generator=seeded_generator(1)) > 0.5
    values = torch.polar(mask.double() * 3, torch.full(SHAPE, 0.7, dtype=torch.float64))
    phase = torch.angle(smooth_complex(values, 3.0, VOXEL))
    torch.testing.assert_close(phase, torch.full_like(phase, 0.7))
    x, _, _ = places(SHAPE, VOXEL)
    ramp = torch.polar(torch.ones_like(x), 0.05 * x)
    found = torch.angle(smooth_complex(ramp, 3.0, VOXEL))[10:-10]
    torch.testing.assert_close(found, (0.05 * x)[10:-10])


def test_one_slice_is_smoothed_in_its_plane() -> None:
    values = torch.ones(40, 30, 1, dtype=torch.complex64)
    smooth = smooth_complex(values, 3.0, (1.0, 1.0, 5.0))
    assert smooth.dtype is torch.complex64
    assert float(smooth[20, 15, 0].real) == pytest.approx(1.0, abs=0.008)
