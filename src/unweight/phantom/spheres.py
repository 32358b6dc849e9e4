"""What the spheres of a found plate show: mean signals to fit, and T1 beside the nominal values."""

import math
from dataclasses import dataclass
from enum import Enum
from typing import final

import torch
from jaxtyping import Bool, Complex, Float, UInt8
from torch import Tensor

from unweight.core.acquisition import Acquisition, SignalKind
from unweight.core.errors import UsageError
from unweight.core.maps import ParameterMaps, VoxelStatus
from unweight.phantom.finder import FoundPlate
from unweight.phantom.slice_plane import as_volume, disc_means

ROI_RADIUS_MM = 4.5
LEAST_SHARE = 0.5
OUTLIER_SDS = 5.0
IMPRECISE_ABOVE = 0.25


class SphereStatus(Enum):
    """Whether the T1 of a sphere can be believed: what most of its voxels say."""

    OK = "ok"
    IMPRECISE = "imprecise"
    AMBIGUOUS = "ambiguous"
    SATURATED = "saturated"
    IMPLAUSIBLE = "implausible"
    FAILED = "failed"
    OUTSIDE = "outside"


SUSPECT = {
    VoxelStatus.POLARITY_AMBIGUOUS: SphereStatus.AMBIGUOUS,
    VoxelStatus.SATURATED: SphereStatus.SATURATED,
    VoxelStatus.IMPLAUSIBLE: SphereStatus.IMPLAUSIBLE,
    VoxelStatus.AT_LIMIT: SphereStatus.IMPRECISE,
}


@final
@dataclass(frozen=True, kw_only=True)
class SphereT1:
    """T1 of one sphere beside its nominal value.

    Attributes:
        sphere: 1 to 14.
        t1_nominal_s: Nominal T1 at 20 °C and the field that the plate names [s].
        t1_mean_s: Mean over the voxels used [s]; NaN if the sphere has none.
        t1_sd_s: Standard deviation over the voxels used [s].
        error_percent: 100 (mean / nominal − 1).
        status: OK if at least half of the voxels are; IMPRECISE if they are, but their fit leaves more
            than a quarter of the T1 open, and the mean leans to the tail of its distribution.
        n_voxels: Voxels in the region.
        n_used: Voxels in the mean: the OK ones if the status is OK, else all with a value; less those
            further from the median than five times half the 16 to 84 % range.
        t1_std_s: Mean over the voxels used of the standard deviation their fit gives [s].
        centre_mm: Centre in the space of the affine [mm].
    """

    sphere: int
    t1_nominal_s: float
    t1_mean_s: float
    t1_sd_s: float
    error_percent: float
    status: SphereStatus
    n_voxels: int
    n_used: int
    t1_std_s: float
    centre_mm: tuple[float, float, float]


def measure_t1(
    maps: ParameterMaps, plate: FoundPlate, *, radius_mm: float = ROI_RADIUS_MM
) -> tuple[SphereT1, ...]:
    """Return T1 of spheres 1 to 14 of a found plate.

    Args:
        maps: With a T1, on the grid in which the plate was found.
        plate: The plate.
        radius_mm: Of the region in each sphere, at most its 8 mm [mm].
    """
    t1, std, status = (
        plate.plane.cut(as_volume(part[..., None].cpu(), maps.affine))[..., 0]
        for part in (maps.value("T1").double(), maps.deviation("T1").double(), maps.status)
    )
    discs = plate.plane.discs(t1.shape, plate.centres_mm, _checked(radius_mm))
    rows = []
    for number, disc in enumerate(discs):
        verdict, used = _judge(status[disc], t1[disc])
        nominal = plate.array.nominal.t1[number]
        mean, fit_std = float(t1[disc][used].mean()), float(std[disc][used].nanmean())
        if verdict is SphereStatus.OK and fit_std > IMPRECISE_ABOVE * mean:
            verdict = SphereStatus.IMPRECISE
        rows.append(
            SphereT1(
                sphere=number + 1,
                t1_nominal_s=nominal,
                t1_mean_s=mean,
                t1_sd_s=float(t1[disc][used].std()) if int(used.sum()) > 1 else math.nan,
                error_percent=100 * (mean / nominal - 1),
                status=verdict,
                n_voxels=int(disc.sum()),
                n_used=int(used.sum()),
                t1_std_s=fit_std,
                centre_mm=_point(plate.centres_world_mm[number]),
            )
        )
    return tuple(rows)


def sphere_signals(
    acquisition: Acquisition, plate: FoundPlate, *, radius_mm: float = ROI_RADIUS_MM
) -> Float[Tensor, "spheres volumes"] | Complex[Tensor, "spheres volumes"]:
    """Return the mean signal of each sphere in each volume, for a fit to means.

    Args:
        acquisition: On the grid in which the plate was found.
        plate: The plate.
        radius_mm: Of the region in each sphere [mm].
    """
    volumes = plate.plane.cut(as_volume(acquisition.signal, acquisition.affine))
    discs = plate.plane.discs(volumes.shape[:2], plate.centres_mm, _checked(radius_mm))
    if acquisition.kind is SignalKind.COMPLEX:
        return torch.complex(disc_means(volumes.real, discs), disc_means(volumes.imag, discs))
    return disc_means(volumes, discs)


def _checked(radius_mm: float) -> float:
    if not 0 < radius_mm <= 8.0:
        raise UsageError(f"a region of {radius_mm:g} mm does not fit into a sphere of 8 mm radius")
    return radius_mm


def _judge(
    status: UInt8[Tensor, " voxels"], t1: Float[Tensor, " voxels"]
) -> tuple[SphereStatus, Bool[Tensor, " voxels"]]:
    """Return what most voxels say, and the voxels to average."""
    valued = torch.isfinite(t1)
    if int((status == VoxelStatus.MASKED).sum()) > LEAST_SHARE * len(status) or len(status) == 0:
        return SphereStatus.OUTSIDE, torch.zeros_like(valued)
    if float(valued.double().mean()) < LEAST_SHARE:
        return SphereStatus.FAILED, torch.zeros_like(valued)
    fine = status == VoxelStatus.OK
    if float(fine.double().mean()) >= LEAST_SHARE:
        return SphereStatus.OK, _without_outliers(t1, fine)
    counts = {reason: int((status == reason).sum()) for reason in SUSPECT}
    reason = max(counts, key=lambda item: counts[item])
    verdict = SUSPECT[reason] if counts[reason] > 0 else SphereStatus.FAILED
    return verdict, _without_outliers(t1, valued)


def _without_outliers(
    t1: Float[Tensor, " voxels"], used: Bool[Tensor, " voxels"]
) -> Bool[Tensor, " voxels"]:
    low, middle, high = torch.quantile(t1[used], torch.tensor([0.16, 0.5, 0.84], dtype=t1.dtype))
    near: Bool[Tensor, " voxels"] = (t1 - middle).abs() <= OUTLIER_SDS * (high - low) / 2 + 1e-12
    return used & near


def _point(place: Float[Tensor, " 3"]) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in place)
    return x, y, z
