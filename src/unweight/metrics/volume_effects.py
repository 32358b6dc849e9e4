"""Whether the effects of age, sex and head size on a volume survive in a synthetic image.

For one structure, with each source of volumes in percent of its own mean, 100·v/v̄,

    v = β₀ + βa·(age − mean) + βs·(male − mean) + βh·10·(head/mean − 1) + ε

in % per year, % of male minus female, and % per 10 % of head size. Its own mean, so that a volume that is
too large in everyone alike does not change the effects; the agreement of the volumes tells of that. With s
and t the two sources and X the design, the effect of the source on the effects (age × source, sex × source)
is γ of

    s − t = Xγ + δ

In the mixed model v ~ (1 + age + sex + head) × source + (1 | subject), the intercept of a subject is the
same in both of its rows. It drops out of their difference, and all that the data say of the interactions is
in the differences: estimates and standard errors of restricted maximum likelihood are those of least
squares on s − t (if the variance of the intercepts is not estimated as 0). Here γ has the t-test with n − 4
degrees of freedom, exact for normal errors with the means v̄ taken as known, where software for mixed
models uses the normal distribution.

    ratio          βs/βt of an effect, with the interval between percentiles of resampled subjects, both
                   volumes of a subject together (Efron & Tibshirani, An Introduction to the Bootstrap,
                   Chapman & Hall 1993, chapter 13)
    equivalence    0.9 < ratio < 1.1 by two one-sided t-tests of the effects on s − 0.9·t and s − 1.1·t,
                   which lie on the two sides of 0 (Hauschke et al., Stat Med 18 (1999) 93)
    adjusted p     over structures, for the false discovery rate (Benjamini & Hochberg, J R Stat Soc B 57
                   (1995) 289)

An interaction that is not significant is not yet an effect preserved: few subjects hardly give one. The
verdict asks for a ratio near 1 besides; the test of equivalence is stricter, and asks that this be certain.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Bool, Float64
from scipy.stats import false_discovery_control

from unweight.core.errors import UsageError
from unweight.metrics.agreement import PairedVolumes
from unweight.metrics.linear_model import (
    LEVEL,
    Coefficient,
    Design,
    Fit,
    Interval,
    ordinary_least_squares,
)

EFFECTS = ("age", "sex", "head")
RATIO_RANGE = (0.9, 1.1)
ALPHA = 0.05
N_RESAMPLES = 2000
FEWEST_RESAMPLES = 100
DEFICIENT = 1e-9  # of the largest eigenvalue
ROUNDING = 1e-9  # differences [%] that are none


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Subjects:
    """Who was measured.

    Attributes:
        age: [years].
        male: Whether male.
        head: Head size, in any unit of volume; the intracranial volume on the true image.
    """

    # Axes of three names, so that what the reader sees is the error below.
    age: Float64[np.ndarray, " subjects"]
    male: Bool[np.ndarray, " same_subjects"]
    head: Float64[np.ndarray, " these_subjects"]

    def __post_init__(self) -> None:
        if not len(self.age) == len(self.male) == len(self.head):
            raise UsageError(
                f"found {len(self.age)} ages, {len(self.male)} sexes and {len(self.head)} head sizes",
                remedy="Give all three for each subject.",
            )
        if not np.isfinite(self.age).all():
            raise UsageError(
                f"{int((~np.isfinite(self.age)).sum())} of {len(self.age)} ages are not finite",
                remedy="Leave out the subjects without an age.",
            )
        bad = ~(np.isfinite(self.head) & (self.head > 0))
        if bad.any():
            raise UsageError(
                f"{int(bad.sum())} of {len(bad)} head sizes are not positive numbers",
                remedy="Leave out the subjects without a head size.",
            )

    def design(self) -> Design:
        """Return the design: intercept, age, sex (male minus female) and head size (per 10 %), centred."""
        male = self.male.astype(np.float64)
        columns = (
            np.ones_like(self.age),
            self.age - self.age.mean(),
            male - male.mean(),
            10 * (self.head / self.head.mean() - 1),
        )
        return Design(names=("intercept", *EFFECTS), columns=np.stack(columns, axis=1))


@final
@dataclass(frozen=True, kw_only=True)
class Effect:
    """One effect on the volume of one structure, on the true and on the synthetic image.

    Attributes:
        true: On the true image [% per unit].
        synthetic: On the synthetic image [% per unit].
        interaction: Synthetic minus true, effect × source [% per unit].
        ratio: Synthetic over true; of no meaning if there is no true effect.
        equivalence_p: Of the ratio being outside 0.9 to 1.1; small if it is inside for certain.
    """

    true: Coefficient
    synthetic: Coefficient
    interaction: Coefficient
    ratio: Interval
    equivalence_p: float

    @property
    def exists(self) -> bool:
        """Whether the 95 % interval of the true effect leaves out 0."""
        return self.true.lower > 0 or self.true.upper < 0

    @property
    def equivalent(self) -> bool:
        """Whether the ratio is inside 0.9 to 1.1 for certain, at 0.05; never without a true effect."""
        return self.exists and self.equivalence_p < ALPHA


@final
@dataclass(frozen=True, kw_only=True)
class VolumeEffects:
    """The effects on the volume of one structure.

    Attributes:
        n: Subjects.
        age: Per year.
        sex: Male minus female.
        head: Per 10 % of head size.
    """

    n: int
    age: Effect
    sex: Effect
    head: Effect


def volume_effects(
    volumes: PairedVolumes,
    subjects: Subjects,
    *,
    generator: torch.Generator,
    n_resamples: int = N_RESAMPLES,
) -> VolumeEffects:
    """Return the effects on the volume of one structure.

    Args:
        volumes: On the true and the synthetic image.
        subjects: Whose volumes they are, in the same order.
        generator: Draws the subjects of the resamples.
        n_resamples: How many; those that cannot be fitted, as of one sex only, are left out.

    Raises:
        UsageError: The numbers of subjects differ, are too small, or an effect cannot be told from others.
    """
    n = len(volumes.true)
    if n != len(subjects.age):
        raise UsageError(f"there are volumes of {n} subjects, but {len(subjects.age)} subjects")
    if n_resamples < FEWEST_RESAMPLES:
        raise UsageError(
            f"an interval needs {FEWEST_RESAMPLES} resamples or more, found {n_resamples}",
            remedy=f"Take {N_RESAMPLES}.",
        )
    design = subjects.design()
    true = 100 * volumes.true / volumes.true.mean()
    synthetic = 100 * volumes.synthetic / volumes.synthetic.mean()
    # What rounding leaves of equal volumes would have a p at random.
    difference = np.where(np.abs(synthetic - true) < ROUNDING, 0.0, synthetic - true)
    outcomes = (true, synthetic, difference, *(synthetic - bound * true for bound in RATIO_RANGE))
    fits = [ordinary_least_squares(outcome, design) for outcome in outcomes]
    drawn = _resampled_ratios(true, synthetic, design, _resamples(n, n_resamples, generator))
    tail = (1 - LEVEL) / 2
    ends = np.quantile(drawn, (tail, 1 - tail), axis=0)
    effects = {
        name: _effect(name, fits, (float(lower), float(upper)))
        for name, lower, upper in zip(design.names[1:], *ends, strict=True)
    }
    return VolumeEffects(n=n, **effects)


def preserved(effects: Sequence[Effect]) -> tuple[bool | None, ...]:
    """Return whether one effect, that of age, is preserved in each structure.

    It is if the ratio is estimated within 0.9 to 1.1 and the interaction is not significant at 0.05, with p
    adjusted over all structures given. None where there is no true effect that could be preserved.
    """
    if not effects:
        return ()
    p_values = adjusted(np.array([effect.interaction.p for effect in effects], dtype=np.float64))
    lowest, highest = RATIO_RANGE
    return tuple(
        bool(lowest <= effect.ratio.estimate <= highest and p > ALPHA) if effect.exists else None
        for effect, p in zip(effects, p_values, strict=True)
    )


def adjusted(p_values: Float64[np.ndarray, " structures"]) -> Float64[np.ndarray, " structures"]:
    """Return p adjusted for the false discovery rate: the least rate at which each would be a discovery."""
    bad = ~((p_values >= 0) & (p_values <= 1))
    if bad.any():
        raise UsageError(f"{int(bad.sum())} of {len(bad)} p values do not lie between 0 and 1")
    adjusted_p: np.ndarray = false_discovery_control(p_values, method="bh")
    return adjusted_p


def _effect(name: str, fits: Sequence[Fit], ends: tuple[float, float]) -> Effect:
    """Join what the fits of t, s, s − t, s − 0.9·t and s − 1.1·t say of one effect."""
    true, synthetic, interaction, low, high = (fit.coefficient(name) for fit in fits)
    # A ratio inside the range puts these effects above and below 0; the other way round if βt < 0.
    above, below = (low, high) if true.estimate > 0 else (high, low)
    ratio = synthetic.estimate / true.estimate if true.estimate else math.nan
    return Effect(
        true=true,
        synthetic=synthetic,
        interaction=interaction,
        ratio=Interval(estimate=ratio, lower=ends[0], upper=ends[1]),
        equivalence_p=max(above.p_above(0.0), below.p_below(0.0)),
    )


def _resamples(
    n: int, n_resamples: int, generator: torch.Generator
) -> Float64[np.ndarray, "resamples subjects"]:
    """Return how often each subject is in each resample."""
    drawn = torch.randint(n, (n_resamples, n), generator=generator).numpy()
    places = drawn + n * np.arange(n_resamples)[:, None]
    counts = np.bincount(places.ravel(), minlength=n * n_resamples)
    return counts.reshape(n_resamples, n).astype(np.float64)


def _resampled_ratios(
    true: Float64[np.ndarray, " subjects"],
    synthetic: Float64[np.ndarray, " subjects"],
    design: Design,
    counts: Float64[np.ndarray, "resamples subjects"],
) -> Float64[np.ndarray, "kept effects"]:
    """Return the ratios of effects of the resamples that have a solution.

    The effects are relative to the mean volume of the resample. Moved or scaled columns change effects of
    both sources alike, so the design need not be centred again.
    """
    columns = design.columns / np.linalg.norm(design.columns, axis=0)
    n, n_columns = columns.shape
    products = (columns[:, :, None] * columns[:, None, :]).reshape(n, n_columns**2)
    normal = (counts @ products).reshape(-1, n_columns, n_columns)
    eigenvalues = np.linalg.eigvalsh(normal)
    kept = eigenvalues[:, 0] > DEFICIENT * eigenvalues[:, -1]
    sources = np.stack((true, synthetic), axis=1)
    moments = (counts[kept] @ (columns[:, :, None] * sources[:, None, :]).reshape(n, -1)).reshape(
        -1, n_columns, 2
    )
    slopes = np.linalg.solve(normal[kept], moments) / (counts[kept] @ sources)[:, None, :]
    there = slopes[:, 1:, 0] != 0
    ratios: np.ndarray = np.where(there, slopes[:, 1:, 1] / np.where(there, slopes[:, 1:, 0], 1.0), np.nan)
    return ratios
