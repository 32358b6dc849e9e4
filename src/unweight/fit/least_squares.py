"""Maximum-likelihood fit of any signal model, all voxels at once.

1. Starts: the best points of a grid over the parameters, the amplitude solved in closed form
   (`fit.starts`).
2. Levenberg–Marquardt from each start, in free parameters and within their believed ranges
   (`fit.levenberg_marquardt`); the lowest sum of squares stands, the next lowest is remembered.
3. Noise, Rician likelihood, standard deviations from the Cramér–Rao bound and status as in the fit of
   inversion recovery (`fit.inversion_recovery`).

A parameter is held where the acquisition knows a map of its name, or at a value in `fixed`; the other maps
that it knows, as B1, go to the model. The fit works in double precision. The special fits
(`fit.inversion_recovery`, `fit.relaxation`) find the same minima faster.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import NamedTuple, final

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from unweight.core.acquisition import Acquisition, SignalKind
from unweight.core.chi_square import chi_square_above
from unweight.core.errors import InputError, ProtocolError, UsageError
from unweight.core.estimator import Estimator, Progress
from unweight.core.maps import ParameterMaps, VoxelStatus
from unweight.core.parameter import ParameterSpec, Scale
from unweight.fit.assemble import VoxelEstimates, maps_on_grid
from unweight.fit.blocks import ExecutionContext, each_block, one_thread_per_operation
from unweight.fit.inversion_recovery import (
    AMBIGUOUS,
    APART,
    EDGE,
    IMPLAUSIBLE,
    SIGNAL_TO_NOISE,
    UNSETTLED,
    power_of_two_near,
)
from unweight.fit.levenberg_marquardt import Minimum, bounded_step, minimise, relative_size
from unweight.fit.local_noise import variance_scale_inside
from unweight.fit.noise_level import noise_from_residuals, thermal_noise
from unweight.fit.recovery_search import (
    N_RICIAN,
    RICIAN_BELOW,
    RICIAN_SETTLED,
    RIVAL_MARGIN,
    STEP_LIMIT,
    bessel_ratio,
    rician_log_likelihood,
)
from unweight.fit.starts import StartGrid, Starts, best_starts, joined, start_grid
from unweight.fit.voxel_problem import VoxelProblem
from unweight.signals.model import SeparableModel, SignalModel
from unweight.signals.noise import Gaussian
from unweight.signals.precision import cramer_rao_bound

NOTHING_FIXED: Mapping[str, float] = MappingProxyType({})
N_PROBES = 97  # grid points at which the protocol must tell the parameters from each other


@final
@dataclass(frozen=True, kw_only=True)
class LeastSquaresFit(Estimator[Acquisition]):
    """Fit of the parameters of a signal model to each voxel.

    The first parameter and the amplitude are what is measured: a voxel in which one of them ends on the
    edge of its range is OUT_OF_RANGE. The parameters after the amplitude are nuisances, and a voxel that
    ends on the edge of theirs is AT_LIMIT.

    Attributes:
        model: What the signal is as a function of its parameters.
        fixed: Values at which parameters are held, by name.
        n_starts: Starts of each voxel, at most.
        n_steps: Steps allowed from each start.
        rician: Use the Rician likelihood for magnitude data whose thermal noise is known.
        noise_window: Side of the square whose residuals scale the standard deviations [voxels, odd]; 0 for
            the bound itself.
    """

    model: SignalModel
    fixed: Mapping[str, float] = field(default_factory=lambda: NOTHING_FIXED)
    n_starts: int = 4
    n_steps: int = 100
    rician: bool = True
    noise_window: int = 11

    def __post_init__(self) -> None:
        if self.noise_window < 0 or (self.noise_window > 0 and self.noise_window % 2 == 0):
            raise UsageError(f"noise_window must be odd, or 0 for none, not {self.noise_window}")
        if self.n_starts < 1 or self.n_steps < 1:
            raise UsageError("the fit needs at least one starting value and one iteration")
        specs = {spec.name: spec for spec in self.model.parameters}
        for name, value in self.fixed.items():
            if name not in specs:
                raise UsageError(
                    f"{self._name} has no parameter {name}",
                    remedy="Its parameters are " + ", ".join(specs) + ".",
                )
            if not specs[name].lower <= value <= specs[name].upper:
                raise UsageError(
                    f"{name} cannot be fixed at {value:g} {specs[name].unit}",
                    remedy=f"It lies between {specs[name].lower:g} and {specs[name].upper:g}.",
                )

    @property
    def parameters(self) -> tuple[ParameterSpec, ...]:
        """Those of the model."""
        return self.model.parameters

    @property
    def _name(self) -> str:
        return type(self.model).__name__

    def accept(self, acquisition: Acquisition) -> None:
        """Return if the model gives such signals and the volumes determine its parameters and the noise.

        Raises:
            ProtocolError: Otherwise.
        """
        for name in self.model.timings:
            acquisition.protocol.require(name, self._name)
        kind = getattr(self.model, "kind", acquisition.kind)
        if kind is not acquisition.kind:
            raise ProtocolError(
                f"the model gives {kind.value} signals, but the volumes are {acquisition.kind.value}",
                remedy=f"Use a model of {acquisition.kind.value} signals, or correct the kind of volumes.",
            )
        probe = _probe(self.model, acquisition, self.fixed)
        free = probe.free
        if not free:
            raise ProtocolError(f"all parameters of {self._name} are fixed", remedy="Fix fewer.")
        grid = start_grid(probe)
        if probe.signal(grid.points[:1]).is_complex() is not acquisition.signal.is_complex():
            raise ProtocolError(
                f"{self._name} does not give {acquisition.kind.value} signals",
                remedy="Give magnitude images.",
            )
        self._check_determined(probe, grid)
        n_samples = acquisition.signal.shape[-1] * (2 if acquisition.signal.is_complex() else 1)
        if n_samples <= len(free) and acquisition.noise_sd is None:
            raise ProtocolError(
                f"{acquisition.signal.shape[-1]} volumes cannot determine "
                f"{' and '.join(spec.name for spec in free)} and the noise",
                remedy="Acquire more, or give the noise.",
            )

    def _check_determined(self, probe: VoxelProblem, grid: StartGrid) -> None:
        """Refuse a protocol that cannot tell the parameters apart wherever they are.

        Raises:
            ProtocolError: It names them.
        """
        every = len(grid.points) // N_PROBES + 1
        theta = probe.theta(grid.points[::every])
        known = {name: value.expand(len(theta)) for name, value in probe.known.items()}
        bound = cramer_rao_bound(
            self.model, theta, probe.protocol, Gaussian(sigma=1.0), known | _held(theta, self.fixed)
        )
        lost = [
            spec.name
            for spec, column in zip(self.model.parameters, bound.unbind(-1), strict=True)
            if bool(torch.isinf(column).all())
        ]
        if lost:
            raise ProtocolError(
                f"these volumes do not determine {' and '.join(lost)}, whatever the values are",
                remedy=f"Hold {lost[0]} at a value or a map, or acquire other timings.",
            )

    def __call__(self, acquisition: Acquisition, progress: Progress | None = None) -> ParameterMaps:
        """Fit every voxel inside the mask."""
        self.accept(acquisition)
        with one_thread_per_operation() as n_threads:
            where = ExecutionContext(device=acquisition.signal.device, n_threads=n_threads)
            return self._fit(acquisition, where, progress)

    def _fit(
        self, acquisition: Acquisition, where: ExecutionContext, progress: Progress | None
    ) -> ParameterMaps:
        inside = acquisition.inside
        if not bool(inside.any()):
            raise InputError(
                "no voxel to process: the mask is empty, or no voxel is finite",
                remedy="Check the mask and the images.",
            )
        problem, scale = self._problem(acquisition)
        strength = problem.data.abs().amax(1)
        degrees = problem.data.shape[1] * (2 if problem.data.is_complex() else 1) - len(problem.free)
        grid = start_grid(problem)
        results = each_block(
            len(problem), lambda block: self._search(problem.take(block), grid), where, progress
        )
        ended, starts = _joined([part for part, _ in results]), joined([part for _, part in results])
        given = None if acquisition.noise_sd is None else acquisition.noise_sd / scale
        sigma = given or noise_from_residuals(ended.rss, degrees, strength)
        ceiling = ended.rss + RIVAL_MARGIN * (sigma if sigma > 0 else 0.0) ** 2

        def challenge(block: slice, part: _Ended) -> _Ended:
            return self._challenge(problem.take(block), part, starts.take(block), ceiling[block])

        ended = _each(ended, where, challenge)
        sigma = given or noise_from_residuals(ended.rss, degrees, strength)
        thermal = thermal_noise(acquisition, sigma * scale) / scale if self.rician else math.nan
        if thermal > 0:
            ended = _each(ended, where, lambda block, part: _rician(problem.take(block), part, thermal))
        theta = problem.theta(ended.free)
        bounds = each_block(
            len(problem), lambda block: self._bound(problem.take(block), theta[block]), where
        )
        unit_std = torch.cat(bounds)
        misfit = ended.rss / (degrees * sigma**2) if degrees > 0 and sigma > 0 else 0 * ended.rss
        status = self._status(problem, ended, theta, unit_std * sigma, sigma)
        if degrees > 0:
            limit = chi_square_above(IMPLAUSIBLE, degrees)
            suspect = (status == VoxelStatus.OK) & (misfit * degrees > limit)
            status[suspect] = VoxelStatus.IMPLAUSIBLE
        status[~torch.isfinite(unit_std).all(-1)] = VoxelStatus.OUT_OF_RANGE
        status[(strength <= SIGNAL_TO_NOISE * sigma) | (strength == 0)] = VoxelStatus.NO_SIGNAL
        std = unit_std * sigma
        if degrees > 0:
            std *= variance_scale_inside(inside, misfit, status, self.noise_window).sqrt()[:, None]
        unit = self._units(theta, scale)
        estimates = VoxelEstimates(
            values=_wrapped(theta, self.parameters) * unit,
            std=std * unit,
            status=status,
            misfit=misfit if degrees > 0 else None,
        )
        notes: dict[str, str | float] = {
            "model": self._name,
            "likelihood": "Rician" if thermal > 0 else "least squares",
        }
        if thermal > 0:
            notes["thermal_noise_sd"] = thermal * scale
        return maps_on_grid(acquisition, self.parameters, estimates, noise_sd=sigma * scale, notes=notes)

    def _problem(self, acquisition: Acquisition) -> tuple[VoxelProblem, float]:
        """Return the voxels inside the mask in double precision, and what their signals are divided by."""
        inside = acquisition.inside
        signal = acquisition.signal[inside]
        signal = signal.to(torch.complex128 if signal.is_complex() else torch.float64)
        known = {name: values[inside].double() for name, values in acquisition.known.items()}
        amplitude = self._amplitude
        free = amplitude is not None and not {amplitude} & (known.keys() | self.fixed.keys())
        scale = power_of_two_near(float(signal.abs().max())) if free else 1.0
        problem = VoxelProblem(
            model=self.model,
            protocol=acquisition.protocol.at(inside),
            data=signal / scale,
            known=known,
            fixed=self.fixed,
        )
        return problem, scale

    @property
    def _amplitude(self) -> str | None:
        """Name of the amplitude, if the model has one."""
        return self.model.amplitude[0].name if isinstance(self.model, SeparableModel) else None

    def _units(self, theta: Tensor, scale: float) -> Float[Tensor, " parameters"]:
        """Return what each parameter is multiplied by to be in the unit of the input."""
        units = [scale if spec.name == self._amplitude else 1.0 for spec in self.parameters]
        return torch.tensor(units).to(theta)

    def _search(self, problem: VoxelProblem, grid: StartGrid) -> tuple["_Ended", Starts]:
        """Return the minimum that the best start of each voxel leads to, and the starts."""
        starts = best_starts(problem, grid, self.n_starts)
        best = minimise(_with_signs(problem, starts, 0), starts.free[0], self.n_steps)
        nothing = torch.full_like(best.rss, torch.inf)
        return _Ended(best.free, best.rss, best.step, best.free[:, 0], nothing), starts

    def _challenge(
        self, problem: VoxelProblem, ended: "_Ended", starts: Starts, ceiling: Float[Tensor, " voxels"]
    ) -> "_Ended":
        """Follow the other starts of each voxel as long as they could win or come close."""
        best = Minimum(free=ended.free, rss=ended.rss, step=ended.step)
        rival = Minimum(free=best.free, rss=ended.rival_rss, step=best.step)
        for rank in range(1, len(starts.free)):
            voxels = starts.usable[rank].nonzero()[:, 0]
            if not len(voxels):
                continue
            signed = _with_signs(problem, starts, rank).take(voxels)
            other = minimise(signed, starts.free[rank, voxels], self.n_steps, ceiling[voxels])
            held, second = best.take(voxels), rival.take(voxels)
            best = best.put(voxels, held.lower(other))
            rival = rival.put(voxels, second.lower(held.higher(other)))
        return _Ended(best.free, best.rss, best.step, rival.free[:, 0], rival.rss)

    def _bound(self, problem: VoxelProblem, theta: Tensor) -> Tensor:
        """Return the Cramér–Rao bound for unit noise."""
        known = {**problem.known, **_held(theta, self.fixed)}
        return cramer_rao_bound(self.model, theta, problem.protocol, Gaussian(sigma=1.0), known)

    def _status(
        self, problem: VoxelProblem, ended: "_Ended", theta: Tensor, std: Tensor, sigma: float
    ) -> UInt8[Tensor, " voxels"]:
        """Judge each voxel but for its misfit and strength."""
        status = torch.zeros_like(ended.rss, dtype=torch.uint8)
        first = problem.free[0]
        if isinstance(self.model, SeparableModel) and not problem.data.is_complex():
            place = self.parameters.index(first)
            spread = std[:, place] / (theta[:, place] if first.scale is Scale.LOG else 1.0)
            apart = (ended.rival_first - ended.free[:, 0]).abs()
            close = ended.rival_rss - ended.rss < AMBIGUOUS * sigma**2
            far = apart > (APART * spread).clamp(min=0.05)
            if getattr(self.model, "kind", SignalKind.SIGNED) is SignalKind.MAGNITUDE:
                status[close & far] = VoxelStatus.POLARITY_AMBIGUOUS
        low, high = problem.bounds()
        at_end = (ended.free <= low + EDGE) | (ended.free >= high - EDGE)
        nuisances = self._nuisances
        for place, spec in enumerate(problem.free):
            if spec.name in nuisances:
                status[at_end[:, place]] = VoxelStatus.AT_LIMIT
        for place, spec in enumerate(problem.free):
            if spec.name not in nuisances:
                status[at_end[:, place]] = VoxelStatus.OUT_OF_RANGE
        status[ended.step > UNSETTLED] = VoxelStatus.NOT_CONVERGED
        return status

    @property
    def _nuisances(self) -> frozenset[str]:
        """Names of the parameters after the amplitude."""
        names = [spec.name for spec in self.parameters]
        start = len(names) if self._amplitude is None else names.index(self._amplitude) + 1
        return frozenset(names[max(1, start) :])


class _Ended(NamedTuple):
    """Where the search of each voxel ended, and the first free parameter of the next lowest minimum."""

    free: Float[Tensor, "voxels free"]
    rss: Float[Tensor, " voxels"]
    step: Float[Tensor, " voxels"]
    rival_first: Float[Tensor, " voxels"]
    rival_rss: Float[Tensor, " voxels"]


def _with_signs(problem: VoxelProblem, starts: Starts, rank: int) -> VoxelProblem:
    """Return the problem with the signs of the starts of a rank, if they leave any open."""
    return problem if starts.signs is None else replace(problem, signs=starts.signs[rank])


def _joined(parts: Sequence[_Ended]) -> _Ended:
    return _Ended(*(torch.cat(rows) for rows in zip(*parts, strict=True)))


def _each(ended: _Ended, where: ExecutionContext, work: Callable[[slice, _Ended], _Ended]) -> _Ended:
    parts = each_block(
        len(ended.rss), lambda block: work(block, _Ended(*(row[block] for row in ended))), where
    )
    return _joined(parts)


def _probe(model: SignalModel, acquisition: Acquisition, fixed: Mapping[str, float]) -> VoxelProblem:
    """Return a problem of one voxel with typical maps, to see what the protocol can tell."""
    signal, protocol = acquisition.signal, acquisition.protocol
    volumes = signal.shape[-1]
    exact = torch.ones(1, volumes, dtype=torch.float64, device=signal.device)
    known = {
        name: values[acquisition.inside].double().nanmedian().reshape(1)
        for name, values in acquisition.known.items()
    }
    return VoxelProblem(
        model=model,
        protocol=protocol.at(tuple(0 for _ in protocol.voxels)),
        data=exact.to(torch.complex128) if signal.is_complex() else exact,
        known=known,
        fixed=fixed,
    )


def _held(theta: Tensor, fixed: Mapping[str, float]) -> dict[str, Tensor]:
    return {name: torch.full_like(theta[..., 0], value) for name, value in fixed.items()}


def _wrapped(theta: Tensor, specs: tuple[ParameterSpec, ...]) -> Tensor:
    """Return the parameters with each phase brought into one turn below its upper end."""
    columns = list(theta.unbind(-1))
    for place, spec in enumerate(specs):
        if spec.unit == "rad":
            turns = torch.ceil((columns[place] - spec.upper) / (2 * math.pi))
            columns[place] = columns[place] - 2 * math.pi * turns
    return torch.stack(columns, dim=-1)


def _rician(problem: VoxelProblem, ended: _Ended, sigma: float) -> _Ended:
    """Go on from the least-squares minimum to the maximum of the Rician likelihood.

    Each iteration replaces a magnitude by the expected signed signal given the present model and takes a
    Gauss–Newton step towards it (see `fit.recovery_search`).
    """
    before = problem.signal(ended.free).abs()
    voxels = (before.amin(-1) < RICIAN_BELOW * sigma).nonzero()[:, 0]
    if not len(voxels):
        return ended
    whole, active = ended.free[voxels].clone(), torch.arange(len(voxels), device=voxels.device)
    part, free = problem.take(voxels), whole
    low, high = problem.bounds()
    for _ in range(N_RICIAN):
        signal, slopes = part.signal_and_slopes(free)
        expected = part.data * bessel_ratio(part.data * signal / sigma**2)
        ends = (free <= low, free >= high)
        step = bounded_step(expected - signal, slopes, torch.zeros_like(free[:, 0]), ends)
        largest = relative_size(part, free, step)
        step = step * (STEP_LIMIT / 2 / largest.clamp(min=STEP_LIMIT / 2))[:, None]
        free = torch.minimum(torch.maximum(free + step, low), high)
        whole[active] = free
        going = (largest > RICIAN_SETTLED).nonzero()[:, 0]
        if not len(going):
            break
        active, free, part = active[going], free[going], part.take(going)
    lit = problem.take(voxels)
    moved = lit.signal(whole).abs()
    likelihood = [rician_log_likelihood(lit.data.T, rows.T, sigma) for rows in (before[voxels], moved)]
    rose = likelihood[1] >= likelihood[0]
    rss = torch.where(rose, (moved - lit.data).square().sum(-1), ended.rss[voxels])
    return ended._replace(
        free=ended.free.index_copy(0, voxels, torch.where(rose[:, None], whole, ended.free[voxels])),
        rss=ended.rss.index_copy(0, voxels, rss),
    )
