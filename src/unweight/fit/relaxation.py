"""R2*, R2 or T2 and the signal at echo time zero, from echoes: S(TE) = S0·exp(−TE·R).

1. The noise floor (`fit.noise_floor`): from the noise, if that is given, else from the background, else
   from the residuals.
2. A solver (`fit.decay_solver`) fits every voxel; near the floor the fit is repeated above it
   (`fit.decay_fit`). A voxel is OUT_OF_RANGE where echoes after the first hold too little to tell its rate.
3. Noise: one sigma for the acquisition, from the residuals (`fit.noise_level`) unless it is given.
4. Standard deviations from the Cramér–Rao bound at the estimate. Least squares reaches it, and so does the
   log-linear fit above the noise floor. ARLO does not (`fit.arlo`): its error is larger than the standard
   deviation that is reported.
5. A status for every voxel. Real decay is often not exponential (fat, fields that vary within the voxel,
   stimulated echoes); such voxels keep their value and are IMPLAUSIBLE.
"""

import math
from dataclasses import dataclass, field
from typing import NamedTuple, final

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from unweight.core.acquisition import Acquisition, SignalKind
from unweight.core.chi_square import chi_square_above
from unweight.core.errors import InputError, ProtocolError, UsageError
from unweight.core.estimator import Estimator, Progress
from unweight.core.maps import ParameterMaps, VoxelStatus
from unweight.core.parameter import ParameterSpec
from unweight.fit.assemble import VoxelEstimates, maps_on_grid
from unweight.fit.blocks import ExecutionContext, each_block, one_thread_per_operation
from unweight.fit.decay_fit import FittedDecay, fit_above, fit_plain, floor_of_residuals, noise_of
from unweight.fit.decay_solver import DecaySolver
from unweight.fit.log_linear import LogLinear
from unweight.fit.noise_floor import DIM, SAMPLE, NoiseFloor, floor_of_background
from unweight.fit.noise_level import bright
from unweight.signals.parameters import R2STAR, S0

SIGNAL_TO_NOISE = 5.0  # the strongest echo of a voxel that holds signal, over sigma
WITHIN_NOISE = 3.0  # standard deviations by which a rate may be negative
IMPLAUSIBLE = 1e-6  # probability that noise alone misfits as badly
NOISE_VOXELS = 1 << 18  # as many, evenly spread, tell the noise to 0.1 %
NOTHING = 1e-30  # stands for a signal of zero in a logarithm
FOLLOWED = 6.5  # sigma in all echoes after the first, below which they do not tell a fast decay

Row = Float[Tensor, " voxels"]


@final
@dataclass(frozen=True, kw_only=True)
class RelaxationFit(Estimator[Acquisition]):
    """One exponential through the echoes of every voxel; complex echoes by their magnitude.

    A rate that is negative within its noise stands, so that the mean over fluid is not biased. A time
    from a rate that is not positive, or longer than the quantity's range, is OUT_OF_RANGE.

    Attributes:
        solver: How the decay is found. It works in the dtype of the input unless it says otherwise.
        quantity: The first map: a rate [1/s], or a time [s], which is one over the rate.
        skip_first: Earliest echoes left out. The first of a spin-echo train lacks the stimulated
            contributions that the others have.
    """

    solver: DecaySolver = field(default_factory=LogLinear)
    quantity: ParameterSpec = R2STAR
    skip_first: int = 0

    def __post_init__(self) -> None:
        if self.quantity.unit not in ("s", "1/s"):
            raise UsageError(
                f"{self.quantity.name} [{self.quantity.unit}] is not a relaxation rate or time",
                remedy="Give a quantity in 1/s or s.",
            )
        if self.skip_first < 0:
            raise UsageError(f"skip_first is {self.skip_first}", remedy="Give 0 or more.")

    @property
    def parameters(self) -> tuple[ParameterSpec, ...]:
        """The quantity and S0."""
        return (self.quantity, S0)

    def accept(self, acquisition: Acquisition) -> None:
        """Return if there are enough different echo times for the decay, and the noise if need be.

        Raises:
            ProtocolError: Otherwise.
        """
        times = acquisition.protocol.require("echo_time", "the relaxation fit").sort().values
        times = times[self.skip_first :]
        n_different = len(set(times.tolist()))
        fewer = ", or reduce --skip-first" if self.skip_first else ""
        if n_different < 2:
            raise ProtocolError(
                f"{n_different} echo{'es' * (n_different != 1)} cannot determine the decay",
                remedy=f"Give at least {3 + self.skip_first} echoes{fewer}.",
            )
        if n_different < 3 and acquisition.noise_sd is None:
            raise ProtocolError(
                f"{n_different} echoes cannot determine the decay and the noise",
                remedy=f"Give at least {3 + self.skip_first} echoes{fewer}, or give --noise-sd.",
            )
        self.solver.accept(times)

    def __call__(self, acquisition: Acquisition, progress: Progress | None = None) -> ParameterMaps:
        """Fit every voxel inside the mask."""
        self.accept(acquisition)
        inside = acquisition.inside
        with one_thread_per_operation() as n_threads:
            return self._fit(acquisition, inside, n_threads, progress)

    def _fit(
        self,
        acquisition: Acquisition,
        inside: Bool[Tensor, "*voxels"],
        n_threads: int,
        progress: Progress | None,
    ) -> ParameterMaps:
        echoes = _echoes(acquisition, inside, self.skip_first)
        where = ExecutionContext(device=inside.device, n_threads=n_threads)
        degrees = len(echoes.times) - 2
        plain = _joined(
            each_block(
                len(echoes),
                lambda block: fit_plain(echoes.take(block), echoes.times, self.solver),
                where,
                progress,
            )
        )
        floor = _floor(acquisition, echoes, plain)
        fitted = plain if floor is None else _above(echoes, plain, floor, where)
        # An odd stride does not fall on the same column of a grid again and again.
        sample = fitted.take(slice(None, None, len(echoes) // NOISE_VOXELS | 1))
        noise = _Noise(sigma=acquisition.noise_sd or noise_of(sample, degrees, floor), floor=floor)
        parts = each_block(
            len(echoes), lambda block: self._judge(fitted.take(block), noise, degrees), where
        )
        judged = _Judged(*(torch.cat(columns) for columns in zip(*parts, strict=True)))
        return self._on_grid(acquisition, echoes, judged, noise)

    def _judge(self, fitted: FittedDecay, noise: "_Noise", degrees: int) -> "_Judged":
        """Return values, their standard deviations, misfit and status of each voxel."""
        sigma = noise.sigma
        rate, rate_std = fitted.rate, fitted.rate_std * sigma
        value, std = rate, rate_std
        negative = rate + WITHIN_NOISE * rate_std < 0
        beyond = (rate > self.quantity.upper) | negative
        if self.quantity.unit == "s":
            value, std = 1 / rate, rate_std / rate.square()
            beyond = (rate <= 0) | (value < self.quantity.lower) | (value > self.quantity.upper)
        beyond |= ~(torch.isfinite(value) & torch.isfinite(std) & torch.isfinite(fitted.amplitude))
        status = torch.zeros_like(rate, dtype=torch.uint8)
        misfit = fitted.rss / (max(degrees, 1) * sigma**2) if sigma > 0 else torch.zeros_like(rate)
        if degrees > 0:
            limit = chi_square_above(IMPLAUSIBLE, degrees) / degrees
            status.masked_fill_(misfit > limit, int(VoxelStatus.IMPLAUSIBLE))
        unknown = fitted.followed < (FOLLOWED * sigma) ** 2
        status.masked_fill_(~fitted.settled, int(VoxelStatus.NOT_CONVERGED))
        beyond = (beyond & fitted.settled) | unknown
        status.masked_fill_(beyond, int(VoxelStatus.OUT_OF_RANGE))
        empty = (fitted.strength <= noise.top) | (fitted.strength <= 0)
        status.masked_fill_(empty, int(VoxelStatus.NO_SIGNAL))
        failed = beyond | ~fitted.settled | empty
        return _Judged(
            torch.stack((value, fitted.amplitude), dim=-1).masked_fill_(failed[:, None], math.nan),
            torch.stack((std, fitted.amplitude_std * sigma), dim=-1).masked_fill_(
                failed[:, None], math.nan
            ),
            misfit.masked_fill_(failed, math.nan),
            status,
        )

    def _on_grid(
        self, acquisition: Acquisition, echoes: "_Echoes", judged: "_Judged", noise: "_Noise"
    ) -> ParameterMaps:
        """Put the voxels back where they came from."""
        values, std, misfit, status = judged
        estimates = VoxelEstimates(
            values=values, std=std, status=status, misfit=misfit if len(echoes.times) > 2 else None
        )
        notes = {
            "solver": type(self.solver).__name__,
            "echoes": len(echoes.times),
            **noise.notes(acquisition.kind),
        }
        return maps_on_grid(acquisition, self.parameters, estimates, noise_sd=noise.sigma, notes=notes)


class _Noise(NamedTuple):
    """The noise that standard deviations rest on, and where magnitudes end."""

    sigma: float
    floor: NoiseFloor | None

    @property
    def top(self) -> float:
        """What a voxel without signal does not exceed."""
        least = SIGNAL_TO_NOISE * self.sigma
        return least if self.floor is None else max(least, self.floor.top)

    def notes(self, kind: SignalKind) -> dict[str, str | float]:
        """Return the floor as sidecars record it."""
        if kind is SignalKind.SIGNED:
            return {"noise_floor_from": "none: signed values have no noise floor"}
        if self.floor is None:
            return {"noise_floor_from": "unknown: neither background nor residuals contain noise"}
        return {
            "noise_floor": self.floor.mean,
            "noise_floor_channels": round(self.floor.n_channels, 2),
            "noise_floor_from": self.floor.source.value,
        }


class _Judged(NamedTuple):
    """The results of each voxel."""

    values: Float[Tensor, "voxels parameters"]
    std: Float[Tensor, "voxels parameters"]
    misfit: Row
    status: UInt8[Tensor, " voxels"]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class _Echoes:
    """The signal of the voxels to work on.

    Attributes:
        signal: All voxels of the acquisition, all volumes.
        times: Echo times used, rising [s].
        volumes: Which volumes they are; None for all, as they are.
        index: Voxels to work on; None for all.
    """

    signal: Tensor
    times: Float[Tensor, " echoes"]
    volumes: Int[Tensor, " echoes"] | None
    index: Int[Tensor, " inside"] | None

    def __len__(self) -> int:
        return len(self.signal) if self.index is None else len(self.index)

    def take(self, block: slice | Int[Tensor, " block"]) -> Float[Tensor, "echoes block"]:
        """Return some voxels, echo by echo, for then each step runs along memory."""
        voxels = self.signal[block] if self.index is None else self.signal[self.index[block]]
        if voxels.is_complex():
            voxels = voxels.abs()
        rows = voxels.T if self.volumes is None else voxels.T[self.volumes]
        return rows.contiguous()

    def everywhere(self) -> Float[Tensor, "voxels echoes"]:
        """Return the magnitudes of no more voxels than the floor takes, by rising echo time."""
        voxels = self.signal[:: len(self.signal) // SAMPLE | 1]
        voxels = voxels.abs() if voxels.is_complex() else voxels
        return voxels if self.volumes is None else voxels[:, self.volumes]


def _echoes(acquisition: Acquisition, inside: Bool[Tensor, "*voxels"], skip_first: int) -> _Echoes:
    if not bool(inside.any()):
        raise InputError(
            "no voxel to process: the mask is empty, or no voxel is finite",
            remedy="Check the mask and the images.",
        )
    times = acquisition.protocol.require("echo_time", "the relaxation fit")
    order = torch.argsort(times, stable=True)[skip_first:]
    in_order = len(order) == len(times) and bool((order.diff() == 1).all())
    signal = acquisition.signal.reshape(-1, len(times))
    real = signal.real if signal.is_complex() else signal
    return _Echoes(
        signal=signal,
        times=times[order].to(real),
        volumes=None if in_order else order.to(signal.device),
        index=None if bool(inside.all()) else inside.reshape(-1).nonzero()[:, 0],
    )


def _joined(blocks: list[FittedDecay]) -> FittedDecay:
    return FittedDecay(*(torch.cat(parts) for parts in zip(*blocks, strict=True)))


def _floor(acquisition: Acquisition, echoes: _Echoes, plain: FittedDecay) -> NoiseFloor | None:
    """Return the noise floor, or None if nothing tells it."""
    signed = acquisition.kind is SignalKind.SIGNED
    if acquisition.noise_sd is not None:
        return NoiseFloor(sigma=acquisition.noise_sd, n_channels=0.0 if signed else 1.0)
    every = slice(None, None, len(echoes) // SAMPLE | 1)
    sample = plain.take(every)
    if not signed:
        lit = sample.take(bright(sample.strength.clamp(min=NOTHING), DIM))
        residual = noise_of(lit, len(echoes.times) - 2, None)
        air = floor_of_background(echoes.everywhere(), residual)
        if air is not None:
            return air
    return floor_of_residuals(echoes.take(every), echoes.times, sample, 0.0 if signed else 1.0)


def _above(echoes: _Echoes, plain: FittedDecay, floor: NoiseFloor, where: ExecutionContext) -> FittedDecay:
    """Fit voxels near the floor again, above it."""
    near = plain.near(floor)
    # Real parts have no floor, and two echoes nothing to fit.
    if not len(near) or (floor.n_channels == 0 and len(echoes.times) < 3):
        return plain
    blocks = each_block(
        len(near), lambda block: fit_above(echoes.take(near[block]), echoes.times, floor), where
    )
    return plain.replaced(near, _joined(blocks))
