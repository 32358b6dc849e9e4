"""Whether a structure has the same volume on a synthetic image as on the true one, subject by subject.

With t and s the volumes on the true and the synthetic image, means t̄, s̄, variances and covariance (over n)
σt², σs², σts, Δ = s̄ − t̄, and r the correlation:

    ρc = 2σts/(σt² + σs² + Δ²)                                  Lin's concordance correlation coefficient
    var(artanh ρc) = [(1 − r²)C²/(1 − ρc²) + (2ρc²(1 − ρc)w − ρc²w²/2)/(1 − ρc²)²]/(n − 2)
    C = 2σtσs/(σt² + σs² + Δ²),  w = 2Δ²/(σt² + σs² + Δ²)

which is the published variance with ρc/r = C put in, so that r = 0 needs no care (Lin, Biometrics 45 (1989)
255, with the correction in 56 (2000) 324).

    limits of agreement   mean ± 1.96 SD of s − t, and of 100·(s − t)/((s + t)/2)   (Bland & Altman, Lancet
                          327 (1986) 307)
    equivalence           two one-sided t-tests, of the mean of the latter being above −5 % and below 5 %
                          (Schuirmann, J Pharmacokinet Biopharm 15 (1987) 657)
    calibration slope     b of s = a + b·t. Below 1 if the small come out too large and the large too small,
                          as of a method that draws everyone towards the mean.

The volumes on the true image have errors too, those of the segmenter, so that even a perfect method has a
calibration slope a little below 1: by the share of the variance of t that is error, if the errors on the
two images are independent.
"""

import math
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float64

from unweight.core.errors import UsageError
from unweight.metrics.linear_model import Coefficient, Design, Interval, ordinary_least_squares

FEWEST = 3  # subjects
MARGIN = 5.0  # [%]
ALPHA = 0.05
NORMAL_95 = 1.959963984540054  # Φ⁻¹(0.975)
ROUNDING = 1e-12  # volumes that vary less than this share of themselves are constant


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class PairedVolumes:
    """Volumes of one structure of the same subjects by the same segmenter.

    Attributes:
        true: On the true image [mm³, or any unit].
        synthetic: On the synthetic image [the same].
    """

    # Axes of two names, so that what the reader sees is the error below.
    true: Float64[np.ndarray, " subjects"]
    synthetic: Float64[np.ndarray, " same_subjects"]

    def __post_init__(self) -> None:
        if len(self.true) != len(self.synthetic):
            raise UsageError(
                f"{len(self.true)} subjects have a true volume, but {len(self.synthetic)} a synthetic one",
                remedy="Give both for the same subjects, in the same order.",
            )
        if len(self.true) < FEWEST:
            raise UsageError(f"volumes of {FEWEST} subjects or more are needed, found {len(self.true)}")
        for name, volumes in (("true", self.true), ("synthetic", self.synthetic)):
            bad = ~(np.isfinite(volumes) & (volumes > 0))
            if bad.any():
                raise UsageError(
                    f"{int(bad.sum())} of {len(bad)} {name} volumes are not positive numbers",
                    remedy="Leave out subjects in whom the segmenter failed, and say how many.",
                )
        if np.ptp(self.true) <= ROUNDING * self.true.max():
            raise UsageError(
                "the true volumes are the same in all subjects",
                remedy="Give measured volumes, not those of an atlas.",
            )


@final
@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bland and Altman's limits of agreement, synthetic minus true.

    Attributes:
        bias: Mean difference.
        lower: 95 % of the differences of subjects are expected above this and below the upper limit.
        upper: The upper limit.
    """

    bias: float
    lower: float
    upper: float


@final
@dataclass(frozen=True, kw_only=True)
class Equivalence:
    """Two one-sided tests of the mean relative difference.

    Attributes:
        margin: Largest difference that does not matter [%].
        difference: Mean of 100·(s − t)/((s + t)/2), and its standard error [%].
        p_lower: Of the mean being at or below −margin.
        p_upper: Of the mean being at or above the margin.
    """

    margin: float
    difference: Coefficient
    p_lower: float
    p_upper: float

    @property
    def equivalent(self) -> bool:
        """Whether both are refused, at 0.05 each."""
        return max(self.p_lower, self.p_upper) < ALPHA


@final
@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How well the volumes of one structure agree.

    Attributes:
        n: Subjects.
        concordance: Lin's ρc; without an interval if the synthetic volumes are constant.
        difference: Limits of agreement [unit of the volumes].
        relative: Limits of agreement [% of the mean of the two].
        equivalence: Whether the mean relative difference is small for certain.
        calibration_slope: Of synthetic on true volumes.
    """

    n: int
    concordance: Interval
    difference: Limits
    relative: Limits
    equivalence: Equivalence
    calibration_slope: Coefficient


def agreement(volumes: PairedVolumes, *, margin: float = MARGIN) -> Agreement:
    """Return how well the volumes of one structure agree.

    Args:
        volumes: On the true and the synthetic image.
        margin: Of the test of equivalence [%].
    """
    relative = relative_differences(volumes)
    return Agreement(
        n=len(volumes.true),
        concordance=concordance(volumes),
        difference=_limits(volumes.synthetic - volumes.true),
        relative=_limits(relative),
        equivalence=equivalence(volumes, margin=margin),
        calibration_slope=calibration_slope(volumes),
    )


def concordance(volumes: PairedVolumes) -> Interval:
    """Return Lin's concordance correlation coefficient, 1 only if all pairs are equal."""
    true, synthetic = volumes.true, volumes.synthetic
    sd_true, sd_synthetic = float(true.std()), float(synthetic.std())
    covariance = float(((true - true.mean()) * (synthetic - synthetic.mean())).mean())
    shift = float(synthetic.mean() - true.mean())
    whole = sd_true**2 + sd_synthetic**2 + shift**2
    estimate = 2 * covariance / whole
    if np.ptp(synthetic) <= ROUNDING * synthetic.max():
        return Interval(estimate=estimate, lower=math.nan, upper=math.nan)
    left = 1 - estimate**2
    if left <= ROUNDING:
        return Interval(estimate=estimate, lower=estimate, upper=estimate)
    correlation = covariance / (sd_true * sd_synthetic)
    accuracy, w = 2 * sd_true * sd_synthetic / whole, 2 * shift**2 / whole
    spread = (1 - correlation**2) * accuracy**2 / left
    moved = (2 * estimate**2 * (1 - estimate) * w - estimate**2 * w**2 / 2) / left**2
    # Rounding may leave a variance just below 0 where all pairs lie on one line.
    reach = NORMAL_95 * math.sqrt(max(spread + moved, 0.0) / (len(true) - 2))
    centre = math.atanh(estimate)
    return Interval(estimate=estimate, lower=math.tanh(centre - reach), upper=math.tanh(centre + reach))


def relative_differences(volumes: PairedVolumes) -> Float64[np.ndarray, " subjects"]:
    """Return synthetic minus true of each subject in percent of the mean of the two.

    The mean of both and not the true volume, whose own error would make a difference where there is none.
    """
    differences: np.ndarray = 200 * (volumes.synthetic - volumes.true) / (volumes.synthetic + volumes.true)
    return differences


def equivalence(volumes: PairedVolumes, *, margin: float = MARGIN) -> Equivalence:
    """Return the two one-sided tests of the mean relative difference, with a margin [%]."""
    if not 0 < margin < math.inf:
        raise UsageError(f"the margin of equivalence is a positive percentage, found {margin:g}")
    differences = relative_differences(volumes)
    mean = Design(names=("mean",), columns=np.ones((len(differences), 1)))
    difference = ordinary_least_squares(differences, mean).coefficient("mean")
    return Equivalence(
        margin=margin,
        difference=difference,
        p_lower=difference.p_above(-margin),
        p_upper=difference.p_below(margin),
    )


def calibration_slope(volumes: PairedVolumes) -> Coefficient:
    """Return the slope of synthetic on true volumes."""
    centred = volumes.true - volumes.true.mean()
    line = Design(names=("mean", "slope"), columns=np.stack((np.ones_like(centred), centred), axis=1))
    return ordinary_least_squares(volumes.synthetic, line).coefficient("slope")


def _limits(differences: Float64[np.ndarray, " subjects"]) -> Limits:
    bias, reach = float(differences.mean()), NORMAL_95 * float(differences.std(ddof=1))
    return Limits(bias=bias, lower=bias - reach, upper=bias + reach)
