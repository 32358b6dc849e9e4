"""Ordinary least squares with a design whose columns have names.

    y = Xβ + ε,  ε ~ N(0, σ²),    β̂ = (XᵀX)⁻¹Xᵀy,    σ̂² = |y − Xβ̂|²/(n − k),    cov β̂ = σ̂²(XᵀX)⁻¹

for n subjects and k columns; (β̂ − β)/SE follows Student's t of n − k degrees of freedom (Seber & Lee,
Linear Regression Analysis, 2nd ed., Wiley 2003, chapters 3 and 4).
"""

import math
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float64
from scipy.special import stdtr, stdtrit

from unweight.core.errors import UsageError

LEVEL = 0.95
DEFICIENT = 1e-10  # share of a column that must be its own


@final
@dataclass(frozen=True, kw_only=True)
class Interval:
    """An estimate and its 95 % confidence interval.

    Attributes:
        estimate: The number.
        lower: Lower end; NaN if there is none.
        upper: Upper end; likewise.
    """

    estimate: float
    lower: float
    upper: float


@final
@dataclass(frozen=True, kw_only=True)
class Coefficient:
    """One coefficient of a linear model.

    Attributes:
        name: Of its column.
        estimate: The number [unit of the outcome per unit of the column].
        standard_error: Of the estimate; 0 if the model leaves no residual.
        degrees_of_freedom: Subjects less columns.
    """

    name: str
    estimate: float
    standard_error: float
    degrees_of_freedom: int

    @property
    def lower(self) -> float:
        """The lower end of the 95 % confidence interval."""
        return self.interval(LEVEL)[0]

    @property
    def upper(self) -> float:
        """The upper end of the 95 % confidence interval."""
        return self.interval(LEVEL)[1]

    @property
    def p(self) -> float:
        """The two-sided p of the coefficient being 0."""
        return min(1.0, 2 * min(self.p_above(0.0), self.p_below(0.0)))

    def interval(self, level: float) -> tuple[float, float]:
        """Return the ends of the confidence interval of a level, 0.9."""
        if not 0 < level < 1:
            raise UsageError(f"the level of an interval lies between 0 and 1, found {level:g}")
        reach = float(stdtrit(self.degrees_of_freedom, (1 + level) / 2)) * self.standard_error
        return self.estimate - reach, self.estimate + reach

    def p_above(self, bound: float) -> float:
        """Return the one-sided p; small if the coefficient is larger than the bound."""
        return float(stdtr(self.degrees_of_freedom, -self._distance(bound)))

    def p_below(self, bound: float) -> float:
        """Return the one-sided p; small if the coefficient is smaller than the bound."""
        return float(stdtr(self.degrees_of_freedom, self._distance(bound)))

    def _distance(self, bound: float) -> float:
        away = self.estimate - bound
        if self.standard_error > 0:
            return away / self.standard_error
        return math.copysign(math.inf, away) if away else 0.0


@final
@dataclass(frozen=True, kw_only=True)
class Fit:
    """A fitted linear model.

    Attributes:
        coefficients: In the order of the columns.
        residual_sd: σ̂ [unit of the outcome].
        degrees_of_freedom: Subjects less columns.
    """

    coefficients: tuple[Coefficient, ...]
    residual_sd: float
    degrees_of_freedom: int

    def coefficient(self, name: str) -> Coefficient:
        """Return the coefficient of a column."""
        for coefficient in self.coefficients:
            if coefficient.name == name:
                return coefficient
        names = ", ".join(coefficient.name for coefficient in self.coefficients)
        raise UsageError(f"the model has no column {name}; it has {names}")


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Design:
    """What the outcome may depend on, a row a subject. An intercept is a column like any other.

    Attributes:
        names: Of the columns.
        columns: Their values.
    """

    names: tuple[str, ...]
    columns: Float64[np.ndarray, "subjects columns"]

    def __post_init__(self) -> None:
        n, n_columns = self.columns.shape
        if len(self.names) != n_columns or len(set(self.names)) != n_columns:
            raise UsageError(
                f"a design of {n_columns} columns needs as many different names, found "
                + ", ".join(self.names)
            )
        for name, column in zip(self.names, self.columns.T, strict=True):
            if not np.isfinite(column).all():
                raise UsageError(
                    f"column {name}: {int((~np.isfinite(column)).sum())} of {n} values are not finite",
                    remedy="Leave out the subjects without a value.",
                )
        if n <= n_columns:
            raise UsageError(
                f"a model of {n_columns} coefficients needs at least {n_columns + 1} subjects, found {n}",
                remedy="Add subjects, or leave out columns.",
            )
        self._check_rank()

    def _check_rank(self) -> None:
        """Refuse the first column that is a combination of those before it."""
        lengths = np.linalg.norm(self.columns, axis=0)
        own = np.abs(np.diag(np.linalg.qr(self.columns / np.where(lengths > 0, lengths, 1.0), mode="r")))
        for place, name in enumerate(self.names):
            if own[place] < DEFICIENT:
                before = ", ".join(self.names[:place])
                raise UsageError(
                    f"column {name} is not independent: it "
                    + (
                        f"is a combination of {before}"
                        if before and lengths[place] > 0
                        else "is 0 throughout"
                    ),
                    remedy="Leave it out, or take subjects who differ in it.",
                )


def ordinary_least_squares(outcome: Float64[np.ndarray, " subjects"], design: Design) -> Fit:
    """Return the fit of a linear model.

    Args:
        outcome: What is explained, a number a subject.
        design: What explains it.

    Raises:
        UsageError: The outcome has another number of subjects than the design, or values not finite.
    """
    n, n_columns = design.columns.shape
    if len(outcome) != n:
        raise UsageError(f"the outcome has {len(outcome)} subjects, but the design has {n}")
    if not np.isfinite(outcome).all():
        raise UsageError(
            f"{int((~np.isfinite(outcome)).sum())} of {n} outcomes are not finite",
            remedy="Leave out the subjects without a value.",
        )
    # X = QR: better conditioned than XᵀX, and (XᵀX)⁻¹ = R⁻¹R⁻ᵀ.
    orthogonal, triangle = np.linalg.qr(design.columns)
    inverse = np.linalg.inv(triangle)
    estimates = inverse @ (orthogonal.T @ outcome)
    residual_sd = float(np.linalg.norm(outcome - design.columns @ estimates)) / math.sqrt(n - n_columns)
    errors = residual_sd * np.linalg.norm(inverse, axis=1)
    return Fit(
        coefficients=tuple(
            Coefficient(
                name=name,
                estimate=float(estimate),
                standard_error=float(error),
                degrees_of_freedom=n - n_columns,
            )
            for name, estimate, error in zip(design.names, estimates, errors, strict=True)
        ),
        residual_sd=residual_sd,
        degrees_of_freedom=n - n_columns,
    )
