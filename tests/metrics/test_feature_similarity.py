import cmath
import math

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate

from tests.metrics.test_gradient_similarity import blurred, everywhere, noisy, tissue
from unweight.core.errors import UsageError
from unweight.metrics.feature_similarity import fsim, log_gabor, phase_congruency
from unweight.metrics.image_quality import ssim


def naive_filters(n_x: int, n_y: int) -> np.ndarray:
    """One frequency after the other; orientation 0 is along the second axis."""
    filters = np.zeros((4, 4, n_x, n_y))
    for i, j in np.ndindex(n_x, n_y):
        f_x, f_y = (k / n - (k >= (n + 1) // 2) for k, n in ((i, n_x), (j, n_y)))
        f = math.hypot(f_x, f_y)
        if f == 0:
            continue
        for o, n in np.ndindex(4, 4):
            apart = abs(cmath.phase(complex(f_y, -f_x) * cmath.exp(-1j * o * math.pi / 4)))
            radial = math.exp(-(math.log(f * 6 * 2**n) ** 2) / (2 * math.log(0.55) ** 2))
            angular = math.exp(-(apart**2) / (2 * (math.pi / 4 / 1.2) ** 2))
            filters[o, n, i, j] = radial * angular / (1 + (f / 0.45) ** 30)
    return filters


def naive_congruency(image: np.ndarray) -> np.ndarray:
    """Over a whole image of 0 to 255, with the noise as Kovesi sums it, one pair of scales at a time."""
    energy, amplitude = np.zeros(image.shape), np.zeros(image.shape)
    for filters in naive_filters(*image.shape):
        responses = [np.fft.ifft2(np.fft.fft2(image) * one) for one in filters]
        even, odd = sum(r.real for r in responses), sum(r.imag for r in responses)
        strength = np.sqrt(even**2 + odd**2) + 1e-4
        even, odd = even / strength, odd / strength
        local = sum(r.real * even + r.imag * odd - np.abs(r.real * odd - r.imag * even) for r in responses)
        squares = np.sort(np.abs(responses[0]).ravel() ** 2)
        power = -squares[(len(squares) - 1) // 2] / math.log(0.5) / (filters[0] ** 2).sum()
        kernels = [np.fft.ifft2(one).real * math.sqrt(image.size) for one in filters]
        own = sum((k**2).sum() for k in kernels)
        shared = sum((kernels[i] * kernels[j]).sum() for i in range(4) for j in range(i + 1, 4))
        tau = math.sqrt((2 * power * own + 4 * power * shared) / 2)
        threshold = (tau * math.sqrt(math.pi / 2) + 2 * math.sqrt((2 - math.pi / 2) * tau**2)) / 1.7
        energy += np.maximum(local - threshold, 0)
        amplitude += sum(np.abs(r) for r in responses)
    return energy / amplitude


def naive_fsim(x: np.ndarray, y: np.ndarray) -> float:
    scharr = np.array([[3, 0, -3], [10, 0, -10], [3, 0, -3]]) / 16
    (pa, ga), (pb, gb) = (
        (
            naive_congruency(one),
            np.hypot(*(correlate(one, kernel, mode="constant") for kernel in (scharr, scharr.T))),
        )
        for one in (x, y)
    )
    phases = (2 * pa * pb + 0.85) / (pa**2 + pb**2 + 0.85)
    gradients = (2 * ga * gb + 160) / (ga**2 + gb**2 + 160)
    weight = np.maximum(pa, pb)
    return float((phases * gradients * weight).sum() / weight.sum())


@pytest.mark.parametrize("size", [(32, 36), (31, 37)])
def test_against_the_definition(size: tuple[int, int]) -> None:
    truth = tissue(*size, 1)
    estimate = noisy(blurred(truth, 0.8), 0.04)
    found = log_gabor(truth.movedim(-1, 0))
    assert np.allclose(found.numpy(), naive_filters(*size), atol=1e-12)
    said = naive_fsim(255 * estimate[..., 0].numpy(), 255 * truth[..., 0].numpy())
    # The published amplitude has no 1e-4 added, which ours needs where the image is 0 all over.
    assert fsim(estimate, truth, everywhere(truth), 1.0) == pytest.approx(said, abs=1e-6)


def test_congruency_is_at_edges_whatever_their_contrast() -> None:
    """A step has all scales in phase at its border, and fewer the farther away."""
    step = torch.zeros(1, 64, 64, dtype=torch.float64)
    step[:, :, 16:48] = 1.0
    filters = log_gabor(step)
    inside = torch.ones_like(step, dtype=torch.bool)
    found = phase_congruency(step, inside, filters)
    assert found[0, :, [15, 16, 47, 48]].min() > 2 * found[0, :, 20:26].max()
    assert found.max() <= 1
    faint = phase_congruency(0.2 * step, inside, filters)
    assert torch.allclose(faint, found, atol=1e-3)
    turned = phase_congruency(step.mT, inside, filters)
    assert torch.allclose(turned, found.mT, atol=1e-9)


def test_noise_has_little_congruency() -> None:
    noise = noisy(torch.zeros(1, 128, 128, dtype=torch.float64), 0.1)
    inside = torch.ones_like(noise, dtype=torch.bool)
    found = phase_congruency(noise, inside, log_gabor(noise))
    edges = phase_congruency(tissue(128, 128, 1).movedim(-1, 0), inside, log_gabor(noise))
    assert found.mean() < 0.5 * edges.mean()


def test_zeros_around_the_head_do_not_hide_its_noise() -> None:
    """Noise on a tenth of the slice: over the whole slice its median response would be next to none."""
    noise = torch.zeros(1, 120, 120, dtype=torch.float64)
    noise[:, 40:80, 40:80] = noisy(noise[:, 40:80, 40:80], 0.1)
    inside = noise != 0
    filters = log_gabor(noise)
    of_mask = phase_congruency(noise, inside, filters)[inside].mean()
    of_slice = phase_congruency(noise, torch.ones_like(inside), filters)[inside].mean()
    assert of_mask < 0.6 * of_slice


def test_ordering() -> None:
    """The more, the worse; and of blur and noise with about one SSIM, the blur."""
    truth = tissue(size=6.0)
    inside = everywhere(truth)
    values = [fsim(blurred(truth, sd), truth, inside, 1.0) for sd in (0.5, 0.8, 1.2)]
    assert values == sorted(values, reverse=True)
    values = [fsim(noisy(truth, sd), truth, inside, 1.0) for sd in (0.01, 0.03, 0.1)]
    assert values == sorted(values, reverse=True)
    smooth, rough = blurred(truth, 1.2), noisy(truth, 0.02)
    assert ssim(smooth, truth, inside, 1.0) == pytest.approx(ssim(rough, truth, inside, 1.0), abs=0.02)
    assert fsim(smooth, truth, inside, 1.0) < fsim(rough, truth, inside, 1.0) - 0.04


def test_is_of_the_mask_and_symmetric(monkeypatch: pytest.MonkeyPatch) -> None:
    truth = tissue(40, 41, 3)
    estimate = noisy(truth, 0.1)
    inside = everywhere(truth)
    assert fsim(truth, truth, inside, 1.0) == pytest.approx(1.0, abs=1e-12)
    there = fsim(estimate, truth, inside, 1.0)
    assert fsim(truth, estimate, inside, 1.0) == pytest.approx(there, abs=1e-12)
    assert fsim(9 * estimate, 9 * truth, inside, 9.0) == pytest.approx(there, abs=1e-12)
    monkeypatch.setattr("unweight.metrics.compared_slices.VOXELS_AT_ONCE", 1)
    assert fsim(estimate, truth, inside, 1.0) == pytest.approx(there, abs=1e-12)
    inside[:20] = False
    part = fsim(estimate, truth, inside, 1.0)
    estimate[:20], truth[:20] = math.nan, math.nan
    assert fsim(estimate, truth, inside, 1.0) == pytest.approx(part, abs=1e-12)
    estimate[20::4, ::4] = math.nan
    assert fsim(estimate, truth, inside, 1.0) < part - 0.02
    assert math.isnan(fsim(estimate, truth, inside & False, 1.0))
    assert math.isnan(fsim(0 * inside.double(), 0 * inside.double(), everywhere(truth), 1.0))


def test_large_slices_are_made_coarser() -> None:
    coarse = tissue(192, 200, 1)
    fine = coarse.repeat_interleave(2, dim=0).repeat_interleave(2, dim=1)
    small, large = (fsim(0.8 * one, one, everywhere(one), 1.0) for one in (coarse, fine))
    assert large == pytest.approx(small, abs=1e-12)


def test_messages() -> None:
    truth = tissue(12, 12, 1)
    with pytest.raises(UsageError, match="a data range of inf"):
        fsim(truth, truth, everywhere(truth), math.inf)
