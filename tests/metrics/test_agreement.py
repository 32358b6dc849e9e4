import math

import numpy as np
import pytest
from scipy.stats import ttest_rel

from unweight.core.errors import UsageError
from unweight.metrics.agreement import (
    PairedVolumes,
    agreement,
    calibration_slope,
    concordance,
    equivalence,
    relative_differences,
)

# Peak expiratory flow [l/min] by two meters, first readings: Bland & Altman, Lancet 327 (1986) 307.
WRIGHT = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
MINI = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]


def pairs(true: list[float], synthetic: list[float]) -> PairedVolumes:
    return PairedVolumes(
        true=np.array(true, dtype=np.float64), synthetic=np.array(synthetic, dtype=np.float64)
    )


def drawn(n: int, *, noise: float = 0.02, seed: int = 1) -> PairedVolumes:
    """Draw volumes with 10 % spread, measured twice with independent errors."""
    rng = np.random.default_rng(seed)
    volumes = 4000 * (1 + 0.1 * rng.normal(size=n))
    return PairedVolumes(
        true=volumes * (1 + noise * rng.normal(size=n)),
        synthetic=volumes * (1 + noise * rng.normal(size=n)),
    )


def test_concordance_by_hand() -> None:
    # Means 3 and 3.4, variances 2 and 1.84, covariance 1.8: 3.6/(2 + 1.84 + 0.16).
    found = concordance(pairs([1, 2, 3, 4, 5], [2, 2, 3, 5, 5]))
    assert found.estimate == pytest.approx(0.9)
    # (1 − r²)C² = 0.44/3.68·0.92 = 0.11, 1 − ρc² = 0.19, w = 0.08, n − 2 = 3.
    variance = (0.11 / 0.19 + (2 * 0.81 * 0.1 * 0.08 - 0.81 * 0.0064 / 2) / 0.19**2) / 3
    reach = 1.959964 * math.sqrt(variance)
    assert math.atanh(found.lower) == pytest.approx(math.atanh(0.9) - reach, abs=1e-6)
    assert math.atanh(found.upper) == pytest.approx(math.atanh(0.9) + reach, abs=1e-5)


def test_concordance_interval_is_the_published_one() -> None:
    volumes = pairs(WRIGHT, MINI)
    x, y = volumes.true, volumes.synthetic
    found, n, r = concordance(volumes), len(x), np.corrcoef(x, y)[0, 1]
    rho, u = found.estimate, (x.mean() - y.mean()) / math.sqrt(x.std() * y.std())
    variance = (
        (1 - r**2) * rho**2 / ((1 - rho**2) * r**2)
        + 2 * rho**3 * (1 - rho) * u**2 / (r * (1 - rho**2) ** 2)
        - rho**4 * u**4 / (2 * r**2 * (1 - rho**2) ** 2)
    ) / (n - 2)
    reach = 1.959964 * math.sqrt(variance)
    assert found.lower == pytest.approx(math.tanh(math.atanh(rho) - reach), abs=1e-6)
    assert found.upper == pytest.approx(math.tanh(math.atanh(rho) + reach), abs=1e-6)


def test_concordance_interval_covers() -> None:
    rng, n = np.random.default_rng(5), 1000
    # Unit variances, correlation 0.9, means 0.3 apart: 1.8/(2 + 0.09).
    truth, inside = 1.8 / 2.09, 0
    for _ in range(n):
        x = rng.normal(size=60)
        y = 0.3 + 0.9 * x + math.sqrt(1 - 0.81) * rng.normal(size=60)
        found = concordance(PairedVolumes(true=x + 20, synthetic=y + 20))
        inside += found.lower <= truth <= found.upper
    # Three standard errors of a share, and 0.01 because the variance holds for many subjects.
    assert inside / n == pytest.approx(0.95, abs=3 * math.sqrt(0.95 * 0.05 / n) + 0.01)


def test_concordance_at_its_ends() -> None:
    same = concordance(pairs([1, 2, 3, 4], [1, 2, 3, 4]))
    assert (same.estimate, same.lower, same.upper) == pytest.approx((1, 1, 1))
    assert concordance(pairs([1, 2, 3, 4], [4, 3, 2, 1])).estimate == pytest.approx(-1)
    # A scale of 2: r is 1, but the pairs are on another line. 2·2·1.25/(1.25 + 5 + 6.25).
    assert concordance(pairs([1, 2, 3, 4], [2, 4, 6, 8])).estimate == pytest.approx(0.4)
    constant = concordance(pairs([1, 2, 3, 4], [2, 2, 2, 2]))
    assert constant.estimate == 0 and math.isnan(constant.lower) and math.isnan(constant.upper)


def test_limits_of_bland_and_altman() -> None:
    # Wright less mini meter: mean −2.1, SD 38.8, in the paper.
    found = agreement(pairs(MINI, WRIGHT)).difference
    assert found.bias == pytest.approx(-2.1, abs=0.05)
    assert (found.upper - found.bias) / 1.96 == pytest.approx(38.8, abs=0.05)
    assert found.upper + found.lower == pytest.approx(2 * found.bias)


def test_relative_limits_are_in_percent_of_the_mean_of_both() -> None:
    found = agreement(pairs([100, 200, 300], [110, 190, 300]))
    differences = np.array([1000 / 105, -1000 / 195, 0])
    assert found.relative.bias == pytest.approx(differences.mean())
    assert found.relative.upper == pytest.approx(differences.mean() + 1.959964 * differences.std(ddof=1))
    assert found.n == 3


def test_equivalence_is_two_paired_tests() -> None:
    volumes = drawn(30, noise=0.05)
    found = equivalence(volumes, margin=4.0)
    differences = relative_differences(volumes)
    low = ttest_rel(differences, np.full(30, -4.0), alternative="greater").pvalue
    high = ttest_rel(differences, np.full(30, 4.0), alternative="less").pvalue
    assert (found.p_lower, found.p_upper) == pytest.approx((low, high))
    assert found.margin == 4.0 and found.equivalent == (max(low, high) < 0.05)


def test_equivalence_needs_a_small_difference_and_enough_subjects() -> None:
    many = drawn(100)
    assert equivalence(many).equivalent
    larger = PairedVolumes(true=many.true, synthetic=1.06 * many.synthetic)
    assert (
        not equivalence(larger).equivalent
        and equivalence(larger).p_lower < 1e-6 < equivalence(larger).p_upper
    )
    few = drawn(3, noise=0.05)
    assert abs(equivalence(few).difference.estimate) < 5 and not equivalence(few).equivalent


def test_equivalence_errs_as_often_as_it_says() -> None:
    # Truly 5 % apart: found equivalent in 5 %, by three standard errors of a share.
    rng, n = np.random.default_rng(8), 1000
    wrong = 0
    for _ in range(n):
        difference = 0.05 + 0.03 * rng.normal(size=20)
        true = np.linspace(3000.0, 5000.0, 20)
        # d = 2(s − t)/(s + t), solved for s.
        volumes = PairedVolumes(true=true, synthetic=true * (2 + difference) / (2 - difference))
        wrong += equivalence(volumes).equivalent
    assert wrong / n == pytest.approx(0.05, abs=3 * math.sqrt(0.95 * 0.05 / n))


def test_regression_to_the_mean_is_seen() -> None:
    true = drawn(200, noise=0.0).true
    halved = PairedVolumes(true=true, synthetic=true.mean() + 0.5 * (true - true.mean()))
    assert calibration_slope(halved).estimate == pytest.approx(0.5)
    # The mean alone does not tell.
    assert equivalence(halved).equivalent


def test_calibration_slope_of_a_perfect_method_with_a_noisy_segmenter() -> None:
    # Spread 10 %, error 2 % of each: 1/(1 + 0.04), within 3 standard errors.
    slope = calibration_slope(drawn(4000))
    assert slope.estimate == pytest.approx(1 / 1.04, abs=3 * slope.standard_error)
    assert slope.upper < 1


def test_messages() -> None:
    with pytest.raises(
        UsageError, match=r"4 subjects have a true volume, but 3 a synthetic one\. Give both"
    ):
        pairs([1, 2, 3, 4], [1, 2, 3])
    with pytest.raises(UsageError, match="3 subjects or more are needed, found 2"):
        pairs([1, 2], [1, 2])
    with pytest.raises(UsageError, match=r"2 of 4 synthetic volumes are not positive numbers\. Leave out"):
        pairs([1, 2, 3, 4], [1, 0, math.nan, 4])
    with pytest.raises(UsageError, match="true volumes are the same in all subjects"):
        pairs([2, 2, 2], [1, 2, 3])
    with pytest.raises(UsageError, match="positive percentage, found -5"):
        equivalence(pairs([1, 2, 3], [1, 2, 3]), margin=-5.0)
