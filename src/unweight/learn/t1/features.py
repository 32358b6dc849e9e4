"""Features of a voxel for the posterior network: a fit and its likelihood profile.

Input of the posterior network for a voxel: a fit and its likelihood, never the weighted images.

The maximum-likelihood fit, its Cramér–Rao bound and the likelihood profile say the same about any set of
inversion times and any TR, so one network serves all. Everything is in units of noise or a ratio: the
scale of the images cancels, and what else is in the field of view does not enter but through the noise
level. The derivative of ln T1 along the valley in which T1 and B trade off (`slope`) lets a network that
knows B from the neighbours correct T1.

The likelihood profile: how well each T1 of a fixed grid explains a voxel, whatever PD and B are.

    L(T1) = −½ · [ min_{PD ≥ 0, B} Σ_n (y_n − |S_n|)² − its least over T1 ] / sigma²,   at least −FLOOR

For a fixed T1 the sum of squares is a projection (`fit.recovery_projection`), so the whole profile is
one matrix product and a few operations per node. It says the same thing about any set of inversion times,
in any order: where the likelihood lies, how wide it is, and whether it has more than one mode.
"""

import math
from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from unweight.core.acquisition import Acquisition, SignalKind
from unweight.core.estimator import Progress
from unweight.core.maps import ParameterMaps, VoxelStatus
from unweight.fit.blocks import ExecutionContext, each_block, one_thread_per_operation
from unweight.fit.inversion_recovery import InversionRecoveryFit
from unweight.fit.local_noise import local_noise_scale
from unweight.fit.recovery_projection import RecoveryTiming, recovery_basis, recovery_timing
from unweight.learn.t1.nuisances import ScanNuisances, scan_nuisances

FEATURES_VERSION = 2  # 1: B held at 1.92 in every scan, one noise for all voxels
N_PARTS = 16  # of the profile, each represented by its best node
NODE_WIDTH = 0.06  # of ln T1, to which the nodes cannot tell a narrow profile from a point

CHANNELS = (
    "ln T1",
    "mean ln T1 of the profile",
    "ln width of the profile",
    "B",
    "ln sd of ln T1",
    "ln sd of B",
    "slope of ln T1 along B",
    "ln T1 at the usual B",
    "ln sd of ln T1 at the usual B",
    "ln misfit at the usual B",
    "shift of ln T1 to the usual B, in steps",
    "ln PD over noise",
    "ln misfit",
    "fit stands",
    "other polarity as good",
    "TR is known",
    "there is signal",
    *(f"profile {index}" for index in range(N_PARTS)),
)
PRESENT = CHANNELS.index("there is signal")
HELD, HELD_SD = CHANNELS.index("ln T1 at the usual B"), CHANNELS.index("ln sd of ln T1 at the usual B")
LOG_SD, LOG_SD_SPREAD = -3.0, 1.5
SD_ENDS = (1e-3, 3.0)
LOG_T1, LOG_T1_SPREAD = math.log(0.8), 1.2
LOG_SNR, LOG_SNR_SPREAD = 4.0, 1.5
# Ends of the scale in which corrections to ln T1, ln PD and B are counted.
SCALES = ((0.01, 1.0), (0.003, 0.5), (0.005, 0.3))
UNFITTED = (0.7, 0.7, 0.3)
# Of the noise of a voxel over that of the scan; more than this is not noise, and the misfit shows it.
NOISE_ENDS = (0.5, 1.8)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class FitFeatures:
    """Features of every voxel of a grid, and the frame in which the network answers.

    A network that predicts (d, s) for a parameter gives mean = base + d·scale and ln sd = ln scale + s.

    Attributes:
        channels: As `CHANNELS` names them; 0 where there is no signal.
        base: ln T1, ln PD and B to correct; PD in the unit of the input.
        scale: Step in which each is corrected, about its Cramér–Rao bound.
        present: Where there is signal.
    """

    channels: Float[Tensor, "*voxels channels"]
    base: Float[Tensor, "*voxels parameters"]
    scale: Float[Tensor, "*voxels parameters"]
    present: Bool[Tensor, "*voxels"]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class TwoFits:
    """A voxel's fit with B free, and with B held at what the scan as a whole shows.

    Attributes:
        free: The fit of T1, PD and B; B is that of the pulse where C follows it.
        held: The fit of T1 and PD with B held; B is what long and short T1 hinge on.
        acquisition: What was fitted, the inversion times without their error.
        complete: C of the signal equation; None where it follows B.
        nuisances: Of the scan; B is held at their `efficiency`.
        noise_scale: Noise of each voxel over that of the scan. All of the above is divided by it, so that
            the noise is the same everywhere.
    """

    free: ParameterMaps
    held: ParameterMaps
    acquisition: Acquisition
    complete: float | None
    nuisances: ScanNuisances
    noise_scale: Float[Tensor, "*voxels"]


def fit_twice(
    fit: InversionRecoveryFit, acquisition: Acquisition, progress: Progress | None = None
) -> TwoFits:
    """Fit with B free, find the nuisances of the scan, then fit with B held at them."""
    free = replace(fit, noise_window=0)(acquisition, progress)
    noise_scale = local_noise_scale(free, fit.noise_window).clamp(*NOISE_ENDS)
    even, free = _at_even_noise(acquisition, free, noise_scale)
    nuisances, free = scan_nuisances(fit, even, free)
    complete = None if nuisances.follows else fit.complete
    corrected = nuisances.corrected(even)
    mask = (free.status != VoxelStatus.MASKED) & (free.status != VoxelStatus.NO_SIGNAL)
    held = free
    if bool(mask.any()):
        # Its noise is what it leaves over: a B far from the held one makes the held fit count for less.
        again = replace(corrected, known={"B": nuisances.efficiency}, mask=mask, noise_sd=None)
        held = replace(fit, rician=False, complete=complete, noise_window=0)(again)
    return TwoFits(
        free=free,
        held=held,
        acquisition=corrected,
        complete=complete,
        nuisances=nuisances,
        noise_scale=noise_scale,
    )


def _at_even_noise(
    acquisition: Acquisition, free: ParameterMaps, noise_scale: Float[Tensor, "*voxels"]
) -> tuple[Acquisition, ParameterMaps]:
    """Return images and fit as if the noise were the same everywhere, each voxel divided by its own."""
    values, std = free.values.clone(), free.std.clone()
    for place, spec in enumerate(free.specs):
        if spec.name == "PD":
            values[..., place] /= noise_scale
        else:
            std[..., place] *= noise_scale
    misfit = None if free.misfit is None else free.misfit / noise_scale**2
    even = replace(acquisition, signal=acquisition.signal / noise_scale[..., None])
    return even, replace(free, values=values, std=std, misfit=misfit)


def fit_features(fits: TwoFits) -> FitFeatures:
    """Gather the features of a fitted acquisition, in single precision."""
    fitted, acquisition = fits.free, fits.acquisition
    status = fitted.status
    present = (status != VoxelStatus.MASKED) & (status != VoxelStatus.NO_SIGNAL)
    data = acquisition.signal[present].float()
    sigma = fitted.noise_sd or (float(data.abs().max()) * 1e-4 if len(data) else 1.0)
    timing = recovery_timing(acquisition.protocol, fits.complete, data)
    nodes = profile_nodes(timing, acquisition.kind)
    values, std = fitted.values[present].float(), fitted.std[present].float()
    misfit, which = _misfit(fitted, sigma)[present].float(), status[present]
    held = torch.stack(
        [
            fits.held.value("T1"),
            fits.held.deviation("T1"),
            _misfit(fits.held, sigma),
            fits.nuisances.efficiency,
        ],
        dim=-1,
    )[present].float()

    def work(block: slice) -> tuple[Tensor, Tensor, Tensor]:
        likelihood = profile(data[block], nodes, sigma)
        voxels = _Voxels(data[block], values[block], std[block], misfit[block], which[block], held[block])
        return _gather(voxels, likelihood, nodes.log_t1, timing, sigma)

    with one_thread_per_operation() as n_threads:
        parts = each_block(len(data), work, ExecutionContext(device=data.device, n_threads=n_threads))
    rows = [torch.cat(part) for part in zip(*parts, strict=True)] if parts else [data.new_zeros(0, 1)] * 3

    def spread(part: Tensor, n_columns: int) -> Tensor:
        whole = torch.zeros(*acquisition.voxels, n_columns, device=data.device)
        return whole.index_put((present,), part) if len(part) else whole

    base = spread(rows[1], 3)
    base[..., 1] += torch.where(present, fits.noise_scale.log(), torch.zeros_like(base[..., 1]))
    return FitFeatures(
        channels=spread(rows[0], len(CHANNELS)),
        base=base,
        scale=spread(rows[2], 3),
        present=present,
    )


@final
@dataclass(frozen=True, eq=False)
class _Voxels:
    """One block of voxels with signal."""

    data: Float[Tensor, "voxels volumes"]
    values: Float[Tensor, "voxels parameters"]
    std: Float[Tensor, "voxels parameters"]
    misfit: Float[Tensor, " voxels"]
    status: Tensor
    held: Float[Tensor, "voxels 4"]


def _gather(
    voxels: _Voxels, likelihood: Tensor, nodes: Tensor, timing: RecoveryTiming, sigma: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return channels, base and scale of a block."""
    weight = torch.softmax(likelihood, dim=0)
    mean = (weight * nodes[:, None]).sum(0)
    width = (weight * (nodes[:, None] - mean) ** 2).sum(0).sqrt()
    t1, pd, b = voxels.values.unbind(1)
    stands = torch.isfinite(t1) & (pd > 0)
    height = voxels.data.abs().amax(1).clamp(min=1e-6 * sigma)
    log_t1 = torch.where(stands, torch.log(t1), mean)
    log_pd = torch.where(stands, torch.log(pd), torch.log(height))
    held_t1, held_sd, held_misfit, held_b = voxels.held.unbind(1)
    b = torch.where(stands, b, held_b)
    slope = torch.where(stands, _slope(log_t1, b, timing), torch.zeros_like(b)).clamp(-5, 5)
    std = voxels.std / torch.stack([t1, pd, torch.ones_like(pd)], dim=1)
    std = torch.where(std.isfinite(), std, torch.tensor(UNFITTED).to(std))
    # Where the likelihood is wider than its curvature at the optimum says, it has more than one mode.
    std[:, 0] = torch.hypot(std[:, 0], (width - NODE_WIDTH).clamp(min=0))
    scale = torch.stack(
        [
            torch.where(stands, column, torch.full_like(column, unfitted)).clamp(*ends)
            for column, ends, unfitted in zip(std.unbind(1), SCALES, UNFITTED, strict=True)
        ],
        dim=1,
    )
    raw = torch.where(stands[:, None], std, scale).clamp(*SD_ENDS).log()
    held_stands = torch.isfinite(held_t1) & torch.isfinite(held_sd)
    held_log = torch.where(held_stands, torch.log(held_t1), log_t1)
    held_sd = torch.where(held_stands, held_sd / held_t1, torch.full_like(held_sd, SD_ENDS[1]))
    channels = (
        (log_t1 - LOG_T1) / LOG_T1_SPREAD,
        (mean - LOG_T1) / LOG_T1_SPREAD,
        torch.log(width + 0.02) + 2.0,
        (b - held_b).clamp(-1, 1) * 4.0,
        (raw[:, 0] - LOG_SD) / LOG_SD_SPREAD,
        (raw[:, 2] - LOG_SD) / LOG_SD_SPREAD,
        slope / 2.0,
        (held_log - LOG_T1) / LOG_T1_SPREAD,
        (held_sd.clamp(*SD_ENDS).log() - LOG_SD) / LOG_SD_SPREAD,
        torch.log(held_misfit + 0.05).clamp(-3, 5) / 2.0,
        ((held_log - log_t1) / scale[:, 0]).clamp(-4, 4),
        (log_pd - math.log(sigma) - LOG_SNR).clamp(-6, 6) / LOG_SNR_SPREAD,
        torch.log(voxels.misfit + 0.05).clamp(-3, 5) / 2.0,
        stands.float(),
        (voxels.status == VoxelStatus.POLARITY_AMBIGUOUS).float(),
        torch.full_like(b, float(timing.interval is not None)),
        torch.ones_like(b),
        *(likelihood.reshape(N_PARTS, N_NODES // N_PARTS, -1).amax(1) / FLOOR),
    )
    return torch.stack(channels, dim=1), torch.stack([log_t1, log_pd, b], dim=1), scale


def _slope(log_t1: Tensor, b: Tensor, timing: RecoveryTiming) -> Tensor:
    """Return the change of ln T1 per change of B along the valley: their covariance over B's variance."""
    u, v, du, dv = recovery_basis(log_t1, timing)
    slope, signal = du + b * dv, u + b * v
    tt, pp = (slope * slope).sum(0), (signal * signal).sum(0)
    tp, tb, pb = (slope * signal).sum(0), (slope * v).sum(0), (signal * v).sum(0)
    turned: Tensor = (tp * pb - tb * pp) / (tt * pp - tp**2).clamp(min=1e-12)
    return turned


def _misfit(fitted: ParameterMaps, sigma: float) -> Tensor:
    """Return the reduced chi-square at this noise, 1 where there is none."""
    misfit = fitted.misfit if fitted.misfit is not None else torch.ones_like(fitted.values[..., 0])
    if fitted.noise_sd is not None:
        misfit = misfit * (fitted.noise_sd / sigma) ** 2
    return misfit.nan_to_num(nan=1.0, posinf=100.0)


N_NODES = 64
T1_ENDS = (0.008, 7.0)  # [s]
EFFICIENCIES = (1.3, 2.1)  # where a real inversion pulse, and a TI a few ms off, can bring B
WITHOUT_TR = (1.0, 2.1)  # where an unknown TR can bring it as well
N_EFFICIENCIES = 13  # at which sign patterns are looked for
FLOOR = 20.0


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class ProfileNodes:
    """The nodes of one protocol: for each T1, every sign pattern that magnitudes can have lost.

    Attributes:
        along: The rows that give y·u and y·v with the signs of each pattern.
        energy: u·u, u·v and v·v of each row.
        node: To which T1 each row belongs.
        log_t1: ln T1 of the nodes.
        efficiencies: Smallest and largest B.
    """

    along: Float[Tensor, "two rows volumes"]
    energy: Float[Tensor, "three rows"]
    node: Int[Tensor, " rows"]
    log_t1: Float[Tensor, " nodes"]
    efficiencies: tuple[float, float]


def profile_nodes(timing: RecoveryTiming, kind: SignalKind, n_nodes: int = N_NODES) -> ProfileNodes:
    """Lay the nodes for one protocol, evenly in ln T1."""
    like = timing.inversion_time
    log_t1 = torch.linspace(math.log(T1_ENDS[0]), math.log(T1_ENDS[1]), n_nodes).to(like)
    u, v, _, _ = (part.expand(len(like), n_nodes) for part in recovery_basis(log_t1, timing))
    ends = WITHOUT_TR if timing.interval is None else EFFICIENCIES
    efficiencies = torch.linspace(*ends, N_EFFICIENCIES).to(like)
    signs, node = [], []
    for index in range(n_nodes):
        signal = u[:, index] + efficiencies[:, None] * v[:, index]
        sign = torch.where(signal < 0, -1.0, 1.0).to(like)
        patterns = torch.ones_like(sign[:1]) if kind is SignalKind.SIGNED else torch.unique(sign, dim=0)
        signs.append(patterns)
        node += [index] * len(patterns)
    sign, member = torch.cat(signs), torch.tensor(node, device=like.device)
    u, v = u.T[member], v.T[member]
    return ProfileNodes(
        along=torch.stack([sign * u, sign * v]),
        energy=torch.stack([(u * u).sum(1), (u * v).sum(1), (v * v).sum(1)]),
        node=member,
        log_t1=log_t1,
        efficiencies=ends,
    )


def profile(
    data: Float[Tensor, "voxels volumes"], nodes: ProfileNodes, sigma: float
) -> Float[Tensor, "nodes voxels"]:
    """Return L at each node, 0 at the best and −FLOOR at the worst.

    Args:
        data: Volumes of each voxel.
        nodes: Of their protocol.
        sigma: Noise standard deviation of one channel [unit of the data].
    """
    zu, zv = nodes.along @ data.T
    uu, uv, vv = nodes.energy[:, :, None]
    pd, q = vv * zu - uv * zv, uu * zv - uv * zu
    low, high = nodes.efficiencies
    # Where PD would be negative, or nothing tells B (v = 0), the best B is an end of its range.
    edge = torch.where(q < 0, low, high)
    b = torch.where(pd > 0, q / pd, edge).clamp(low, high)
    explained = (zu + b * zv).clamp(min=0) ** 2 / (uu + b * (2 * uv + b * vv))
    best = torch.zeros(len(nodes.log_t1), len(data), dtype=data.dtype, device=data.device)
    best.scatter_reduce_(0, nodes.node[:, None].expand_as(explained), explained, "amax")
    fall = (best - best.amax(0)) / (2 * sigma**2)
    return fall.clamp(min=-FLOOR)
