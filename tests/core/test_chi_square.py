"""The quantiles of `scipy.stats`."""

import pytest
from scipy.stats import chi2

from unweight.core.chi_square import chi_square_above, chi_square_median


@pytest.mark.parametrize("degrees", [1, 2, 2.5, 4, 11, 100])
def test_values_equal_those_of_scipy_stats(degrees: float) -> None:
    assert chi_square_median(degrees) == chi2.median(degrees)
    for share in (1e-6, 1e-3, 0.05, 0.5):
        assert chi_square_above(share, degrees) == chi2.isf(share, degrees)
