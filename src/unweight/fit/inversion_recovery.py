"""T1, PD and inversion efficiency from inversion recovery, by maximum likelihood, all voxels at once.

1. Start: the best T1 within each polarity (`fit.polarity`).
2. Variable projection: Gauss–Newton in ln T1 alone (`fit.recovery_projection`), for the best
   polarity and for every other one that could still win (`fit.recovery_search`).
3. Noise: one sigma for the acquisition, from the residuals (`fit.noise_level`) unless it is given.
4. Magnitude data whose thermal noise is known (given, or seen in the background): from there to the
   maximum of the Rician likelihood. Residuals alone do not license this: in vivo they hold more than
   thermal noise, and the correction near the null would overshoot.
5. Standard deviations from the Cramér–Rao bound at the estimate and a status for every voxel. The bound is
   at the noise of the scan; what the residuals of neighbouring voxels hold more or less than that goes into
   the standard deviations (`fit.local_noise`), for on a scanner errors are not thermal alone.
"""

import math
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from unweight.core.acquisition import Acquisition, SignalKind
from unweight.core.chi_square import chi_square_above
from unweight.core.errors import InputError, ProtocolError, UsageError
from unweight.core.estimator import Estimator, Progress
from unweight.core.maps import ParameterMaps, VoxelStatus
from unweight.core.parameter import ParameterSpec
from unweight.fit.assemble import VoxelEstimates, maps_on_grid
from unweight.fit.blocks import ExecutionContext, each_block, one_thread_per_operation
from unweight.fit.local_noise import variance_scale_inside
from unweight.fit.noise_level import noise_from_residuals, thermal_noise
from unweight.fit.polarity import polarity_dictionary
from unweight.fit.recovery_projection import RecoveryTiming, Row, recovery_basis, recovery_timing
from unweight.fit.recovery_search import Optimum, RecoverySearch
from unweight.signals.inversion_recovery import PD, T1, B

T1_STARTS = (1.2 * T1.lower, T1.upper / 1.2)
EDGE = 1e-6  # of ln T1, from the ends of its range
UNSETTLED = 1e-3  # a step in ln T1 that says the fit did not settle
SIGNAL_TO_NOISE = 5.0  # the strongest volume of a voxel that holds signal, over sigma
AMBIGUOUS = 4.0  # by how much of 2 ln L another polarity may be worse and still count
APART = 2.0  # standard deviations (and at least 5 %) by which its T1 must differ
IMPLAUSIBLE = 1e-6  # probability that noise alone misfits as badly


@final
@dataclass(frozen=True, kw_only=True)
class InversionRecoveryFit(Estimator[Acquisition]):
    """Maximum-likelihood fit of (T1, PD, B) to inversion recovery.

    B is held where the acquisition knows a map of it. Needs no weights and no choice of start.

    Attributes:
        complete: C of the signal equation (`signals.inversion_recovery`): 2 for a complete inversion
            behind the TR term, None to let it follow B. It matters only where TR is short.
        b_range: Inversion efficiencies to search. A voxel that ends on the edge of the full range is
            suspect (AT_LIMIT); on the edge of a narrower range, which is prior knowledge, it stands.
        rician: Use the Rician likelihood for magnitude data whose thermal noise is known.
        n_steps: Gauss–Newton steps allowed.
        noise_window: Side of the square whose residuals scale the standard deviations [voxels, odd]; 0 for
            the bound itself.
    """

    complete: float | None = 2.0
    b_range: tuple[float, float] = (B.lower, B.upper)
    rician: bool = True
    n_steps: int = 60
    noise_window: int = 11

    def __post_init__(self) -> None:
        if self.noise_window < 0 or (self.noise_window > 0 and self.noise_window % 2 == 0):
            raise UsageError(f"noise_window must be odd, or 0 for none, not {self.noise_window}")
        low, high = self.b_range
        if not B.lower <= low < high <= B.upper:
            raise UsageError(
                f"the range of inversion efficiency {low:g} to {high:g} is invalid",
                remedy=f"Give a lower and a higher value between {B.lower:g} and {B.upper:g}.",
            )

    @property
    def parameters(self) -> tuple[ParameterSpec, ...]:
        """T1, PD and B."""
        return (T1, PD, B)

    def accept(self, acquisition: Acquisition) -> None:
        """Return if there are more inversion times than parameters, and real signals.

        Raises:
            ProtocolError: Otherwise.
        """
        if acquisition.kind is SignalKind.COMPLEX:
            raise ProtocolError(
                "the inversion-recovery fit needs magnitude or signed volumes, not complex ones",
                remedy="Give the magnitude, or the real part after phase correction.",
            )
        times = acquisition.protocol.require("inversion_time", "the inversion-recovery fit")
        n_different = len(set(times.tolist()))
        n_free = _n_free(acquisition)
        if n_different <= n_free:
            fewer = "" if "B" in acquisition.known else f", or {n_free} with a fixed --efficiency"
            raise ProtocolError(
                f"{n_different} different inversion time{'s' * (n_different != 1)} cannot determine "
                f"{n_free} parameters and the noise",
                remedy=f"Give at least {n_free + 1}{fewer}.",
            )

    def __call__(self, acquisition: Acquisition, progress: Progress | None = None) -> ParameterMaps:
        """Fit every voxel inside the mask."""
        self.accept(acquisition)
        with one_thread_per_operation() as n_threads:
            return self._fit(acquisition, n_threads, progress)

    def _fit(self, acquisition: Acquisition, n_threads: int, progress: Progress | None) -> ParameterMaps:
        inside = acquisition.inside
        data = acquisition.signal[inside]
        if not len(data):
            raise InputError(
                "no voxel to process: the mask is empty, or no voxel is finite",
                remedy="Check the mask and the images.",
            )
        scale = power_of_two_near(float(data.abs().max()))
        data = data / scale
        known = acquisition.known.get("B")
        timing = recovery_timing(acquisition.protocol, self.complete, data)
        search = RecoverySearch(
            data=data,
            timing=timing,
            dictionary=polarity_dictionary(timing, acquisition.kind, T1_STARTS),
            b_range=self.b_range,
            known_b=None if known is None else known[inside].to(data),
            n_steps=self.n_steps,
            where=ExecutionContext(device=data.device, n_threads=n_threads),
        )
        degrees = data.shape[1] - _n_free(acquisition)
        strength = data.abs().amax(1)
        given = None if acquisition.noise_sd is None else acquisition.noise_sd / scale
        start = search.start()
        optimum = search.follow(start, progress)
        sigma = given or noise_from_residuals(optimum.rss, degrees, strength)
        optimum = search.challenge(optimum, start, sigma)
        sigma = given or noise_from_residuals(optimum.rss, degrees, strength)
        thermal = thermal_noise(acquisition, sigma * scale) / scale if self.rician else math.nan
        if thermal > 0:
            optimum = search.rician(optimum, thermal)
        exact = recovery_timing(acquisition.protocol, self.complete, data.double())
        parts = each_block(
            len(data),
            lambda block: unit_variance(optimum.take(block).double(), exact, known is not None),
            search.where,
        )
        optimum, variance = optimum.double(), torch.cat(parts) * sigma**2
        misfit = optimum.rss / (degrees * sigma**2) if sigma > 0 else torch.zeros_like(optimum.rss)
        status = self._status(optimum, variance[:, 0], sigma)
        suspect = (status == VoxelStatus.OK) & (misfit * degrees > chi_square_above(IMPLAUSIBLE, degrees))
        status[suspect] = VoxelStatus.IMPLAUSIBLE
        status[(strength <= SIGNAL_TO_NOISE * sigma) | (strength == 0)] = VoxelStatus.NO_SIGNAL
        notes: dict[str, str | float] = {"likelihood": "Rician" if thermal > 0 else "least squares"}
        if thermal > 0:
            notes["thermal_noise_sd"] = thermal * scale
        variance *= variance_scale_inside(inside, misfit, status, self.noise_window)[:, None]
        t1 = torch.exp(optimum.log_t1)
        values, std = torch.stack([t1, optimum.pd, optimum.b], dim=-1), variance.sqrt()
        std[:, 0] *= t1
        values[:, 1] *= scale
        std[:, 1] *= scale
        estimates = VoxelEstimates(values=values, std=std, status=status, misfit=misfit)
        return maps_on_grid(acquisition, (T1, PD, B), estimates, noise_sd=sigma * scale, notes=notes)

    def _status(self, optimum: Optimum, log_t1_variance: Row, sigma: float) -> UInt8[Tensor, " voxels"]:
        """Judge each voxel but for its misfit and strength."""
        status = torch.zeros_like(optimum.rss, dtype=torch.uint8)
        apart = (optimum.rival_log_t1 - optimum.log_t1).abs()
        close = optimum.rival_rss - optimum.rss < AMBIGUOUS * sigma**2
        far = apart > (APART * log_t1_variance.sqrt()).clamp(min=0.05)
        status[close & far] = VoxelStatus.POLARITY_AMBIGUOUS
        low, high = T1.free_range
        for limit, believed in zip(self.b_range, (B.lower, B.upper), strict=True):
            if limit == believed:
                status[optimum.b == limit] = VoxelStatus.AT_LIMIT
        edge = (optimum.log_t1 <= low + EDGE) | (optimum.log_t1 >= high - EDGE) | (optimum.pd <= 0)
        status[edge | ~torch.isfinite(log_t1_variance)] = VoxelStatus.OUT_OF_RANGE
        status[optimum.step.abs() > UNSETTLED] = VoxelStatus.NOT_CONVERGED
        return status


def unit_variance(
    optimum: Optimum, timing: RecoveryTiming, b_known: bool
) -> Float[Tensor, "voxels parameters"]:
    """Return the Cramér–Rao variances of (ln T1, PD, B) for unit noise, at the optimum.

    The diagonal of the inverse of JᵀJ, J the derivative of the signal, in closed form. A known B has
    no variance. A singular matrix gives infinity.
    """
    u, v, du, dv = recovery_basis(optimum.log_t1, timing)
    slope = optimum.pd * (du + optimum.b * dv)
    jacobian = (slope, u + optimum.b * v, optimum.pd * v)
    tt, pp, bb = ((j * j).sum(0) for j in jacobian)
    tp, tb, pb = ((jacobian[i] * jacobian[k]).sum(0) for i, k in ((0, 1), (0, 2), (1, 2)))
    if b_known:
        bb, tb, pb = torch.ones_like(bb), torch.zeros_like(tb), torch.zeros_like(pb)
    minors = (pp * bb - pb**2, tt * bb - tb**2, tt * pp - tp**2)
    determinant = tt * minors[0] - tp * (tp * bb - pb * tb) + tb * (tp * pb - pp * tb)
    variance = torch.stack(minors, dim=-1) / determinant[:, None]
    variance = torch.where(determinant[:, None] > 0, variance, torch.full_like(variance, math.inf))
    return variance * torch.tensor([1.0, 1.0, 0.0 if b_known else 1.0]).to(variance)


def power_of_two_near(value: float) -> float:
    """Return the power of two at or below a positive value, by which division is exact; 1 for 0."""
    return 2.0 ** math.floor(math.log2(value)) if value > 0 else 1.0


def _n_free(acquisition: Acquisition) -> int:
    return 2 if "B" in acquisition.known else 3
