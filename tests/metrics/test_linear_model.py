import math

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from unweight.core.errors import UsageError
from unweight.metrics.linear_model import Coefficient, Design, Fit, ordinary_least_squares

# Anscombe, Am Stat 27 (1973) 17, the first of his four sets.
ANSCOMBE_X = np.array([10.0, 8, 13, 9, 11, 14, 6, 4, 12, 7, 5])
ANSCOMBE_Y = np.array([8.04, 6.95, 7.58, 8.81, 8.33, 9.96, 7.24, 4.26, 10.84, 4.82, 5.68])


def design(*columns: np.ndarray, names: tuple[str, ...] = ("intercept", "age", "sex")) -> Design:
    return Design(names=names[: len(columns)], columns=np.stack(columns, axis=1))


def line(x: np.ndarray, y: np.ndarray) -> Fit:
    return ordinary_least_squares(y, design(np.ones_like(x), x))


def test_anscombe() -> None:
    fit = line(ANSCOMBE_X, ANSCOMBE_Y)
    intercept, slope = fit.coefficients
    # As printed by any package for this set: 3.0001 ± 1.1247 (p 0.0257), 0.5001 ± 0.1179 (p 0.0022).
    assert (intercept.estimate, intercept.standard_error) == pytest.approx((3.0001, 1.1247), abs=5e-5)
    assert (slope.estimate, slope.standard_error) == pytest.approx((0.5001, 0.1179), abs=5e-5)
    assert (intercept.p, slope.p) == pytest.approx((0.02573, 0.00217), abs=5e-6)
    assert fit.residual_sd == pytest.approx(1.2366, abs=5e-5) and fit.degrees_of_freedom == 9
    # t of 9 degrees of freedom at 0.975 is 2.2622 in every table.
    assert (slope.lower, slope.upper) == pytest.approx((0.5001 - 0.2667, 0.5001 + 0.2667), abs=1e-4)


def test_a_mean_is_a_model_with_an_intercept_only() -> None:
    mean = ordinary_least_squares(ANSCOMBE_Y, design(np.ones(11))).coefficient("intercept")
    known = ttest_1samp(ANSCOMBE_Y, 7.0)
    assert mean.estimate == pytest.approx(ANSCOMBE_Y.mean())
    assert mean.standard_error == pytest.approx(ANSCOMBE_Y.std(ddof=1) / math.sqrt(11))
    assert 2 * mean.p_above(7.0) == pytest.approx(known.pvalue)
    assert mean.p_above(7.0) + mean.p_below(7.0) == pytest.approx(1)
    assert mean.interval(0.9) == pytest.approx(tuple(known.confidence_interval(0.9)))


def test_statsmodels_says_the_same() -> None:
    statsmodels = pytest.importorskip("statsmodels.api", reason="statsmodels is not installed")
    rng = np.random.default_rng(3)
    columns = rng.normal(size=(40, 4)) * (1, 30, 0.2, 1e3) + (1, 50, 0, 1e4)
    outcome = columns @ (3, -0.2, 4, 1e-3) + rng.normal(size=40)
    fit = ordinary_least_squares(outcome, Design(names=("a", "b", "c", "d"), columns=columns))
    known = statsmodels.OLS(outcome, columns).fit()
    np.testing.assert_allclose([c.estimate for c in fit.coefficients], known.params, rtol=1e-9)
    np.testing.assert_allclose([c.standard_error for c in fit.coefficients], known.bse, rtol=1e-9)
    np.testing.assert_allclose([c.p for c in fit.coefficients], known.pvalues, rtol=1e-7)
    np.testing.assert_allclose([(c.lower, c.upper) for c in fit.coefficients], known.conf_int(), rtol=1e-8)
    assert fit.residual_sd == pytest.approx(math.sqrt(known.mse_resid))


def test_intervals_cover() -> None:
    rng = np.random.default_rng(1)
    x, n = np.linspace(20.0, 80.0, 8), 1000
    shapes = design(np.ones(8), x)
    slopes = [
        ordinary_least_squares(5 - 0.3 * x + rng.normal(size=8), shapes).coefficient("age")
        for _ in range(n)
    ]
    covered = sum(slope.lower <= -0.3 <= slope.upper for slope in slopes) / n
    # Three standard errors of a share. With the normal distribution, 6 degrees of freedom give 0.902.
    assert covered == pytest.approx(0.95, abs=3 * math.sqrt(0.95 * 0.05 / n))


def test_nothing_left_to_explain() -> None:
    fit = ordinary_least_squares(np.zeros(5), design(np.ones(5), np.arange(5.0)))
    assert fit.residual_sd == 0
    assert [(c.estimate, c.standard_error, c.p, c.lower, c.upper) for c in fit.coefficients] == [
        (0, 0, 1, 0, 0)
    ] * 2
    certain = Coefficient(name="a", estimate=2.0, standard_error=0.0, degrees_of_freedom=3)
    assert (certain.p, certain.p_above(1.0), certain.p_below(1.0)) == (0, 0, 1)


def test_units_of_a_column_do_not_matter() -> None:
    slope = line(ANSCOMBE_X, ANSCOMBE_Y).coefficient("age")
    tiny = line(1e-9 * ANSCOMBE_X, ANSCOMBE_Y).coefficient("age")
    assert (1e-9 * tiny.estimate, tiny.p) == pytest.approx((slope.estimate, slope.p))


def test_too_few_subjects() -> None:
    with pytest.raises(UsageError, match=r"2 coefficients needs at least 3 subjects, found 2\. Add"):
        design(np.ones(2), np.arange(2.0))


def test_columns_that_cannot_be_told_apart() -> None:
    age = np.array([50.1, 30.7, 61.3, 44.0, 72.9])
    with pytest.raises(
        UsageError, match=r"column sex is not independent.* combination of intercept, age\. Leave"
    ):
        design(np.ones(5), age, 70.0 - 2 * age)
    with pytest.raises(UsageError, match="column sex is not independent: it is 0 throughout"):
        design(np.ones(5), age, np.zeros(5))
    with pytest.raises(UsageError, match="column intercept is not independent: it is 0 throughout"):
        design(np.zeros(5), age)
    # What rounding leaves of a constant that was centred.
    same = np.full(5, 50.1)
    with pytest.raises(UsageError, match="column sex is not independent"):
        design(np.ones(5), age, same - same.sum() / 5 + 7e-15)


def test_messages() -> None:
    ones, x = np.ones(4), np.arange(4.0)
    with pytest.raises(UsageError, match="2 columns needs as many different names, found a, a"):
        design(ones, x, names=("a", "a"))
    with pytest.raises(UsageError, match="column age: 1 of 4 values are not finite"):
        design(ones, np.array([1.0, math.nan, 2.0, 3.0]))
    with pytest.raises(UsageError, match="outcome has 3 subjects, but the design has 4"):
        ordinary_least_squares(np.ones(3), design(ones, x))
    with pytest.raises(UsageError, match="1 of 4 outcomes are not finite"):
        ordinary_least_squares(np.array([1.0, math.inf, 2.0, 3.0]), design(ones, x))
    with pytest.raises(UsageError, match="no column head; it has intercept, age"):
        line(x, x**2).coefficient("head")
    with pytest.raises(UsageError, match="between 0 and 1, found 95"):
        line(x, x**2).coefficient("age").interval(95)
