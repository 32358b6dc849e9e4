import math

import pytest
import torch

from unweight.core.errors import UsageError
from unweight.core.seeding import seeded_generator
from unweight.metrics.contrast import contrast_to_noise


def halves(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    first = torch.arange(2 * n) < n
    return first, ~first


def test_of_four_voxels() -> None:
    """Means 2 and 10, variances 2 and 8: 8/√5."""
    image = torch.tensor([1.0, 3.0, 8.0, 12.0])
    first, second = halves(2)
    assert contrast_to_noise(image, first, second) == pytest.approx(8 / math.sqrt(5))
    assert contrast_to_noise(image, second, first) == pytest.approx(8 / math.sqrt(5))
    assert contrast_to_noise(700 * image + 4, first, second) == pytest.approx(8 / math.sqrt(5), rel=1e-5)


def test_of_two_normal_distributions() -> None:
    n = 200_000
    first, second = halves(n)
    noise = torch.randn(2 * n, generator=seeded_generator(6), dtype=torch.float64)
    image = torch.where(first, 0.8 + 0.03 * noise, 0.6 + 0.05 * noise)
    said = 0.2 / math.sqrt((0.03**2 + 0.05**2) / 2)
    assert contrast_to_noise(image, first, second) == pytest.approx(said, rel=0.01)  # 4 SD of the estimate


def test_what_has_no_value() -> None:
    image = torch.tensor([1.0, 3.0, math.nan, 8.0, 12.0, math.inf])
    first, second = halves(3)
    assert contrast_to_noise(image, first, second) == pytest.approx(8 / math.sqrt(5))
    assert math.isnan(contrast_to_noise(image[1:], first[1:], second[1:]))
    assert math.isnan(contrast_to_noise(image, first & False, second))


def test_without_noise() -> None:
    first, second = halves(3)
    assert contrast_to_noise(first.float(), first, second) == math.inf
    assert math.isnan(contrast_to_noise(torch.ones(6), first, second))


def test_messages() -> None:
    first, second = halves(3)
    second[0] = True
    with pytest.raises(UsageError, match="1 voxels are in both tissues"):
        contrast_to_noise(torch.ones(6), first, second)
