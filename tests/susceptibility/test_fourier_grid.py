import pytest
import torch
from scipy import ndimage

from unweight.core.errors import UsageError
from unweight.core.seeding import seeded_generator
from unweight.susceptibility.fourier_grid import FourierGrid, grid_around, padded_grid


def test_product_of_spectra_is_the_sum_over_neighbours() -> None:
    values = torch.randn(9, 7, 6, generator=seeded_generator(1), dtype=torch.float64)
    parts = torch.randn(3, 3, 3, generator=seeded_generator(2), dtype=torch.float64)
    grid = grid_around(values.shape, (1, 1, 1))
    around = torch.zeros(grid.whole, dtype=torch.float64)
    around[:3, :3, :3] = parts
    around = around.roll((-1, -1, -1), (0, 1, 2))
    spectrum = torch.fft.rfftn(around)
    found = grid.values(grid.spectrum(values) * spectrum)
    expected = ndimage.convolve(values.numpy(), parts.numpy(), mode="constant")
    torch.testing.assert_close(found, torch.from_numpy(expected))


@pytest.mark.parametrize("whole", [(8, 8, 8), (9, 10, 11)])
def test_box_survives_and_what_is_beyond_is_nothing(whole: tuple[int, int, int]) -> None:
    values = torch.randn(8, 6, 7, generator=seeded_generator(1), dtype=torch.float64)
    grid = FourierGrid(box=(8, 6, 7), whole=whole)
    torch.testing.assert_close(grid.values(grid.spectrum(values)), values)
    everywhere = grid.everywhere(grid.spectrum(values))
    assert everywhere.shape == whole
    assert float(everywhere.square().sum()) == pytest.approx(float(values.square().sum()))
    assert (
        grid.convolve(values.float(), torch.ones(whole[0], whole[1], whole[2] // 2 + 1)).dtype
        is torch.float32
    )


def test_margin_is_at_least_what_is_asked() -> None:
    grid = grid_around((30, 41, 1), (4, 6, 9))
    assert grid.box == (30, 41, 1)
    assert all(whole >= wanted for whole, wanted in zip(grid.whole, (34, 47, 1), strict=True))
    # 34 = 2·17 and 47 are slow; the next sizes made of 2, 3 and 5 are 36 and 48.
    assert grid.whole == (36, 48, 1)
    assert padded_grid((30, 20, 1), 2.0).whole == (60, 40, 1)
    assert padded_grid((30, 20, 16), 1.0).whole == (30, 20, 16)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UsageError, match=r"pad must be at least 1, not 0\.5"):
        padded_grid((8, 8, 8), 0.5)
    with pytest.raises(UsageError, match="does not fit into a grid"):
        FourierGrid(box=(8, 8, 8), whole=(8, 7, 8))
