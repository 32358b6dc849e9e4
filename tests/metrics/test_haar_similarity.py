import math

import numpy as np
import pytest
from scipy.signal import convolve2d

from tests.metrics.test_gradient_similarity import blurred, everywhere, noisy, tissue
from unweight.core.errors import UsageError
from unweight.metrics.haar_similarity import haarpsi
from unweight.metrics.image_quality import ssim


def test_the_definition_below_on_ramps() -> None:
    """A slope of a per voxel is 2a per place; the responses to it are 2a and 8a, and none across."""
    a, b = 0.02, 0.05
    ramp = np.arange(64.0)[:, None] * np.ones(60)
    away_from_the_rim = np.zeros(ramp.shape, dtype=bool)
    away_from_the_rim[16:48, 16:44] = True
    square = (30 / 255) ** 2
    likeness = [(2 * s**2 * a * b + square) / (s**2 * (a**2 + b**2) + square) for s in (2, 8)]
    found = naive_haarpsi(255 * a * ramp, 255 * b * ramp, inside=away_from_the_rim)
    assert found == pytest.approx((sum(likeness) / 2) ** 2, abs=1e-9)


def naive_haarpsi(x: np.ndarray, y: np.ndarray, *, inside: np.ndarray | None = None) -> float:
    """Over one image of 0 to 255, as published, or over the coarse places of a mask."""
    c, alpha = 30.0, 4.2
    responses = []
    for image in (x, y):
        half = convolve2d(image, np.full((2, 2), 0.25))[1:, 1:][::2, ::2]
        found = np.zeros((2, 3, *half.shape))
        for scale in (1, 2, 3):
            wavelet = np.full((2**scale, 2**scale), 2.0**-scale)
            wavelet[: 2 ** (scale - 1)] *= -1
            found[0, scale - 1] = np.abs(convolve2d(half, wavelet, mode="same"))
            found[1, scale - 1] = np.abs(convolve2d(half, wavelet.T, mode="same"))
        responses.append(found)
    above = below = 0.0
    counted = np.ones(responses[0].shape[2:], dtype=bool) if inside is None else inside[::2, ::2]
    for axis in (0, 1):
        a, b = (one[axis] for one in responses)
        local = sum((2 * a[j] * b[j] + c**2) / (a[j] ** 2 + b[j] ** 2 + c**2) for j in (0, 1)) / 2
        weight = np.maximum(a[2], b[2])[counted]
        above += (weight / (1 + np.exp(-alpha * local[counted]))).sum()
        below += weight.sum()
    mean = above / below
    return float((np.log(mean / (1 - mean)) / alpha) ** 2)


def test_against_the_definition() -> None:
    truth = tissue(40, 46, 1)
    estimate = noisy(blurred(truth, 0.8), 0.04)
    said = naive_haarpsi(255 * estimate[..., 0].numpy(), 255 * truth[..., 0].numpy())
    assert haarpsi(estimate, truth, everywhere(truth), 1.0) == pytest.approx(said, abs=1e-12)


def test_punishes_blur_where_ssim_rewards_it() -> None:
    truth = tissue(size=6.0)
    inside = everywhere(truth)
    smooth, rough = blurred(truth, 1.0), noisy(truth, 0.025)
    assert ssim(smooth, truth, inside, 1.0) > ssim(rough, truth, inside, 1.0) + 0.04
    assert haarpsi(smooth, truth, inside, 1.0) < haarpsi(rough, truth, inside, 1.0) - 0.015
    assert haarpsi(blurred(truth, 1.5), truth, inside, 1.0) < haarpsi(smooth, truth, inside, 1.0) - 0.03


def test_is_of_the_mask_and_symmetric(monkeypatch: pytest.MonkeyPatch) -> None:
    truth = tissue(40, 41, 3)
    estimate = noisy(truth, 0.1)
    inside = everywhere(truth)
    assert haarpsi(truth, truth, inside, 1.0) == pytest.approx(1.0, abs=1e-9)
    there = haarpsi(estimate, truth, inside, 1.0)
    assert haarpsi(truth, estimate, inside, 1.0) == pytest.approx(there, abs=1e-12)
    assert haarpsi(9 * estimate, 9 * truth, inside, 9.0) == pytest.approx(there, abs=1e-12)
    monkeypatch.setattr("unweight.metrics.compared_slices.VOXELS_AT_ONCE", 1)
    assert haarpsi(estimate, truth, inside, 1.0) == pytest.approx(there, abs=1e-12)
    inside[:20] = False
    part = haarpsi(estimate, truth, inside, 1.0)
    estimate[:20], truth[:20] = math.nan, math.nan
    assert haarpsi(estimate, truth, inside, 1.0) == pytest.approx(part, abs=1e-12)
    estimate[20::4, ::4] = math.nan
    assert haarpsi(estimate, truth, inside, 1.0) < part - 0.05
    assert math.isnan(haarpsi(estimate, truth, inside & False, 1.0))
    assert math.isnan(haarpsi(0 * truth, 0 * truth, everywhere(truth), 1.0))


def test_messages() -> None:
    truth = tissue(12, 12, 1)
    with pytest.raises(UsageError, match="a data range of -2"):
        haarpsi(truth, truth, everywhere(truth), -2.0)
