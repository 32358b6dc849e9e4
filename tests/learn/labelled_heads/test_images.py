import pytest
import torch

from unweight.learn.labelled_heads.images import GRID_MM, LARGEST, normalised, resampled


def test_the_scale_of_an_image_does_not_matter() -> None:
    image = torch.rand(20, 20, 20, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(normalised(1000 * image), normalised(image))
    assert float(normalised(image).max()) <= LARGEST
    assert not normalised(torch.zeros(3, 3, 3)).any()


@pytest.mark.parametrize(("shape", "sizes"), [((40, 30, 7), (1.0, 1.0, 5.0)), ((9, 8, 6), (4.0, 4.0, 4.0))])
def test_the_grid_has_two_millimetres(
    shape: tuple[int, int, int], sizes: tuple[float, float, float]
) -> None:
    coarse = resampled(torch.ones(shape), sizes, GRID_MM)
    wanted = tuple(round(n * size / 2) for n, size in zip(shape, sizes, strict=True))
    assert coarse.shape == wanted
    torch.testing.assert_close(coarse, torch.ones(wanted))
