"""Nuisances of a scan estimated from the scan: inversion efficiency, error of the inversion times.

Three numbers are common to all voxels of a scan, or nearly so: the efficiency B of the inversion pulse, an
error δ of the inversion times (counted from the edge of the pulse instead of its middle), and C of the
signal equation. Where all volumes have one TR the pulse also acts on what the last recovery left, C = B,
and the free fit, which holds C at 2, gives

    B_pulse = B·(1 − R) / (1 + R − B·R),    PD_pulse = PD·(1 + R − B·R) / (1 − R),    R = exp(−TR/T1)

with the same T1. Inversion times that are too long by δ show as a straight line in 1/T1,
ln B_pulse = ln B + δ/T1, found by robust regression. B of the scan is where all clear voxels together are
likeliest with B held; a mean of the fitted B would favour voxels whose noise makes their B look certain.
About the B of the scan, B may vary smoothly in space.
"""

import math
from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from unweight.core.acquisition import Acquisition
from unweight.core.maps import ParameterMaps, VoxelStatus
from unweight.core.seeding import seeded_generator
from unweight.fit.inversion_recovery import InversionRecoveryFit
from unweight.learn.t1.network_t1 import as_slices, from_slices
from unweight.signals.inversion_recovery import recovery_interval

USUAL_B, USUAL_B_SPREAD = 1.92, 0.12  # what is believed of a pulse before the scan is looked at
B_ENDS = (1.2, 2.1)
N_EFFICIENCIES = 13
N_VOXELS = 1200  # that judge B together
FEWEST = 50  # clear voxels, below which a scan does not determine its nuisances
CLEARLY = 12.0  # PD over noise
CERTAIN = 0.06  # sd of B of a voxel that determines it
ENOUGH = 0.3  # share of clear voxels that determine B, above which TI and a smooth B are estimated
CORRELATED = 8.0  # voxels that count as one in the likelihood: their errors are not independent
TR_SPREAD = 1e-3  # [s] by which TR may differ between volumes and still be one

# Error of TI: least T1 used, relative scatter of B beside its sd, prior sd, believed end [s].
SHORTEST_T1, B_SCATTER, TI_PRIOR, TI_END = 0.02, 0.02, 0.003, 0.008
CERTAIN_TI, SHARED = 3.0, 10.0  # standard deviations, inflated by what neighbours have in common

# Smooth B: window [voxels], scatter beside sd, how far from the scan's, weight of the scan's own B.
WINDOW, LOCAL_SCATTER, LOCAL_END, LOCAL_SD, LOCAL_PRIOR = 10.0, 0.03, 0.25, 0.15, 15.0
N_REWEIGHTINGS = 3


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class ScanNuisances:
    """What is common to the voxels of a scan.

    Attributes:
        efficiency: B of the pulse in every voxel, smooth in space.
        scan_efficiency: B of the scan.
        ti_error: By how much the inversion times are too long [s]; 0 where the scan does not show it.
        share: Of the clear voxels, how many determine B.
        follows: Whether C follows B, for all volumes have one TR.
    """

    efficiency: Float[Tensor, "*voxels"]
    scan_efficiency: float
    ti_error: float
    share: float
    follows: bool

    def corrected(self, acquisition: Acquisition) -> Acquisition:
        """Return the acquisition with the error taken from its inversion times."""
        if self.ti_error == 0:
            return acquisition
        protocol = acquisition.protocol
        times = protocol.require("inversion_time", "the posterior") - self.ti_error
        return replace(acquisition, protocol=replace(protocol, inversion_time=times.clamp(min=1e-3)))


def scan_nuisances(
    fit: InversionRecoveryFit, acquisition: Acquisition, free: ParameterMaps
) -> tuple[ScanNuisances, ParameterMaps]:
    """Estimate the nuisances of a scan.

    Args:
        fit: The fit that was used.
        acquisition: What was fitted.
        free: The fit with B free and C of the fit.

    Returns:
        The nuisances, and the free fit with B and PD of the pulse and without the error of TI.
    """
    follows = fit.complete is None or _one_tr(acquisition)
    pulse = of_the_pulse(free, acquisition) if follows and fit.complete is not None else free
    clear = _clear(pulse)
    certain = clear & (pulse.status == VoxelStatus.OK) & (pulse.deviation("B") <= CERTAIN)
    share = float(certain.sum()) / max(1, int(clear.sum()))
    ti_error = _ti_error(pulse, certain) if share > ENOUGH and int(certain.sum()) >= FEWEST else 0.0
    pulse = _without_ti_error(pulse, ti_error)
    usual = torch.full(free.status.shape, USUAL_B, dtype=free.values.dtype, device=free.status.device)
    plain = ScanNuisances(
        efficiency=usual, scan_efficiency=USUAL_B, ti_error=ti_error, share=share, follows=follows
    )
    if int(clear.sum()) < FEWEST or not free.noise_sd:
        return plain, pulse
    alike = replace(fit, rician=False, complete=None if follows else fit.complete)
    level = _likeliest(alike, plain.corrected(acquisition), clear, free.noise_sd)
    efficiency = torch.full_like(usual, level)
    if share > ENOUGH and usual.ndim > 1:  # voxels in a list have no neighbours
        efficiency = (level + _smooth_deviation(pulse, level)).clamp(*B_ENDS).to(usual)
    return replace(plain, efficiency=efficiency, scan_efficiency=level), pulse


def of_the_pulse(free: ParameterMaps, acquisition: Acquisition) -> ParameterMaps:
    """Return a fit made with C = 2 as it would be with C = B; T1 is the same."""
    interval = _intervals(acquisition)
    left = torch.exp(-float(interval[0]) / free.value("T1")).nan_to_num(nan=0.0)
    b_at, pd_at = ([spec.name for spec in free.specs].index(name) for name in ("B", "PD"))
    values, std = free.values.clone(), free.std.clone()
    b = values[..., b_at]
    both = (1 + left - b * left).clamp(min=0.2)
    values[..., b_at] = b * (1 - left) / both
    std[..., b_at] = std[..., b_at] * (1 - left) * (1 + left) / both**2
    values[..., pd_at] = values[..., pd_at] * both / (1 - left)
    std[..., pd_at] = std[..., pd_at] * both / (1 - left)
    return replace(free, values=values, std=std)


def _one_tr(acquisition: Acquisition) -> bool:
    if acquisition.protocol.repetition_time is None:
        return False
    interval = _intervals(acquisition)
    return float(interval.max() - interval.min()) <= TR_SPREAD


def _intervals(acquisition: Acquisition) -> Float[Tensor, " volumes"]:
    """Return the time from the end of a readout's recovery to the next inversion [s]."""
    interval = recovery_interval(acquisition.protocol)
    if interval is None:
        return torch.full((acquisition.protocol.n_volumes,), math.inf, dtype=torch.float64)
    return interval


def _clear(free: ParameterMaps) -> Bool[Tensor, "*voxels"]:
    """Return the voxels with a value whose signal stands well above the noise."""
    fitted = torch.isfinite(free.value("B")) & torch.isfinite(free.value("PD"))
    return fitted & (free.value("PD") > CLEARLY * free.noise_sd) if free.noise_sd else fitted


def _ti_error(pulse: ParameterMaps, certain: Bool[Tensor, "*voxels"]) -> float:
    """Return δ from the slope of ln B in 1/T1, shrunk by a prior; 0 where it is not beyond doubt."""
    b, sd, t1 = (
        part[certain].double() for part in (pulse.value("B"), pulse.deviation("B"), pulse.value("T1"))
    )
    middle = _weighted_median(b, 1 / (sd**2 + LOCAL_SCATTER**2))
    kept = (t1 > SHORTEST_T1) & ((b - middle).abs() < 0.5)
    if int(kept.sum()) < FEWEST:
        return 0.0
    rate, log_b = 1 / t1[kept], b[kept].log()
    weight = 1 / ((sd[kept] / b[kept]) ** 2 + B_SCATTER**2)
    slope, spread = _robust_slope(rate, log_b, weight)
    deviation = SHARED * spread
    if abs(slope) > TI_END or abs(slope) <= CERTAIN_TI * deviation:
        return 0.0
    return slope * TI_PRIOR**2 / (TI_PRIOR**2 + deviation**2)


def _robust_slope(
    x: Float[Tensor, " voxels"], y: Float[Tensor, " voxels"], weight: Float[Tensor, " voxels"]
) -> tuple[float, float]:
    """Return the slope of y in x and its sd, outliers reweighted as under a Student-t law."""
    now, slope, spread = weight, y.new_zeros(()), y.new_ones(())
    for _ in range(10):
        total = now.sum()
        x_mean, y_mean = (now * x).sum() / total, (now * y).sum() / total
        spread = (now * (x - x_mean) ** 2).sum()
        slope = (now * (x - x_mean) * (y - y_mean)).sum() / spread
        residual = y - y_mean - slope * (x - x_mean)
        now = weight / (1 + residual**2 * weight / 4)
    return float(slope), float(1 / spread.sqrt())


def _without_ti_error(pulse: ParameterMaps, ti_error: float) -> ParameterMaps:
    """Return the fit with B as inversion times without the error would give it; T1 is the same."""
    if ti_error == 0:
        return pulse
    at = [spec.name for spec in pulse.specs].index("B")
    factor = torch.exp(-ti_error / pulse.value("T1")).nan_to_num(nan=1.0)
    values, std = pulse.values.clone(), pulse.std.clone()
    values[..., at] *= factor
    std[..., at] *= factor
    return replace(pulse, values=values, std=std)


def _likeliest(
    fit: InversionRecoveryFit, acquisition: Acquisition, clear: Bool[Tensor, "*voxels"], noise_sd: float
) -> float:
    """Return the B at which clear voxels together are likeliest, each one's misfit capped."""
    where = clear.flatten().nonzero()[:, 0].cpu()
    order = torch.randperm(len(where), generator=seeded_generator(0, "scan nuisances"))
    chosen = where[order[:N_VOXELS]].to(clear.device)
    data = acquisition.signal.reshape(-1, acquisition.signal.shape[-1])[chosen]
    grid = torch.linspace(*B_ENDS, N_EFFICIENCIES, device=data.device)
    held = grid[:, None].expand(-1, len(data))
    again = replace(
        acquisition,
        signal=data.expand(N_EFFICIENCIES, *data.shape),
        known={"B": held},
        mask=None,
        affine=None,
        saturated=None,
        noise_sd=noise_sd,
    )
    fitted = fit(again)
    degrees = data.shape[1] - 2
    cap = degrees + 4 * math.sqrt(2 * degrees)
    misfit = torch.zeros_like(held) if fitted.misfit is None else fitted.misfit * degrees
    rss = misfit.double().nan_to_num(nan=cap, posinf=cap).clamp(max=cap)
    cost = rss.sum(1) / CORRELATED + ((grid.double() - USUAL_B) / USUAL_B_SPREAD) ** 2
    least = int(cost.argmin())
    if not 0 < least < N_EFFICIENCIES - 1:
        return float(grid[least])
    before, at, after = (float(cost[least + step]) for step in (-1, 0, 1))
    shift = (before - after) / (2 * (before - 2 * at + after))
    return float(grid[least]) + float(grid[1] - grid[0]) * min(max(shift, -0.5), 0.5)


def _smooth_deviation(pulse: ParameterMaps, level: float) -> Float[Tensor, "*voxels"]:
    """Return by how much B differs from that of the scan, in a Gaussian window of each slice."""
    b, sd = pulse.value("B").double(), pulse.deviation("B").double()
    good = (pulse.status == VoxelStatus.OK) & torch.isfinite(b) & torch.isfinite(sd)
    good &= ((b - level).abs() < LOCAL_END) & (sd < LOCAL_SD)
    weight = torch.where(good, 1 / (sd**2 + LOCAL_SCATTER**2), torch.zeros_like(sd)).nan_to_num()
    apart = torch.where(good, b - level, torch.zeros_like(b))
    local = torch.zeros_like(b)
    for _ in range(N_REWEIGHTINGS):
        now = weight / (1 + (apart - local) ** 2 * weight / 4)
        whole = torch.stack([now * apart, now], dim=-1)
        smooth = from_slices(_blurred(as_slices(whole)), tuple(pulse.status.shape))
        local = smooth[..., 0] / (smooth[..., 1] + LOCAL_PRIOR)
    return local


def _blurred(slices: Float[Tensor, "slices channels x y"]) -> Float[Tensor, "slices channels x y"]:
    reach = int(2.5 * WINDOW)
    kernel = torch.exp(-(torch.arange(-reach, reach + 1).to(slices) ** 2) / (2 * WINDOW**2))
    kernel = kernel / kernel.sum()
    flat = slices.flatten(0, 1)[:, None]
    along = F.conv2d(flat, kernel.view(1, 1, -1, 1), padding=(reach, 0))
    return F.conv2d(along, kernel.view(1, 1, 1, -1), padding=(0, reach)).reshape(slices.shape)


def _weighted_median(values: Float[Tensor, " voxels"], weight: Float[Tensor, " voxels"]) -> float:
    order = values.argsort()
    total = weight[order].cumsum(0)
    at = torch.searchsorted(total, total[-1:] / 2).clamp(max=len(values) - 1)
    return float(values[order][at])
