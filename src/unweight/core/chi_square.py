"""Quantiles of the chi-square distribution, from `scipy.special`.

`scipy.stats` gives the same numbers to the bit, but its import takes much of the time in which a command
starts.
"""

from scipy.special import chdtri, gammaincinv


def chi_square_above(share: float, degrees: float) -> float:
    """Return the value that a chi-square exceeds with a probability.

    Args:
        share: The probability.
        degrees: Degrees of freedom.
    """
    return float(chdtri(degrees, share))


def chi_square_median(degrees: float) -> float:
    """Return the median of the chi-square distribution.

    Args:
        degrees: Degrees of freedom.
    """
    return float(2 * gammaincinv(degrees / 2, 0.5))
