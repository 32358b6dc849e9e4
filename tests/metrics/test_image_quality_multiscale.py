import math

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate

from tests.metrics.test_gradient_similarity import blurred, everywhere, noisy, tissue
from unweight.core.errors import UsageError
from unweight.metrics.image_quality import SCALE_WEIGHTS, ms_ssim, n_scales, ssim


def test_scales_of_an_image() -> None:
    assert [n_scales(n, 300) for n in (5, 20, 21, 41, 81, 160, 161, 300)] == [1, 1, 2, 3, 4, 4, 5, 5]
    assert sum(SCALE_WEIGHTS) == pytest.approx(1.0, abs=2e-4)  # as published


def test_one_scale_is_ssim() -> None:
    truth = tissue(20, 19, 3)
    estimate = noisy(blurred(truth, 0.6), 0.05)
    inside = truth > 0.3
    assert ms_ssim(estimate, truth, inside, 1.3) == pytest.approx(
        ssim(estimate, truth, inside, 1.3), abs=1e-12
    )


def test_of_constant_images() -> None:
    """Where the image fills a share m of the window, means are am and variances a²m(1 − m)."""
    a, b, reach = 0.6, 1.1, 2.0
    c1, c2 = (0.01 * reach) ** 2, (0.03 * reach) ** 2
    window = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    window /= window.sum()
    said = 1.0
    for side, weight in zip((352, 176, 88, 44, 22), SCALE_WEIGHTS, strict=True):
        along = np.convolve(np.ones(side), window, mode="same")
        m = along[:, None] * along
        local = (2 * a * b * m * (1 - m) + c2) / ((a**2 + b**2) * m * (1 - m) + c2)
        if side == 22:
            local = local * (2 * a * b * m**2 + c1) / ((a**2 + b**2) * m**2 + c1)
        said *= local.mean() ** (weight / sum(SCALE_WEIGHTS))
    wide = torch.ones(352, 352, 1, dtype=torch.float64)
    assert ms_ssim(a * wide, b * wide, everywhere(wide), reach) == pytest.approx(said, abs=1e-9)


def naive_ms_ssim(x: np.ndarray, y: np.ndarray, weights: tuple[float, ...]) -> float:
    place = np.arange(-5, 6)
    window = np.exp(-(place[:, None] ** 2 + place**2) / (2 * 1.5**2))
    window /= window.sum()
    value = 1.0
    for scale, weight in enumerate(weights):
        ma, mb, saa, sbb, sab = (
            correlate(one, window, mode="constant") for one in (x, y, x * x, y * y, x * y)
        )
        local = (2 * (sab - ma * mb) + 0.03**2) / (saa - ma**2 + sbb - mb**2 + 0.03**2)
        if scale == len(weights) - 1:
            local = local * (2 * ma * mb + 0.01**2) / (ma**2 + mb**2 + 0.01**2)
        value *= local.mean() ** (weight / sum(weights))
        x, y = (one[: len(one) // 2 * 2, : one.shape[1] // 2 * 2] for one in (x, y))
        x, y = ((one[::2, ::2] + one[1::2, ::2] + one[::2, 1::2] + one[1::2, 1::2]) / 4 for one in (x, y))
    return float(value)


def test_against_the_definition() -> None:
    truth = tissue(48, 44, 1)
    estimate = noisy(blurred(truth, 0.8), 0.04)
    said = naive_ms_ssim(estimate[..., 0].numpy(), truth[..., 0].numpy(), SCALE_WEIGHTS[:3])
    assert ms_ssim(estimate, truth, everywhere(truth), 1.0) == pytest.approx(said, abs=1e-12)


def test_fine_noise_weighs_less_than_in_ssim() -> None:
    """White noise fades with scale, which is why there are scales; blur stays longer."""
    truth = tissue(168, 162, 1)
    inside = everywhere(truth)
    rough = noisy(truth, 0.04)
    assert ms_ssim(rough, truth, inside, 1.0) > ssim(rough, truth, inside, 1.0) + 0.05
    values = [ms_ssim(blurred(truth, sd), truth, inside, 1.0) for sd in (0.5, 1.0, 2.0)]
    assert values == sorted(values, reverse=True)


def test_is_of_the_mask_and_symmetric() -> None:
    truth = tissue(45, 51, 2)
    estimate = noisy(truth, 0.1)
    inside = everywhere(truth)
    assert ms_ssim(truth, truth, inside, 1.0) == pytest.approx(1.0, abs=1e-12)
    there = ms_ssim(estimate, truth, inside, 1.0)
    assert ms_ssim(truth, estimate, inside, 1.0) == pytest.approx(there, abs=1e-12)
    assert ms_ssim(9 * estimate, 9 * truth, inside, 9.0) == pytest.approx(there, abs=1e-12)
    inside[:20] = False
    part = ms_ssim(estimate, truth, inside, 1.0)
    estimate[:20] = math.nan
    assert ms_ssim(estimate, truth, inside, 1.0) == pytest.approx(part, abs=1e-12)
    estimate[20::4, ::4] = math.nan
    assert ms_ssim(estimate, truth, inside, 1.0) < part - 0.03
    assert math.isnan(ms_ssim(estimate, truth, inside & False, 1.0))


def test_opposed_images_are_0() -> None:
    truth = noisy(torch.zeros(48, 48, 1), 0.3)
    assert ms_ssim(-truth, truth, everywhere(truth), 1.0) == 0


def test_messages() -> None:
    truth = tissue(12, 12, 1)
    with pytest.raises(UsageError, match="a data range of 0"):
        ms_ssim(truth, truth, everywhere(truth), 0.0)
