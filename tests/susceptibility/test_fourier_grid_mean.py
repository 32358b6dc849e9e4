import pytest
import torch

from unweight.core.seeding import seeded_generator
from unweight.susceptibility.fourier_grid import rfft_mean


@pytest.mark.parametrize("shape", [(6, 5, 8), (6, 5, 7), (4, 4, 1), (3, 5, 2)])
def test_mean_of_a_power_spectrum_is_the_energy(shape: tuple[int, int, int]) -> None:
    """Parseval: the mean of |F|² over all k is the sum of squares."""
    values = torch.randn(shape, generator=seeded_generator(1), dtype=torch.float64)
    power = torch.fft.rfftn(values).abs().square()
    assert rfft_mean(power, shape[2]) == pytest.approx(float(values.square().sum()))
