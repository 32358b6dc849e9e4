"""How far estimates are from the truth: bias, total error and precision.

With the error of voxel i on the free scale, e = ln(x̂/x), and relative on the linear one, r = x̂/x − 1:

    bias = mean r    rmse_ln = √(mean e²)    sd_ln = √(Σ(e − ē)²/(n − 1))    mape = mean |r|

and medians of r and |r|, which a few wild voxels do not move. Parameters that may be zero or negative
(susceptibility) have no relative error; then e = r = x̂ − x, in the unit of the parameter. ln is the
scale on which T1 and T2 are estimated: half and double count the same. MAPE after Hyndman & Koehler,
Int J Forecast 22 (2006) 679, who show why relative errors need a truth away from zero.
"""

import math
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

from unweight.core.errors import UsageError

T1_BINS = (0.0, 0.15, 0.5, 1.1, 2.0, math.inf)
T1_BIN_NAMES = ("T1 < 150 ms", "150-500 ms", "0.5-1.1 s", "1.1-2 s", "> 2 s")
TERCILE_NAMES = ("lowest third", "middle third", "highest third")
RELATIVE = ("bias", "median_bias", "rmse_ln", "mape", "median_ape", "sd_ln")
ABSOLUTE = ("bias", "median_bias", "rmse", "mae", "median_ae", "sd")


def accuracy(
    estimate: Float[Tensor, " voxels"],
    truth: Float[Tensor, " voxels"],
    *,
    selection: Bool[Tensor, " voxels"] | None = None,
    positive: bool = True,
) -> dict[str, float]:
    """Return the metrics of the selected voxels by name; NaN where no voxel can be compared.

    Args:
        estimate: Of the method; NaN where it failed. On the positive scale a value that is not positive
            counts as none.
        truth: NaN where it is not known.
        selection: Voxels to compare; all of them by default.
        positive: Whether errors are relative and in ln, else differences.

    Returns:
        The names in `RELATIVE` or `ABSOLUTE`, then `missing`, the share of voxels with a truth but
        without a value, and `n`, the number of voxels with both.

    Raises:
        UsageError: The truth is not positive, but errors are to be relative.
    """
    chosen = torch.isfinite(truth) if selection is None else selection & torch.isfinite(truth)
    known, result = truth[chosen].double(), estimate[chosen].double()
    if positive and bool((known <= 0).any()):
        raise UsageError(
            f"relative errors need a positive truth, but {int((known <= 0).sum())} of {len(known)} "
            "voxels have none",
            remedy="Select the voxels to compare, or compare differences.",
        )
    valued = torch.isfinite(result) & (result > 0) if positive else torch.isfinite(result)
    n, n_known = int(valued.sum()), len(known)
    free, linear = _errors(result[valued], known[valued], positive)
    numbers = (
        float(linear.mean()),
        median(linear),
        float(free.square().mean().sqrt()),
        float(linear.abs().mean()),
        median(linear.abs()),
        float(free.std()) if n > 1 else math.nan,
    )
    measured = dict(zip(RELATIVE if positive else ABSOLUTE, numbers, strict=True))
    return measured | {"missing": 1 - n / n_known if n_known else math.nan, "n": float(n)}


def rms(error: Float[Tensor, "*voxels"]) -> float:
    """Return the root mean square, computed in double precision."""
    return float(error.double().square().mean().sqrt())


def absolute_errors(
    estimate: Float[Tensor, " voxels"], truth: Float[Tensor, " voxels"], *, positive: bool = True
) -> dict[str, float]:
    """Return `rmse` and `mae` in the unit of the parameter, over the voxels that `accuracy` compares."""
    compared = estimate > 0 if positive else torch.isfinite(estimate) & torch.isfinite(truth)
    error = (estimate - truth)[compared]
    return {"rmse": float(error.square().mean().sqrt()), "mae": float(error.abs().mean())}


def t1_bins(t1: Float[Tensor, " voxels"]) -> Int[Tensor, " voxels"]:
    """Return the index of the bin of each T1 [s]; the lower edge is inside, −1 where there is no T1."""
    edges = torch.tensor(T1_BINS[1:-1], dtype=t1.dtype, device=t1.device)
    index = torch.bucketize(t1, edges, right=True)
    return torch.where(torch.isfinite(t1) & (t1 >= 0), index, -1)


def terciles(values: Float[Tensor, " voxels"]) -> Int[Tensor, " voxels"]:
    """Return 0, 1 or 2 for the lowest, middle and highest third; −1 for values that are not finite.

    Equal values come into one third, the lower one, even if it grows by that.
    """
    valued = torch.isfinite(values)
    ranked = values[valued].sort().values
    if len(ranked) == 0:
        return torch.full_like(values, -1, dtype=torch.int64)
    first, second = (ranked[math.ceil(third * len(ranked) / 3) - 1] for third in (1, 2))
    return torch.where(valued, (values > first).long() + (values > second).long(), -1)


def median(values: Float[Tensor, " voxels"]) -> float:
    """Return the median, the mean of the middle two for even numbers; NaN of none."""
    if len(values) == 0:
        return math.nan
    # torch.median takes the lower of the two, and torch.quantile refuses more than 2²⁴ values.
    lower = values.kthvalue((len(values) + 1) // 2).values
    upper = lower if len(values) % 2 else values.kthvalue(len(values) // 2 + 1).values
    return float(lower + upper) / 2


def quartiles(values: NDArray[np.floating[Any]]) -> tuple[float, float, float]:
    """Return the three quartiles, between values by linear interpolation; NaN of none."""
    if not values.size:
        return math.nan, math.nan, math.nan
    first, middle, third = (float(quartile) for quartile in np.quantile(values, (0.25, 0.5, 0.75)))
    return first, middle, third


def _errors(
    estimate: Float[Tensor, " compared"], known: Float[Tensor, " compared"], positive: bool
) -> tuple[Float[Tensor, " compared"], Float[Tensor, " compared"]]:
    if positive:
        return torch.log(estimate / known), estimate / known - 1
    return estimate - known, estimate - known
