import pytest
import torch

from unweight.core.errors import UsageError
from unweight.core.seeding import seeded_generator
from unweight.synth.anatomy.labels import coarse_affine
from unweight.synth.scanner.kspace import crop_kspace


@pytest.mark.parametrize("shape", [(24, 20), (23, 17), (40, 9), (40, 30)])
def test_constant_stays_constant(shape) -> None:
    made = crop_kspace(torch.full((40, 30, 3), 1.7, dtype=torch.float64), shape)
    torch.testing.assert_close(made, torch.full((*shape, 3), 1.7 + 0j, dtype=torch.complex128))


@pytest.mark.parametrize(("n", "m"), [(40, 24), (41, 23), (40, 23), (41, 24)])
def test_band_limited_object_is_sampled_exactly(n, m) -> None:
    def wave(x):
        waves = (
            1.3 * torch.exp(2j * torch.pi * 3 * x / n),
            (0.5 - 1j) * torch.exp(-2j * torch.pi * 9 * x / n),
        )
        return waves[0] + waves[1] + 0.2

    fine = torch.arange(n, dtype=torch.float64)
    coarse = (torch.arange(m, dtype=torch.float64) + 0.5) * n / m - 0.5
    made = crop_kspace(wave(fine)[:, None, None].expand(n, 4, 2), (m, 4))
    torch.testing.assert_close(made, wave(coarse)[:, None, None].expand(m, 4, 2), atol=1e-12, rtol=1e-10)


def test_smooth_object_equals_the_mean_over_the_larger_voxels() -> None:
    x = torch.arange(64, dtype=torch.float64) - 30.2
    fine = torch.exp(-(x[:, None] ** 2 + x**2) / 200)[..., None]
    made = crop_kspace(fine, (32, 32)).real[..., 0]
    mean = torch.nn.functional.avg_pool2d(fine[None, ..., 0], 2)[0]
    # The mean over a voxel differs from its middle by a quarter of the curvature over 8.
    torch.testing.assert_close(made, mean, atol=3e-3, rtol=0)


def test_signs_cancel_as_in_the_scanner() -> None:
    """Cropping a magnitude would leave 1 where opposite phases cancel."""
    signal = torch.ones(32, 4, 1, dtype=torch.complex64)
    signal[::2] = -1
    assert float(crop_kspace(signal, (16, 4)).abs().max()) < 1e-5


def test_three_axes_and_affine() -> None:
    signal = torch.randn(12, 10, 8, 2, generator=seeded_generator(1), dtype=torch.complex64)
    assert crop_kspace(signal, (6, 5, 8)).shape == (6, 5, 8, 2)
    assert crop_kspace(signal, (12, 10, 8)) is signal
    affine = torch.diag(torch.tensor([1.0, 1.0, 2.0, 1.0]))
    made = coarse_affine(affine, (12 / 6, 10 / 5, 8 / 8))
    edge = torch.tensor([-0.5, -0.5, -0.5, 1.0])
    torch.testing.assert_close(made @ edge, affine @ edge)
    torch.testing.assert_close(made.diagonal(), torch.tensor([2.0, 2.0, 2.0, 1.0]))


@pytest.mark.parametrize("shape", [(33, 32), (32,), (0, 32)])
def test_finer_grids_are_refused(shape) -> None:
    with pytest.raises(UsageError, match="cannot be cropped to"):
        crop_kspace(torch.ones(32, 32, 2), shape)
