"""How far a susceptibility or field map is from the truth: the scores of the QSM-CI benchmark.

With x̂ and x the two maps [ppm], both 0 outside the mask, ‖·‖ over the mask and ¯ its mean there:

    NRMSE            100·‖(x̂ − m(x̂)) − (x − m(x))‖ / ‖x − m(x)‖,            m the mean over the mask
    NRMSE detrended  the same after x̂ − m(x̂) was divided by its least-squares slope on x − m(x)
    HFEN             100·‖LoG(x̂ − x)‖ / ‖LoG x‖,                            LoG of σ 1.5 voxels
    XSIM             mean of (2·μ̂·μ + C1)(2·σ̂σ + C2) / [(μ̂² + μ² + C1)(σ̂² + σ² + C2)],
                     C1 = (0.01)², C2 = (0.001)², moments in a cube of 5 voxels, or what the grid has of it

The parts of the head have detrended NRMSE of their own (white and grey matter with thalamus; blood and
what touches it; the six deep grey nuclei), and the nuclei |1 − slope| of their means. A calcification has
the error of its moment, |Σ x − Σ x̂|: Σ x̂ is over what is found of it, the voxels of its box and 3 more
on each side that are below every voxel around that box (thresholds from 0 to −3.5 ppm in steps of 0.01).
Its streaks are the spread of x̂ about a straight line through x in the rim, 4 voxels wide, around the box,
over the mean of what was found.

A voxel without an estimate counts as 0, so that leaving out a part of the brain is no advantage;
`coverage` tells how many have a value. Numbers agree with `score_arrays` of the package qsm-ci.

References: QSM Challenge 2.0 Organization Committee, Magn Reson Med 86:1241, 2021 (parts of the head,
calcification); Langkammer et al., Magn Reson Med 79:1661, 2018 (HFEN); Milovic et al., Magn Reson Med,
2024 (XSIM and its constants).
"""

import math
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import final

import torch
from jaxtyping import Bool, Float, Int64, Integer
from scipy.ndimage import binary_dilation, gaussian_laplace, uniform_filter
from torch import Tensor

from unweight.core.errors import UsageError
from unweight.metrics.compared_slices import local_moments, structural_similarity
from unweight.synth.tissue.materials import MATERIALS

# The labels of the challenge's head, each at its number; "" is nothing that our heads have.
NUMBERED = (
    *("", "caudate", "pallidum", "putamen", "red_nucleus", "dentate", "substantia_nigra", "thalamus"),
    *("white_matter", "grey_matter", "csf", "vessel", "", "skull", "air", "muscle", "calcification"),
)
CHALLENGE_LABELS = MappingProxyType({name: number for number, name in enumerate(NUMBERED) if name})
DEEP_GREY = (1, 2, 3, 4, 5, 6)
TISSUE = (7, 8, 9)
BLOOD, CALCIFICATION = 11, 16
BRAIN = range(1, 12)
XSIM_C1, XSIM_C2, XSIM_WINDOW = 1e-4, 1e-6, 5
LOG_SD, LOG_REACH = 1.5, 5.0  # [voxel], [SD]
BOX_MARGIN, RIM_WIDTH, BEYOND_RIM = 3, 4, 4  # [voxel]
THRESHOLD_STEP, N_THRESHOLDS = -0.01, 351  # [ppm]
ROUNDING = 1e-12  # a map that varies less than this share of itself is constant


@final
@dataclass(frozen=True, kw_only=True)
class FieldScores:
    """How far a map is from the truth within the mask.

    Attributes:
        nrmse: Error over the spread of the truth, without the means [%]; NaN of a constant truth.
        nrmse_detrended: The same with the best scale of the estimate [%].
        correlation: Pearson's; 0 if one of the maps is constant.
        xsim: Structural similarity.
        coverage: Share of the mask in which the estimate has a value other than 0.
    """

    nrmse: float
    nrmse_detrended: float
    correlation: float
    xsim: float
    coverage: float


@final
@dataclass(frozen=True, kw_only=True)
class SusceptibilityScores:
    """How far a susceptibility map is from the truth; what has no voxel, or needs labels not given, is NaN.

    Attributes:
        nrmse: As of `FieldScores` [%].
        nrmse_detrended: Likewise [%].
        correlation: Likewise.
        xsim: Likewise.
        coverage: Likewise.
        hfen: Error of edges and detail over the detail of the truth [%].
        nrmse_tissue: Detrended NRMSE of white matter, grey matter and thalamus [%].
        nrmse_blood: Of blood and all voxels that touch it [%].
        nrmse_deep_grey: Of the six deep grey nuclei [%].
        deep_grey_linearity: |1 − slope| of the means of the nuclei.
        calcification_moment: |Σ truth − Σ estimate| of the calcification [ppm · voxel].
        calcification_streak: Spread about it over its mean.
    """

    nrmse: float
    nrmse_detrended: float
    correlation: float
    xsim: float
    coverage: float
    hfen: float
    nrmse_tissue: float = math.nan
    nrmse_blood: float = math.nan
    nrmse_deep_grey: float = math.nan
    deep_grey_linearity: float = math.nan
    calcification_moment: float = math.nan
    calcification_streak: float = math.nan


@final
@dataclass(frozen=True, kw_only=True)
class RegionAgreement:
    """Means of the deep grey nuclei in an estimate against those in the truth.

    Attributes:
        slope: Of estimated on true, by least squares; NaN with fewer than two nuclei.
        correlation: Pearson's; likewise.
        mean_absolute_error: [ppm]; NaN without a nucleus.
    """

    slope: float
    correlation: float
    mean_absolute_error: float


def field_scores(
    field: Float[Tensor, "x y z"], truth: Float[Tensor, "_ _ _"], mask: Bool[Tensor, "_ _ _"]
) -> FieldScores:
    """Return the scores of a field map.

    Args:
        field: The estimate [ppm]; voxels without a finite value count as 0.
        truth: The true map [ppm], finite within the mask.
        mask: Where to compare.

    Raises:
        UsageError: The shapes differ, the mask is empty, or the truth has a gap.
    """
    return _overall(_pair(field, truth, mask))


def field_errors(
    estimate: Float[Tensor, "x y z"], truth: Float[Tensor, "_ _ _"], inside: Bool[Tensor, "_ _ _"]
) -> dict[str, float]:
    """Return the scores of any map by name; those of `FieldScores` without a unit."""
    return asdict(field_scores(estimate, truth, inside))


def susceptibility_scores(
    chi: Float[Tensor, "x y z"],
    truth: Float[Tensor, "_ _ _"],
    mask: Bool[Tensor, "_ _ _"],
    labels: Integer[Tensor, "_ _ _"] | None = None,
) -> SusceptibilityScores:
    """Return the scores of a susceptibility map.

    Args:
        chi: The estimate [ppm]; voxels without a finite value count as 0.
        truth: The true map [ppm], finite within the mask.
        mask: Where to compare.
        labels: Numbers of `CHALLENGE_LABELS`, for the scores of parts of the head.

    Raises:
        UsageError: The shapes differ, the mask is empty, or the truth has a gap.
    """
    pair = _pair(chi, truth, mask)
    overall = asdict(_overall(pair)) | {"hfen": _hfen(pair)}
    if labels is None:
        return SusceptibilityScores(**overall)
    _check_shape(chi, labels, "labels")
    parts = labels.cpu()
    blood = binary_dilation((pair.inside & (parts == BLOOD)).numpy(), torch.ones(3, 3, 3).numpy())
    moment, streak = _calcification(pair, parts == CALCIFICATION)
    return SusceptibilityScores(
        **overall,
        nrmse_tissue=_nrmse(pair, pair.inside & _among(parts, TISSUE))[1],
        nrmse_blood=_nrmse(pair, torch.from_numpy(blood))[1],
        nrmse_deep_grey=_nrmse(pair, pair.inside & _among(parts, DEEP_GREY))[1],
        deep_grey_linearity=_linearity(
            _region_means(pair.true, parts), _region_means(pair.measured, parts)
        ),
        calcification_moment=moment,
        calcification_streak=streak,
    )


def challenge_labels(materials: Integer[Tensor, "*voxels"]) -> Int64[Tensor, "*voxels"]:
    """Return the challenge's label number of each of `synth.tissue.materials`; 0 for those it lacks.

    Raises:
        UsageError: A number is no material.
    """
    if materials.numel() and not 0 <= int(materials.min()) <= int(materials.max()) < len(MATERIALS):
        raise UsageError(
            f"materials go from {int(materials.min())} to {int(materials.max())}, "
            f"but there are {len(MATERIALS)}",
            remedy="Give places in synth.materials.MATERIALS.",
        )
    numbers = torch.tensor([CHALLENGE_LABELS.get(name, 0) for name in MATERIALS])
    return numbers.to(materials.device)[materials.long()]


def slope_through_regions(
    chi: Float[Tensor, "x y z"],
    truth: Float[Tensor, "_ _ _"],
    labels: Integer[Tensor, "_ _ _"],
    mask: Bool[Tensor, "_ _ _"] | None = None,
) -> RegionAgreement:
    """Return how the means of the deep grey nuclei agree, relative to the mean over the mask.

    Args:
        chi: The estimate [ppm]. Voxels without a finite value in either map are left out.
        truth: The true map [ppm].
        labels: Numbers of `CHALLENGE_LABELS`.
        mask: Where to look; by default the brain with its fluid and vessels, labels 1 to 11.

    Raises:
        UsageError: The shapes differ, or the mask is empty.
    """
    brain = _among(labels, BRAIN) if mask is None else mask
    for item, name in ((truth, "truth"), (labels, "labels"), (brain, "mask")):
        _check_shape(chi, item, name)
    inside = brain & torch.isfinite(chi) & torch.isfinite(truth)
    _check_filled(inside)
    result, true = (
        (entry - entry[inside].mean()).cpu() for entry in (chi.detach().double(), truth.detach().double())
    )
    parts = torch.where(inside, labels, 0).cpu()
    means = _region_means(result, parts), _region_means(true, parts)
    error = float((means[0] - means[1]).abs().mean())
    if len(means[1]) < 2 or not bool(_centred(means[1]).any()):
        return RegionAgreement(slope=math.nan, correlation=math.nan, mean_absolute_error=error)
    return RegionAgreement(
        slope=_slope(means[1], means[0]),
        correlation=_correlation(means[0], means[1]),
        mean_absolute_error=error,
    )


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class _Pair:
    """Both maps in double precision, 0 outside the mask."""

    measured: Float[Tensor, "x y z"]
    true: Float[Tensor, "x y z"]
    inside: Bool[Tensor, "x y z"]


def _pair(measured: Tensor, true: Tensor, mask: Tensor) -> _Pair:
    _check_shape(measured, true, "truth")
    _check_shape(measured, mask, "mask")
    _check_filled(mask)
    n_gaps = int((mask & ~torch.isfinite(true)).sum())
    if n_gaps:
        raise UsageError(
            f"the truth has no value in {n_gaps} of {int(mask.sum())} voxels of the mask",
            remedy="Take them out of the mask.",
        )
    return _Pair(
        measured=torch.where(mask & torch.isfinite(measured), measured, 0.0).detach().cpu().double(),
        true=torch.where(mask, true, 0.0).detach().cpu().double(),
        inside=mask.cpu(),
    )


def _check_shape(first: Tensor, other: Tensor, name: str) -> None:
    if first.shape != other.shape:
        shapes = ["x".join(map(str, item.shape)) for item in (first, other)]
        raise UsageError(
            f"the map has {shapes[0]} voxels, but the {name} {shapes[1]}",
            remedy="Resample both to one grid first.",
        )


def _check_filled(mask: Tensor) -> None:
    if not bool(mask.any()):
        raise UsageError("the mask contains no voxel to compare", remedy="Mark the voxels of the brain.")


def _overall(pair: _Pair) -> FieldScores:
    nrmse, detrended = _nrmse(pair, pair.inside)
    result = pair.measured[pair.inside]
    return FieldScores(
        nrmse=nrmse,
        nrmse_detrended=detrended,
        correlation=_correlation(result, pair.true[pair.inside]),
        xsim=_xsim(pair),
        coverage=float((result != 0).double().mean()),
    )


def _centred(values: Float[Tensor, " voxels"]) -> Float[Tensor, " voxels"]:
    """Return the values without their mean: exactly 0 if they are equal but for rounding."""
    centred = values - values.mean()
    constant = bool(centred.norm() <= ROUNDING * values.norm())
    return torch.zeros_like(values) if constant else centred


def _slope(x: Float[Tensor, " voxels"], y: Float[Tensor, " voxels"]) -> float:
    """Return the least-squares slope of y on x; 0 if x is constant."""
    x, y = _centred(x), _centred(y)
    square = float(x @ x)
    return float(x @ y) / square if square > 0 else 0.0


def _correlation(x: Float[Tensor, " voxels"], y: Float[Tensor, " voxels"]) -> float:
    x, y = _centred(x), _centred(y)
    spread = float(x.norm() * y.norm())
    return float(x @ y) / spread if spread > 0 else 0.0


def _nrmse(pair: _Pair, where: Bool[Tensor, "x y z"]) -> tuple[float, float]:
    """Return NRMSE and detrended NRMSE [%]; an estimate of slope 0 cannot be scaled: both are one."""
    if not bool(where.any()):
        return math.nan, math.nan
    result, true = _centred(pair.measured[where]), _centred(pair.true[where])
    spread = float(true.norm())
    if spread == 0:
        return math.nan, math.nan
    slope = _slope(true, result)
    scaled = result if slope == 0 else result / slope
    return 100 * float((result - true).norm()) / spread, 100 * float((scaled - true).norm()) / spread


def _xsim(pair: _Pair) -> float:
    moments = local_moments(pair.measured, pair.true, _local_mean)
    similarity = structural_similarity(moments, XSIM_C1, XSIM_C2)
    return float(similarity[pair.inside].mean())


def _local_mean(values: Float[Tensor, "x y z"]) -> Float[Tensor, "x y z"]:
    """Return the mean in the cube about each voxel, of what the grid has of it."""
    sums, shares = (
        uniform_filter(item.numpy(), XSIM_WINDOW, mode="constant")
        for item in (values, torch.ones_like(values))
    )
    return torch.from_numpy(sums / shares)


def _hfen(pair: _Pair) -> float:
    """Return HFEN [%]. The filter is linear, so that of the difference will do; edges are mirrored."""
    error, detail = (
        torch.from_numpy(gaussian_laplace(item.numpy(), LOG_SD, truncate=LOG_REACH))[pair.inside]
        for item in (pair.measured - pair.true, pair.true)
    )
    norm = float(detail.norm())
    return 100 * float(error.norm()) / norm if norm > 0 else math.nan


def _among(labels: Tensor, numbers: tuple[int, ...] | range) -> Tensor:
    return torch.isin(labels, torch.tensor(list(numbers), device=labels.device))


def _region_means(values: Tensor, labels: Tensor) -> Float[Tensor, " regions"]:
    """Return the means over those of the deep grey nuclei that have voxels."""
    regions = [labels == number for number in DEEP_GREY]
    means = [values[region].mean() for region in regions if bool(region.any())]
    return torch.stack(means) if means else values.new_zeros(0)


def _linearity(true: Float[Tensor, " regions"], measured: Float[Tensor, " regions"]) -> float:
    return abs(1 - _slope(true, measured)) if len(true) > 1 else math.nan


def _calcification(pair: _Pair, calcified: Bool[Tensor, "x y z"]) -> tuple[float, float]:
    """Return the error of the moment, and the streaks; NaN without calcification.

    One that is not found at all has lost its moment, and there is nothing to relate streaks to.
    """
    if not bool(calcified.any()):
        return math.nan, math.nan
    box = _box_around(calcified, BOX_MARGIN)
    rim = _box_around(calcified, BOX_MARGIN + RIM_WIDTH) & ~box
    around = _box_around(calcified, BOX_MARGIN + RIM_WIDTH + BEYOND_RIM) & ~box
    threshold = _threshold_below(pair.measured[around])
    inside = pair.measured[box]
    inside = inside[inside < threshold]
    moment = abs(float(pair.true[calcified].sum()) - float(inside.sum()))
    if len(inside) == 0 or int(rim.sum()) < 2:
        return moment, math.nan
    x, y = _centred(pair.true[rim]), _centred(pair.measured[rim])
    spread = float((y - _slope(x, y) * x).square().mean().sqrt())
    return moment, spread / abs(float(inside.mean()))


def _threshold_below(values: Float[Tensor, " voxels"]) -> float:
    """Return the first threshold, from 0 down, that no value is below; the last if all are."""
    thresholds = THRESHOLD_STEP * torch.arange(N_THRESHOLDS, dtype=torch.float64)
    lowest = float(values.min()) if len(values) else 0.0
    below_none = thresholds[thresholds <= lowest]
    return float(below_none[0] if len(below_none) else thresholds[-1])


def _box_around(voxels: Bool[Tensor, "x y z"], margin: int) -> Bool[Tensor, "x y z"]:
    """Return the smallest box that holds the voxels, and a margin, cut off by the grid."""
    places = voxels.nonzero()
    first, last = places.min(0).values - margin, places.max(0).values + margin + 1
    box = torch.zeros_like(voxels)
    x, y, z = (slice(max(int(a), 0), int(b)) for a, b in zip(first, last, strict=True))
    box[x, y, z] = True
    return box
