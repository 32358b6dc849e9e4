import math

import pytest
import torch
from scipy.ndimage import gaussian_laplace

from tests.metrics.test_gradient_similarity import blurred, everywhere, noisy, tissue
from unweight.core.errors import UsageError
from unweight.metrics.sharpness import hfen, sharpness, sharpness_ratio


def ramp(a: float, b: float, c: float) -> torch.Tensor:
    i, j, k = torch.meshgrid(*(torch.arange(float(n)) for n in (8, 9, 10)), indexing="ij")
    return a * i + b * j + c * k


def test_sharpness_of_a_ramp() -> None:
    image = ramp(1.0, 2.0, -2.0)
    assert sharpness(image, everywhere(image)) == pytest.approx(3.0, abs=1e-6)
    assert sharpness_ratio(ramp(0.5, 1.0, 1.0), image, everywhere(image)) == pytest.approx(0.5, abs=1e-6)


def test_sharpness_needs_all_six_neighbours() -> None:
    """A cross of seven voxels has one voxel with all; the rim of the mask does not count."""
    image = ramp(1.0, 0.0, 0.0)
    inside = torch.zeros_like(everywhere(image))
    inside[3:6, 4, 5] = inside[4, 3:6, 5] = inside[4, 4, 4:7] = True
    outside = image.clone()
    outside[~inside] = 1e6
    assert sharpness(outside, inside) == pytest.approx(1.0)
    for missing in inside.nonzero().tolist():
        fewer = inside.clone()
        fewer[tuple(missing)] = False
        assert math.isnan(sharpness(image, fewer))
        hole = image.clone()
        hole[tuple(missing)] = math.nan
        assert math.isnan(sharpness(hole, inside))
        assert math.isnan(sharpness_ratio(hole, image, inside))
        assert math.isnan(sharpness_ratio(image, hole, inside))
    assert math.isnan(sharpness(image[:2], inside[:2] | True))


def test_blur_lowers_the_ratio_and_noise_raises_it() -> None:
    truth = tissue(40, 40, 6)
    inside = everywhere(truth)
    assert sharpness_ratio(truth, truth, inside) == 1
    assert sharpness_ratio(blurred(truth, 1.0), truth, inside) < 0.9
    assert sharpness_ratio(noisy(truth, 0.1), truth, inside) > 1.02


def test_hfen_against_scipy() -> None:
    truth = tissue(30, 33, 2)
    estimate = noisy(blurred(truth, 0.6), 0.05)
    inside = truth > 0.3
    error = detail = 0.0
    for k in range(2):
        wrong, true = (
            # 4.7 standard deviations are 7 voxels to either side.
            gaussian_laplace((one * inside)[..., k].numpy(), 1.5, mode="constant", truncate=4.7)
            for one in (estimate - truth, truth)
        )
        where = inside[..., k].numpy()
        error += float((wrong[where] ** 2).sum())
        detail += float((true[where] ** 2).sum())
    assert hfen(estimate, truth, inside) == pytest.approx(math.sqrt(error / detail), rel=1e-9)


def test_hfen_of_a_wave() -> None:
    """LoG multiplies a wave by −k²·exp(−σ²k²/2); the waves here fade, so that they have no rim."""
    place = torch.arange(300, dtype=torch.float64) - 149.5
    fading = torch.exp(-0.5 * (place / 30) ** 2)
    slow, fast = (2 * math.pi / length for length in (25, 10))
    one, other = (((k * place).sin() * fading)[:, None, None] * fading[:, None] for k in (slow, fast))
    gain = [k**2 * math.exp(-((1.5 * k) ** 2) / 2) for k in (slow, fast)]
    found = hfen(one + 0.1 * other, one, everywhere(one))
    # A wave that fades over 30 voxels is a band of wavelengths: hence the tolerance.
    assert found == pytest.approx(0.1 * gain[1] / gain[0], rel=0.03)
    assert hfen(1.2 * one, one, everywhere(one)) == pytest.approx(0.2, abs=1e-12)


def test_hfen_of_masks_and_holes() -> None:
    truth = tissue(30, 33, 2)
    inside = everywhere(truth)
    assert hfen(truth, truth, inside) == 0
    assert hfen(0 * truth, truth, inside) == pytest.approx(1.0)
    inside[:10] = False
    estimate = noisy(truth, 0.02)
    part = hfen(estimate, truth, inside)
    estimate[:10], truth[:10] = math.nan, math.nan
    assert hfen(estimate, truth, inside) == pytest.approx(part, abs=1e-12)
    estimate[20, 20] = math.nan
    assert hfen(estimate, truth, inside) > 1.3 * part
    assert math.isnan(hfen(estimate, truth, inside & False))


def test_messages() -> None:
    flat = torch.zeros(8, 8, 8)
    with pytest.raises(UsageError, match="the truth is the same everywhere: it has no edge"):
        sharpness_ratio(ramp(1.0, 0.0, 0.0)[:8, :8, :8], flat, everywhere(flat))
    with pytest.raises(UsageError, match="the truth is 0 everywhere: it has no detail"):
        hfen(flat + 1, flat, everywhere(flat))
