import math

import pytest
import torch

from unweight.core.errors import UsageError
from unweight.core.seeding import seeded_generator
from unweight.metrics.image_quality import DATA_RANGE, psnr, ssim

ALL = torch.ones(24, 24, 1, dtype=torch.bool)


def constant(value: float) -> torch.Tensor:
    return torch.full((24, 24, 1), value)


def test_psnr_of_a_constant_error() -> None:
    """An error of a tenth of the range is 20 dB, wherever it lies and whatever its sign."""
    truth = constant(1.0)
    estimate = truth + 0.45 * torch.where(torch.arange(24)[:, None, None] % 2 == 0, 1.0, -1.0)
    assert psnr(estimate, truth, ALL, DATA_RANGE["T1"]) == pytest.approx(20.0, abs=1e-5)
    assert psnr(truth, truth, ALL, 1.0) == math.inf
    assert psnr(constant(9.0), constant(4.5), ALL, 4.5) == pytest.approx(0.0)  # not clipped at the range


def test_psnr_pools_the_squared_error_of_all_slices() -> None:
    truth = torch.ones(24, 24, 2)
    estimate = truth.clone()
    estimate[..., 0] += 0.1
    inside = torch.ones_like(truth, dtype=torch.bool)
    assert psnr(estimate, truth, inside, 1.0) == pytest.approx(10 * math.log10(1 / 0.005), abs=1e-4)


def test_psnr_is_of_the_mask_and_of_voxels_with_a_value() -> None:
    estimate, truth = constant(1.1), constant(1.0)
    estimate[:12] = 7.0
    inside = ALL.clone()
    inside[:12] = False
    assert psnr(estimate, truth, inside, 1.0) == pytest.approx(20.0, abs=1e-4)
    estimate[:20] = math.nan
    assert psnr(estimate, truth, inside, 1.0) == pytest.approx(20.0, abs=1e-4)
    assert math.isnan(psnr(torch.full_like(truth, math.nan), truth, inside, 1.0))


def test_ssim_of_constant_images() -> None:
    """In the middle it is (2ab + C1)/(a² + b² + C1); at the rim the images fill a share m of the window.

    There the means are am and bm, the variances a²m(1 − m) and b²m(1 − m), the covariance abm(1 − m).
    """
    a, b, reach = 0.8, 1.1, 2.0
    weight = torch.exp(-0.5 * (torch.arange(-5.0, 6.0, dtype=torch.float64) / 1.5) ** 2)
    weight = weight / weight.sum()
    along = torch.stack([weight[max(0, 5 - i) : 11 - max(0, i - 18)].sum() for i in range(24)])
    m = along[:, None] * along
    assert float(m[12, 12]) == pytest.approx(1.0)
    c1, c2 = (0.01 * reach) ** 2, (0.03 * reach) ** 2
    means = (2 * a * b * m**2 + c1) / ((a**2 + b**2) * m**2 + c1)
    spreads = (2 * a * b * m * (1 - m) + c2) / ((a**2 + b**2) * m * (1 - m) + c2)
    found = ssim(constant(a), constant(b), ALL, reach)
    assert found == pytest.approx(float((means * spreads).mean()), abs=1e-6)
    # A large image has next to no rim.
    wide = torch.ones(400, 400, 1)
    close = ssim(a * wide, b * wide, wide > 0, reach)
    assert close == pytest.approx((2 * a * b + c1) / (a**2 + b**2 + c1), rel=2e-3)


def test_ssim_against_the_definition_voxel_by_voxel() -> None:
    generator = seeded_generator(0, "ssim")
    estimate, truth = (torch.rand(16, 15, 2, generator=generator, dtype=torch.float64) for _ in range(2))
    inside = torch.rand(16, 15, 2, generator=generator) < 0.7
    place = torch.arange(-5.0, 6.0, dtype=torch.float64)
    window = torch.exp(-(place[:, None] ** 2 + place[None, :] ** 2) / (2 * 1.5**2))
    window = window / window.sum()
    c1, c2 = (0.01 * 1.5) ** 2, (0.03 * 1.5) ** 2
    values = []
    for i, j, k in inside.nonzero().tolist():
        a, b = (
            torch.nn.functional.pad((one * inside)[..., k], (5, 5, 5, 5))[i : i + 11, j : j + 11]
            for one in (estimate, truth)
        )
        ma, mb = (window * a).sum(), (window * b).sum()
        va, vb = (window * (a - ma) ** 2).sum(), (window * (b - mb) ** 2).sum()
        covariance = (window * (a - ma) * (b - mb)).sum()
        value = (2 * ma * mb + c1) * (2 * covariance + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))
        values.append(float(value))
    assert ssim(estimate, truth, inside, 1.5) == pytest.approx(sum(values) / len(values), abs=1e-12)


def test_a_hole_is_no_likeness() -> None:
    generator = seeded_generator(1, "ssim")
    truth = 1 + 0.1 * torch.rand(24, 24, 1, generator=generator)
    estimate = truth.clone()
    estimate[torch.rand(24, 24, 1, generator=generator) < 0.1] = math.nan
    assert ssim(truth, truth, ALL, 1.0) == pytest.approx(1.0)
    assert ssim(estimate, truth, ALL, 1.0) < 0.5
    assert math.isnan(ssim(truth, truth, torch.zeros_like(ALL), 1.0))


def test_messages() -> None:
    with pytest.raises(UsageError, match="a data range of 0"):
        psnr(constant(1.0), constant(1.0), ALL, 0.0)
