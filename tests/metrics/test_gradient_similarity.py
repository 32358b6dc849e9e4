import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from scipy.signal import convolve2d

from unweight.core.errors import UsageError
from unweight.core.seeding import seeded_generator
from unweight.metrics.compared_slices import coarsened, compared_slices
from unweight.metrics.gradient_similarity import gmsd
from unweight.metrics.image_quality import ssim


def tissue(n_x: int = 96, n_y: int = 90, n_slices: int = 2, *, size: float = 3.0) -> torch.Tensor:
    """Plateaus of three values with sharp borders, as of CSF, grey and white matter in a T1w image."""
    noise = torch.randn(n_x, n_y, n_slices, generator=seeded_generator(3, "tissue")).numpy()
    smooth = torch.from_numpy(gaussian_filter(noise, (size, size, 0.0)))
    smooth = smooth / smooth.std()
    return torch.where(smooth > 0.3, 0.8, torch.where(smooth > -0.9, 0.55, 0.15)).double()


def blurred(image: torch.Tensor, sd: float) -> torch.Tensor:
    return torch.from_numpy(gaussian_filter(image.numpy(), (sd, sd, 0.0)))


def noisy(image: torch.Tensor, sd: float) -> torch.Tensor:
    return image + sd * torch.randn(image.shape, generator=seeded_generator(4, "noise"), dtype=image.dtype)


def everywhere(image: torch.Tensor) -> torch.Tensor:
    return torch.ones_like(image, dtype=torch.bool)


def test_gmsd_of_ramps() -> None:
    """A slope of a per voxel is a gradient of 4a on the coarser grid; one of two slices has slope b."""
    a, b = 0.02, 0.05
    ramp = torch.arange(300.0, dtype=torch.float64)[:, None, None].expand(300, 300, 2)
    truth = a * ramp
    estimate = torch.stack([a * ramp[..., 0], b * ramp[..., 1]], dim=-1)
    c = 170 / 255**2
    likeness = (2 * 16 * a * b + c) / (16 * (a**2 + b**2) + c)
    # The rim is another edge: one place of 150 at each side.
    found = gmsd(estimate, truth, everywhere(truth), 1.0)
    assert found == pytest.approx((1 - likeness) / 2, rel=2e-3)
    # The same likeness everywhere has next to no deviation, though the images differ.
    assert gmsd(b * ramp, truth, everywhere(truth), 1.0) < 0.02 * (1 - likeness)


def naive_gmsd(x: np.ndarray, y: np.ndarray) -> float:
    """Over the whole of one image of 0 to 255, as published."""
    prewitt = np.array([[1, 0, -1]] * 3) / 3
    magnitudes = []
    for image in (x, y):
        # Row i of the 2 × 2 mean is over rows i and i + 1.
        half = convolve2d(image, np.full((2, 2), 0.25))[1:, 1:][::2, ::2]
        edges = (convolve2d(half, kernel, mode="same") for kernel in (prewitt, prewitt.T))
        magnitudes.append(np.sqrt(sum(edge**2 for edge in edges)))
    gx, gy = magnitudes
    return float(np.std((2 * gx * gy + 170) / (gx**2 + gy**2 + 170)))


@pytest.mark.parametrize("size", [(24, 30), (23, 29)])
def test_gmsd_against_the_definition(size: tuple[int, int]) -> None:
    truth = tissue(*size, 1)
    estimate = noisy(blurred(truth, 0.7), 0.03)
    said = naive_gmsd(255 * estimate[..., 0].numpy(), 255 * truth[..., 0].numpy())
    if size[0] % 2:
        # There a place at the far rim counts by its share of the mask, and not as much as any other.
        assert gmsd(estimate, truth, everywhere(truth), 1.0) == pytest.approx(said, rel=0.05)
    else:
        assert gmsd(estimate, truth, everywhere(truth), 1.0) == pytest.approx(said, abs=1e-12)


def test_gmsd_punishes_blur_where_ssim_rewards_it() -> None:
    truth = tissue(size=6.0)
    inside = everywhere(truth)
    smooth, rough = blurred(truth, 1.0), noisy(truth, 0.025)
    assert ssim(smooth, truth, inside, 1.0) > ssim(rough, truth, inside, 1.0) + 0.04
    assert gmsd(smooth, truth, inside, 1.0) > 1.5 * gmsd(rough, truth, inside, 1.0)
    assert gmsd(blurred(truth, 1.5), truth, inside, 1.0) > 1.4 * gmsd(smooth, truth, inside, 1.0)


def test_gmsd_is_of_the_mask_and_the_data_range() -> None:
    truth = tissue()
    estimate = blurred(truth, 0.7)
    inside = everywhere(truth)
    whole = gmsd(estimate, truth, inside, 1.0)
    assert gmsd(truth, truth, inside, 1.0) == 0
    assert gmsd(truth, estimate, inside, 1.0) == pytest.approx(whole, abs=1e-12)
    assert gmsd(700 * estimate, 700 * truth, inside, 700.0) == pytest.approx(whole, abs=1e-12)
    inside[:40] = False
    part = gmsd(estimate, truth, inside, 1.0)
    estimate[:40], truth[:40] = math.nan, 50.0
    assert gmsd(estimate, truth, inside, 1.0) == pytest.approx(part, abs=1e-12)
    truth[60, 60, 0] = math.nan
    assert math.isfinite(gmsd(estimate, truth, inside, 1.0))
    assert math.isnan(gmsd(estimate, truth, inside & False, 1.0))


def test_a_hole_is_an_error() -> None:
    truth = tissue()
    estimate = truth.clone()
    estimate[::9, ::9] = math.nan
    assert gmsd(estimate, truth, everywhere(truth), 1.0) > 0.1


def test_slices_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    truth = tissue(20, 22, 5)
    inside = everywhere(truth)
    inside[..., 1] = False
    assert [len(pair.truth) for pair in compared_slices(truth, truth, inside, 1.0)] == [4]
    at_once = gmsd(blurred(truth, 1.0), truth, inside, 1.0)
    monkeypatch.setattr("unweight.metrics.compared_slices.VOXELS_AT_ONCE", 3 * 20 * 22)
    pairs = list(compared_slices(truth, truth, inside, 2.0))
    assert [len(pair.truth) for pair in pairs] == [3, 1]
    assert torch.equal(torch.cat([pair.truth for pair in pairs])[1], truth[..., 2] / 2)
    assert gmsd(blurred(truth, 1.0), truth, inside, 1.0) == pytest.approx(at_once, abs=1e-12)


def test_coarsened_keeps_the_sum() -> None:
    image = torch.rand(2, 7, 5, generator=seeded_generator(5))
    for factor in (1, 2, 3):
        assert float(coarsened(image, factor).sum()) * factor**2 == pytest.approx(
            float(image.sum()), rel=1e-5
        )
    assert coarsened(image, 3).shape == (2, 3, 2)


@pytest.mark.parametrize("data_range", [0.0, -1.0, math.inf, math.nan])
def test_messages(data_range: float) -> None:
    truth = tissue(12, 12, 1)
    with pytest.raises(UsageError, match=f"a data range of {data_range:g}. Give the largest value"):
        gmsd(truth, truth, everywhere(truth), data_range)
