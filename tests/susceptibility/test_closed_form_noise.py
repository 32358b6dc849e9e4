import math

import pytest
import torch

from tests.susceptibility.scenes import places
from unweight.core.errors import UsageError
from unweight.susceptibility.closed_form import noise_of_susceptibility, tikhonov, tikhonov_kernel
from unweight.susceptibility.fourier_grid import padded_grid, rfft_mean
from unweight.susceptibility.geometry import FieldGeometry

TILTED = FieldGeometry(voxel_mm=(1.0, 1.0, 1.5), direction=(0.0, math.sin(0.4), math.cos(0.4)))
SHAPE = (24, 24, 16)
ALL = torch.ones(SHAPE, dtype=torch.bool)


def test_even_noise_has_the_power_of_the_kernel() -> None:
    """Parseval, on a periodic grid: the variance is the mean of the squared kernel."""
    variance = torch.full(SHAPE, 4e-6, dtype=torch.float64)
    found = noise_of_susceptibility(variance, ALL, TILTED, pad=1.0)
    kernel = tikhonov_kernel(padded_grid(SHAPE, 1.0), TILTED, 2e-3)
    expected = 2e-3 * math.sqrt(rfft_mean(kernel.square(), SHAPE[2]))
    torch.testing.assert_close(found, torch.full_like(found, expected), rtol=1e-4, atol=0)


def test_two_hundred_draws_of_noise_spread_so() -> None:
    """Noise three times as strong on one side: each voxel within the error of a sample, all within 2 %."""
    x, y, z = places(SHAPE, TILTED.voxel_mm)
    mask = (x / 12) ** 2 + (y / 11) ** 2 + (z / 11.5) ** 2 < 1
    sd = 0.002 * (1 + 2 * torch.sigmoid(x / 2))
    expected = noise_of_susceptibility(sd.square(), mask, TILTED, regularisation=5e-3, pad=1.5)
    generator = torch.Generator().manual_seed(1)
    draws = torch.stack(
        [
            tikhonov(
                sd * torch.randn(SHAPE, generator=generator, dtype=torch.float64),
                mask,
                TILTED,
                regularisation=5e-3,
                pad=1.5,
            )
            for _ in range(200)
        ]
    )
    ratio = (draws.std(0) / expected)[mask]
    assert float(ratio.mean()) == pytest.approx(1.0, abs=0.02)
    # The deviation of 200 draws is itself uncertain by 5 %.
    assert float(ratio.std()) == pytest.approx(0.05, abs=0.01)
    middle = mask & (x.abs() < 4) & (y.abs() < 4) & (z.abs() < 4)
    assert float((draws.std(0) / expected)[middle].mean()) == pytest.approx(1.0, abs=0.1)
    assert float(expected[~mask].abs().max()) == 0.0


def test_padding_hardly_matters() -> None:
    """The default is smaller than that of the inversion, for noise does not reach far."""
    variance = torch.full(SHAPE, 4e-6)
    small, large = (noise_of_susceptibility(variance, ALL, TILTED, pad=pad) for pad in (1.5, 2.0))
    assert small.dtype is torch.float32
    torch.testing.assert_close(small, large, rtol=0.05, atol=0)


def test_stronger_regularisation_is_quieter_and_none_is_refused() -> None:
    variance = torch.full(SHAPE, 4e-6)
    levels = [
        float(noise_of_susceptibility(variance, ALL, TILTED, regularisation=one).mean())
        for one in (1e-4, 1e-3, 1e-2, 1e-1)
    ]
    assert levels == sorted(levels, reverse=True)
    with pytest.raises(UsageError, match="a regularisation of 0"):
        noise_of_susceptibility(variance, ALL, TILTED, regularisation=0.0)
