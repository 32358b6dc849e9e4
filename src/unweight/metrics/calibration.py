"""Whether error bars hold: coverage, calibration, order of the errors, and the score that asks for all.

Everything lives on the free scale (ln T1; the parameter itself if it may be negative), where the
estimate of a voxel is N(mean, sd²). With z = (truth − mean)/sd and Φ, φ the normal distribution and
density:

    coverage(p)  share of voxels with |z| ≤ Φ⁻¹((1 + p)/2)
    ENCE         mean over bins b of |RMV_b − RMSE_b|/RMV_b, bins of equal count along the sd, RMV² and
                 RMSE² the means of sd² and of the squared error (Levi et al., Sensors 22 (2022) 5540)
    AUSE         area between two sparsification curves: RMSE, relative to that of all voxels, of what
                 is left when the least certain, or the worst, are taken away (Ilg et al., ECCV 2018)
    Winkler      width + (2/α)·(distance of the truth outside) of the (1 − α) interval, its mean: small is
                 narrow and right at once (Winkler, JASA 67 (1972) 187)
    CRPS         sd·[z(2Φ(z) − 1) + 2φ(z) − 1/√π] (Gneiting & Raftery, JASA 102 (2007) 359)
    PIT          Φ(z), uniform on 0 to 1 if the whole distribution is right (Dawid, JRSS A 147 (1984) 278)
    SBC          rank of the truth among draws, uniform on 0 to their number likewise (Talts et al.,
                 arXiv 1804.06788)
"""

import math
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from unweight.core.errors import UsageError
from unweight.metrics.accuracy import median

LEVELS = (0.5, 0.8, 0.9, 0.95)
WIDTH_LEVEL = 0.9
ROBUST = 1.4826  # median absolute error of a normal law to its standard deviation
N_BINS = 20
N_STEPS = 100


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class GaussianPrediction:
    """Estimates of some voxels on the free scale, and the truth.

    Voxels in which one of the three is not finite are left out of every metric.

    Attributes:
        mean: Estimate, ln T1.
        sd: Its standard deviation, as the method gives it.
        truth: True value, ln T1.
        positive: Whether the free scale is a logarithm.
    """

    mean: Float[Tensor, " voxels"]
    sd: Float[Tensor, " voxels"]
    truth: Float[Tensor, " voxels"]
    positive: bool = True

    def __post_init__(self) -> None:
        if bool((self.sd <= 0).any()):
            raise UsageError(
                f"{int((self.sd <= 0).sum())} of {len(self.sd)} standard deviations are not positive",
                remedy="Give NaN where the method has none.",
            )

    def valued(self, selection: Bool[Tensor, " voxels"] | None = None) -> "GaussianPrediction":
        """Return the selected voxels that have all three, in double precision."""
        keep = torch.isfinite(self.mean) & torch.isfinite(self.sd) & torch.isfinite(self.truth)
        keep = keep if selection is None else keep & selection
        return GaussianPrediction(
            mean=self.mean[keep].double(),
            sd=self.sd[keep].double(),
            truth=self.truth[keep].double(),
            positive=self.positive,
        )


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Sparsification:
    """RMSE of the voxels left when some are removed, relative to that of all.

    Attributes:
        removed: Share of voxels removed.
        by_sd: With the least certain removed.
        oracle: With those of the largest error removed; no order is better.
    """

    removed: Float[Tensor, " steps"]
    by_sd: Float[Tensor, " steps"]
    oracle: Float[Tensor, " steps"]

    @property
    def ause(self) -> float:
        """The area between the two curves; 0 if the sd orders the errors perfectly."""
        return float(torch.trapezoid(self.by_sd - self.oracle, self.removed))


def calibration(
    prediction: GaussianPrediction, *, selection: Bool[Tensor, " voxels"] | None = None
) -> dict[str, float]:
    """Return the metrics of the selected voxels by name; NaN where there is no voxel.

    Returns:
        `coverage_50` to `coverage_95`, `ence`, `ause`, `crps` (mean), `width_90` (median of
        `interval_width`), `sd_over_error` (median sd over robust
        error), `winkler_90`, `missing`, the share of voxels with a truth but without
        an estimate and sd, and `n`, the voxels with all.
    """
    known = torch.isfinite(prediction.truth)
    n_known = int((known if selection is None else known & selection).sum())
    valued = prediction.valued(selection)
    n = len(valued.mean)
    measured = {f"coverage_{100 * level:.0f}": coverage(valued, level) for level in LEVELS}
    return measured | {
        "ence": ence(valued),
        "ause": sparsification(valued).ause if n else math.nan,
        "crps": float(gaussian_crps(valued).mean()),
        f"width_{100 * WIDTH_LEVEL:.0f}": interval_width(valued, WIDTH_LEVEL),
        "sd_over_error": sd_over_error(valued),
        f"winkler_{100 * WIDTH_LEVEL:.0f}": winkler(valued, WIDTH_LEVEL),
        "missing": 1 - n / n_known if n_known else math.nan,
        "n": float(n),
    }


def coverage(prediction: GaussianPrediction, level: float) -> float:
    """Return the share of truths in the central Gaussian interval of a level, 0.9."""
    valued = prediction.valued()
    reach = _quantile(level) * valued.sd
    return interval_coverage(valued.mean - reach, valued.mean + reach, valued.truth)


def interval_coverage(
    lower: Float[Tensor, " voxels"], upper: Float[Tensor, " voxels"], truth: Float[Tensor, " voxels"]
) -> float:
    """Return the share of truths between given ends, on any scale; NaN voxels are left out."""
    valued = ~(torch.isnan(lower) | torch.isnan(upper) | torch.isnan(truth))
    inside = (lower <= truth) & (truth <= upper)
    return float(inside[valued].double().mean())


def interval_measures(
    lower: Float[Tensor, " voxels"],
    upper: Float[Tensor, " voxels"],
    truth: Float[Tensor, " voxels"],
    scale: Float[Tensor, " voxels"],
) -> dict[str, float]:
    """Return how often 90 % intervals hold the truth, and their median width.

    Args:
        lower: Lower ends.
        upper: Upper ends.
        truth: NaN where it is not known.
        scale: What the width is relative to.

    Returns:
        `interval_90`, `interval_90_width`, and `n`, the voxels with a width and a truth.
    """
    width = (upper - lower) / scale
    valued = torch.isfinite(width) & torch.isfinite(truth)
    return {
        "interval_90": interval_coverage(lower, upper, truth),
        "interval_90_width": median(width[valued]),
        "n": float(valued.sum()),
    }


def ence(prediction: GaussianPrediction, *, n_bins: int = N_BINS) -> float:
    """Return the expected normalised calibration error.

    An sd wrong by the factor f gives |1 − 1/f|. Right ones do not give 0 but what chance leaves in bins
    of m voxels, about 1/√(πm) for Gaussian errors.
    """
    valued = prediction.valued()
    order = valued.sd.argsort(stable=True)
    bins = min(n_bins, len(order))
    if bins == 0:
        return math.nan
    errors = (valued.mean - valued.truth)[order].square().tensor_split(bins)
    variances = valued.sd[order].square().tensor_split(bins)
    ratios = torch.stack([e.mean() / v.mean() for e, v in zip(errors, variances, strict=True)])
    return float((1 - ratios.sqrt()).abs().mean())


def sparsification(prediction: GaussianPrediction, *, n_steps: int = N_STEPS) -> Sparsification:
    """Return the curves at 0, 1/n_steps, … removed, the last step left out.

    Voxels of equal sd have no order, so each counts with the mean of their squared errors.

    Raises:
        UsageError: There is no voxel.
    """
    valued = prediction.valued()
    squared = (valued.mean - valued.truth).square()
    n = len(squared)
    if n == 0:
        raise UsageError("no voxel has an estimate, a standard deviation and a truth")
    _, tied, counts = torch.unique(valued.sd, return_inverse=True, return_counts=True)
    shared = torch.zeros(len(counts), dtype=squared.dtype, device=squared.device)
    shared = shared.index_add(0, tied, squared) / counts
    removed = torch.arange(n_steps, dtype=torch.float64, device=squared.device) / n_steps
    left = (n - (removed * n).floor().long()).clamp_min(1)
    return Sparsification(
        removed=removed,
        by_sd=_rmse_of_first(shared[tied.sort().values], left),
        oracle=_rmse_of_first(squared.sort().values, left),
    )


def gaussian_crps(prediction: GaussianPrediction) -> Float[Tensor, " valued"]:
    """Return the continuous ranked probability score of each voxel with a value; small is good."""
    valued = prediction.valued()
    z = (valued.truth - valued.mean) / valued.sd
    density = torch.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    # 2Φ(z) − 1 = erf(z/√2)
    return valued.sd * (z * torch.erf(z / math.sqrt(2)) + 2 * density - 1 / math.sqrt(math.pi))


def interval_width(prediction: GaussianPrediction, level: float) -> float:
    """Return the median width of the central interval of a level, 0.9.

    Relative to the estimate exp(mean) if the free scale is a logarithm: exp(mean ± z sd) is 2 sinh(z sd)
    of it wide. Else as it is, 2 z sd.
    """
    reach = _quantile(level) * prediction.valued().sd
    return median(2 * (torch.sinh(reach) if prediction.positive else reach))


def sd_over_error(prediction: GaussianPrediction) -> float:
    """Return the median stated sd over the robust spread of the errors about the truth; 1 is right."""
    valued = prediction.valued()
    error = ROBUST * median((valued.mean - valued.truth).abs())
    return median(valued.sd) / error if error > 0 else math.nan


def winkler(prediction: GaussianPrediction, level: float) -> float:
    """Return the mean interval score of a central interval on the free scale."""
    valued = prediction.valued()
    reach = _quantile(level) * valued.sd
    outside = ((valued.truth - valued.mean).abs() - reach).clamp(min=0)
    return float((2 * reach + 2 / (1 - level) * outside).mean())


def probability_transform(prediction: GaussianPrediction) -> Float[Tensor, " valued"]:
    """Return Φ((truth − mean)/sd) of each voxel with a value: uniform if the predictions are right."""
    valued = prediction.valued()
    transformed: Tensor = torch.special.ndtr((valued.truth - valued.mean) / valued.sd)
    return transformed


def simulation_ranks(
    draws: Float[Tensor, "draws voxels"], truth: Float[Tensor, " voxels"]
) -> Int[Tensor, " valued"]:
    """Return the rank of each truth among its draws, 0 to their number, for simulation-based calibration.

    If the draws come from the posterior, under the prior of the truths, all ranks are equally likely.
    Voxels without a finite truth or with a draw that is not finite are left out.

    Args:
        draws: Of each voxel.
        truth: Of each voxel, on the same scale.
    """
    valued = torch.isfinite(truth) & torch.isfinite(draws).all(0)
    return (draws[:, valued] < truth[valued]).sum(0)


def uniformity(values: Float[Tensor, " values"]) -> float:
    """Return the largest distance of the empirical distribution from the uniform one on 0 to 1.

    The Kolmogorov–Smirnov statistic: about 1.36/√n at the 5 % level for n independent values. Ranks
    r of L draws are made comparable by (r + u)/(L + 1), u uniform on 0 to 1.

    Raises:
        UsageError: There is no value, or one lies outside 0 to 1.
    """
    if not len(values) or not bool(((values >= 0) & (values <= 1)).all()):
        raise UsageError("values of a distribution function lie between 0 and 1, and there is at least one")
    ordered, n = values.flatten().double().sort().values, values.numel()
    rank = torch.arange(n, dtype=ordered.dtype, device=ordered.device)
    return float(torch.maximum((rank + 1) / n - ordered, ordered - rank / n).max())


def _quantile(level: float) -> float:
    if not 0 < level < 1:
        raise UsageError(f"the level of an interval lies between 0 and 1, found {level:g}")
    return math.sqrt(2) * float(torch.erfinv(torch.tensor(level, dtype=torch.float64)))


def _rmse_of_first(squared: Float[Tensor, " voxels"], counts: Tensor) -> Float[Tensor, " steps"]:
    """Return the RMSE of the first voxels of an order for each count, relative to that of all."""
    means = squared.cumsum(0)[counts - 1] / counts
    whole = squared.mean()
    return (means / whole).sqrt() if float(whole) > 0 else torch.zeros_like(means)
