"""T2, S0 and B1 from the echoes of a spin-echo train, stimulated echoes included (`signals.epg`).

1. The slice profile: of several models the one that leaves least in a sample of bright voxels, by the
   median residual sum of squares; a later one is taken only where it leaves clearly less than the first.
2. The noise floor, as in the fit of one exponential (`fit.relaxation`): from the noise, if that is given,
   else from the background, else from the residuals of the sample.
3. Start: the point of a table of signals (`fit.signal_table`) that explains most of each voxel.
4. Levenberg–Marquardt in (ln T2, B1, S0) between the points of the table. Magnitudes above a floor by their
   squares: with y = M² − F/2 and λ = S² + F/2 the variance of y is 4σ²·λ, whatever the channels
   (`fit.noise_floor`), and quasi-likelihood is Fisher scoring with

       residual (y − λ)/(2·√λ),    slope S/√λ · ∂S,    objective ½·Σ λ − y·ln λ.

   Without a floor it is least squares.
5. Standard deviations from the Cramér–Rao bound at the estimate, and a status for every voxel.

T1 is held at one value or a map, B1 is sought unless it is. B1 and 2 − B1 are the same for equal angles of
180° (`MultiEchoSpinEcho.folds`), and the lower one is reported.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import NamedTuple, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unweight.core.acquisition import Acquisition, SignalKind
from unweight.core.chi_square import chi_square_above
from unweight.core.errors import InputError, ProtocolError, UsageError
from unweight.core.estimator import Estimator, Progress
from unweight.core.maps import ParameterMaps, VoxelStatus
from unweight.core.parameter import ParameterSpec
from unweight.core.protocol import Protocol
from unweight.fit.assemble import VoxelEstimates, maps_on_grid
from unweight.fit.blocks import ExecutionContext, one_thread_per_operation
from unweight.fit.echo_train_search import (
    HIGHEST_B1,
    LOWEST_B1,
    TINY,
    UNSETTLED,
    Fitted,
    Row,
    Trains,
    TrainSearch,
    fit_lit,
)
from unweight.fit.noise_floor import SAMPLE, FloorSource, NoiseFloor, floor_of_background
from unweight.fit.noise_level import bright, noise_from_residuals
from unweight.fit.relaxation import FOLLOWED, IMPLAUSIBLE, SIGNAL_TO_NOISE
from unweight.fit.signal_table import SignalTable, TableAxis, axis_between, signal_table
from unweight.signals.epg import MULTI_ECHO_SPIN_ECHO, MultiEchoSpinEcho, echo_train, sinc_profile
from unweight.signals.model import linear_basis
from unweight.signals.parameters import B1, S0, T1, T2

WIDTHS = (1.0, 1.25, 1.5, 2.0)  # of the refocusing slice over the excited one
T1_HELD: Mapping[str, float] = MappingProxyType({"T1": 1.0})
FEWEST = 4  # echoes: three parameters and the noise
T1_RANGE = (0.1, 5.0)  # of a map [s]; beyond it the echoes hardly change
STEP_T2, STEP_B1, STEP_T1 = 0.2, 0.02, 0.6  # of ln T2, B1 and ln T1 in a table
COARSE = 2.0  # times those where a profile is chosen
CHOOSING = 1024  # voxels that choose a profile
LIT = 0.3  # of the strength of bright voxels, below which a voxel does not choose
CLEARLY = 0.97  # of the residual of the first profile, which another must stay below
EDGE = 1e-3  # of ln T2 and B1
MOST_ROUNDS, SAME = 4, 0.02  # of the floor from residuals; share by which it still changes
NOISELESS = 1e-4  # σ over the signal, below which there is what a table is off by, and no noise


@cache
def train_models() -> tuple[MultiEchoSpinEcho, ...]:
    """Return the models that a fit chooses from: a uniform slice, then sinc pulses of rising width."""
    return (
        MULTI_ECHO_SPIN_ECHO,
        *(MultiEchoSpinEcho(profile=sinc_profile(width)) for width in WIDTHS),
    )


@final
@dataclass(frozen=True, kw_only=True)
class EchoTrainFit(Estimator[Acquisition]):
    """Fit of a spin-echo train with stimulated echoes to each voxel, in double precision.

    Attributes:
        models: Of the train. With several, that of the slice profile which the data choose.
        fixed: Values at which T1, or B1, are held where no map is known.
        skip_first: Earliest echoes left out; the train begins with the first pulse nevertheless.
        n_steps: Steps allowed.
    """

    models: tuple[MultiEchoSpinEcho, ...] = field(default_factory=train_models)
    fixed: Mapping[str, float] = field(default_factory=lambda: T1_HELD)
    skip_first: int = 0
    n_steps: int = 60

    def __post_init__(self) -> None:
        if not self.models or self.n_steps < 1 or self.skip_first < 0:
            raise UsageError(
                "the echo-train fit needs at least one model, n_steps of at least 1 and skip_first of at "
                "least 0"
            )
        ranges = {"T1": (T1.lower, T1.upper), "B1": (LOWEST_B1, HIGHEST_B1)}
        for name, value in self.fixed.items():
            if name not in ranges:
                raise UsageError(
                    f"{name} cannot be fixed in the fit of an echo train", remedy="T1 and B1 can be fixed."
                )
            low, high = ranges[name]
            if not low <= value <= high:
                raise UsageError(
                    f"{name} cannot be fixed at {value:g}", remedy=f"It lies between {low:g} and {high:g}."
                )

    @property
    def parameters(self) -> tuple[ParameterSpec, ...]:
        """T2, S0 and B1."""
        return (T2, S0, B1)

    def accept(self, acquisition: Acquisition) -> None:
        """Return if the volumes are enough echoes of one evenly spaced train.

        Raises:
            ProtocolError: Otherwise.
        """
        if acquisition.kind is SignalKind.COMPLEX:
            raise ProtocolError(
                "the fit of an echo train does not accept complex images", remedy="Give magnitude images."
            )
        times = acquisition.protocol.require("echo_time", "the fit of an echo train")
        if times.ndim > 1:
            raise ProtocolError(
                "the fit of an echo train takes one set of echo times for all voxels",
                remedy="Fit voxels with other echo times apart.",
            )
        numbers = echo_train(times).numbers
        if len(set(numbers)) != max(numbers) - min(numbers) + 1:
            raise ProtocolError(
                f"echoes are missing in the middle of the train: there are {sorted(set(numbers))}",
                remedy="Give all from the first to the last, or fit one exponential: "
                "`unweight t2 --method nonlinear`.",
            )
        n_echoes = len(set(numbers)) - self.skip_first
        if n_echoes < FEWEST:
            raise ProtocolError(
                f"{n_echoes} echoes cannot determine T2, S0 and B1, and the noise",
                remedy="Acquire at least 4, or fit one exponential: `unweight t2 --method nonlinear`.",
            )
        for model in self.models:
            if 1 < len(model.refocusing) < max(numbers):
                raise ProtocolError(
                    f"{len(model.refocusing)} refocusing angles for {max(numbers)} pulses",
                    remedy="Give the angle of every pulse up to the last echo, or one for all.",
                )

    def __call__(self, acquisition: Acquisition, progress: Progress | None = None) -> ParameterMaps:
        """Fit every voxel inside the mask."""
        self.accept(acquisition)
        with one_thread_per_operation() as n_threads:
            where = ExecutionContext(device=torch.device("cpu"), n_threads=n_threads)
            return self._fit(acquisition, where, progress)

    def _fit(
        self, acquisition: Acquisition, where: ExecutionContext, progress: Progress | None
    ) -> ParameterMaps:
        trains = self._trains(acquisition)
        sample = trains.take(_bright_sample(trains.data))
        model, first = self._profile(sample)
        search = self._search(model, trains)
        degrees = trains.data.shape[1] - 2 - ("B1" not in trains.held)
        floor = self._floor(acquisition, sample, search, degrees)
        fitted = fit_lit(search, trains, floor, where, progress)
        given = acquisition.noise_sd
        sigma = given or noise_from_residuals(fitted.rss, degrees, fitted.strength)
        sigma = max(sigma, NOISELESS * float(fitted.strength.median()))
        noise = _Noise(sigma=sigma, floor=floor, degrees=degrees)
        estimates = _judged(search, trains, fitted, noise, acquisition.signal.device)
        notes: dict[str, str | float] = {
            "model": type(model).__name__,
            "echoes": trains.data.shape[1],
            "slice_profile": _profile_name(model),
            "residual_over_uniform_profile": round(first, 4),
            **({} if floor is None or floor.n_channels == 0 else {"noise_floor": floor.mean}),
            "noise_floor_from": _source(acquisition.kind, floor),
        }
        return maps_on_grid(acquisition, self.parameters, estimates, noise_sd=sigma, notes=notes)

    def _trains(self, acquisition: Acquisition) -> "Trains":
        inside = acquisition.inside
        if not bool(inside.any()):
            raise InputError(
                "no voxel to process: the mask is empty, or no voxel is finite",
                remedy="Check the mask and the images.",
            )
        times = acquisition.protocol.require("echo_time", "the fit of an echo train").double().cpu()
        order = torch.argsort(times, stable=True)[self.skip_first :]
        held = {name: torch.tensor(value, dtype=torch.float64) for name, value in self.fixed.items()}
        for name in ("B1", "T1"):
            if name in acquisition.known:
                held[name] = acquisition.known[name][inside].double().cpu()
        held.setdefault("T1", torch.tensor(T1_HELD["T1"], dtype=torch.float64))
        return Trains(
            data=acquisition.signal[inside][:, order.to(inside.device)].double().cpu(),
            protocol=Protocol(echo_time=times[order]),
            held=held,
            modulus=acquisition.kind is SignalKind.MAGNITUDE,
        )

    def _search(self, model: MultiEchoSpinEcho, trains: "Trains", coarse: float = 1.0) -> "TrainSearch":
        table = self._table(model, trains, coarse)
        return TrainSearch(model=model, table=table, modulus=trains.modulus, n_steps=self.n_steps)

    def _table(self, model: MultiEchoSpinEcho, trains: "Trains", coarse: float) -> SignalTable:
        """Return the table over ln T2, B1 and ln T1; what all voxels share is one point of its axis."""
        b1, t1 = trains.held.get("B1"), trains.held["T1"]
        fixed_b1 = b1 is not None and b1.ndim == 0
        axes = (
            axis_between(*T2.free_range, coarse * STEP_T2),
            TableAxis(start=float(b1))
            if fixed_b1 and b1 is not None
            else axis_between(
                LOWEST_B1, HIGHEST_B1, coarse * STEP_B1 * (1 if model.profile.is_uniform else 1.5)
            ),
            TableAxis(start=math.log(float(t1)))
            if t1.ndim == 0
            else axis_between(math.log(T1_RANGE[0]), math.log(T1_RANGE[1]), coarse * STEP_T1),
        )

        def signal(places: Float[Tensor, "points axes"]) -> Tensor:
            t2, angle, recovery = places.unbind(-1)
            theta = torch.stack((t2.exp(), torch.ones_like(t2), angle, recovery.exp()), dim=-1)
            return linear_basis(model, theta, trains.protocol)

        return signal_table(axes, signal)

    def _profile(self, sample: "Trains") -> tuple[MultiEchoSpinEcho, float]:
        """Return the model of the profile that leaves least, and its residual over that of the first."""
        if len(self.models) == 1:
            return self.models[0], 1.0
        some = sample.take(slice(None, None, max(1, len(sample.data) // CHOOSING)))
        left = []
        for model in self.models:
            fitted = self._search(model, some, COARSE).each_chunk(some, None)
            left.append(float((fitted.rss / fitted.strength.square().clamp(min=TINY)).median()))
        best = min(range(len(left)), key=lambda place: left[place])
        if not left[best] < CLEARLY * left[0]:
            return self.models[0], 1.0
        return self.models[best], left[best] / left[0]

    def _floor(
        self, acquisition: Acquisition, sample: "Trains", search: "TrainSearch", degrees: int
    ) -> NoiseFloor | None:
        """Return the noise floor, or None if nothing tells it."""
        signed = acquisition.kind is SignalKind.SIGNED
        channels = 0.0 if signed else 1.0
        if acquisition.noise_sd is not None:
            return NoiseFloor(sigma=acquisition.noise_sd, n_channels=channels)
        fitted = search.each_chunk(sample, None)
        sigma = noise_from_residuals(fitted.rss, degrees, fitted.strength)
        typical = float(fitted.strength.median())
        if not NOISELESS * typical < sigma < math.inf:
            return None
        if signed:
            return NoiseFloor(sigma=sigma, n_channels=0.0, source=FloorSource.RESIDUALS)
        voxels = acquisition.signal.reshape(-1, acquisition.signal.shape[-1]).cpu()
        times = acquisition.protocol.require("echo_time", "the fit of an echo train").cpu()
        every = voxels[:: len(voxels) // SAMPLE | 1][:, torch.argsort(times, stable=True)]
        air = floor_of_background(every, sigma)
        if air is not None:
            return air
        floor = NoiseFloor(sigma=sigma, n_channels=channels, source=FloorSource.RESIDUALS)
        for _ in range(MOST_ROUNDS):
            fitted = search.each_chunk(sample, floor)
            sigma = noise_from_residuals(fitted.rss, degrees, fitted.strength)
            before = floor.sigma
            if not NOISELESS * typical < sigma < math.inf:
                break
            floor = NoiseFloor(sigma=sigma, n_channels=channels, source=FloorSource.RESIDUALS)
            if abs(sigma / before - 1) < SAME:
                break
        return floor


class _Noise(NamedTuple):
    """The noise that standard deviations rest on.

    Attributes:
        sigma: Of one channel, from all residuals unless it is given.
        floor: Where magnitudes end.
        degrees: Of freedom of a voxel.
    """

    sigma: float
    floor: NoiseFloor | None
    degrees: int

    @property
    def top(self) -> float:
        """What a voxel without signal does not exceed."""
        least = SIGNAL_TO_NOISE * self.sigma
        return least if self.floor is None or math.isnan(least) else max(least, self.floor.top)


def _judged(
    search: TrainSearch, trains: Trains, fitted: Fitted, noise: _Noise, device: torch.device
) -> VoxelEstimates:
    """Return values, standard deviations, misfit and status, on a device."""
    sigma, degrees = noise.sigma, noise.degrees
    t2, b1 = fitted.places[:, 0].exp(), fitted.places[:, 1]
    std = fitted.bounds * sigma
    # B1 is not worse known than if it were anywhere in its range.
    span = (HIGHEST_B1 - LOWEST_B1) / math.sqrt(12)
    deviations = torch.stack((std[:, 0] * t2, std[:, 2], std[:, 1].clamp(max=span)), dim=-1)
    misfit = fitted.rss / (degrees * sigma**2) if sigma > 0 else torch.zeros_like(fitted.rss)
    status = torch.zeros_like(fitted.rss, dtype=torch.uint8)
    limit = chi_square_above(IMPLAUSIBLE, degrees) / degrees
    status[misfit > limit] = int(VoxelStatus.IMPLAUSIBLE)
    status[_at_limit(search, trains, b1)] = int(VoxelStatus.AT_LIMIT)
    low, high = T2.free_range
    beyond = (fitted.places[:, 0] <= low + EDGE) | (fitted.places[:, 0] >= high - EDGE)
    beyond |= ~torch.isfinite(deviations[:, :2]).all(-1) | ~(fitted.amplitude > 0)
    beyond |= fitted.fast & (fitted.later < (FOLLOWED * sigma) ** 2)
    status[beyond] = int(VoxelStatus.OUT_OF_RANGE)
    status[fitted.step > UNSETTLED] = int(VoxelStatus.NOT_CONVERGED)
    status[(fitted.strength <= noise.top) | (fitted.strength <= TINY)] = int(VoxelStatus.NO_SIGNAL)
    return VoxelEstimates(
        values=torch.stack((t2, fitted.amplitude, b1), dim=-1).to(device),
        std=deviations.to(device),
        status=status.to(device),
        misfit=misfit.to(device),
    )


def _at_limit(search: TrainSearch, trains: Trains, b1: Row) -> Bool[Tensor, " voxels"]:
    """Return where B1 ended on, or lies beyond, an end of its range that is not the fold."""
    known = trains.held.get("B1")
    if known is not None:
        given = known.expand(len(b1))
        return ~((given >= LOWEST_B1) & (given <= HIGHEST_B1))
    highest = torch.inf if search.model.folds else HIGHEST_B1
    return (b1 <= LOWEST_B1 + EDGE) | (b1 >= highest - EDGE)


def _bright_sample(data: Float[Tensor, "voxels echoes"]) -> Tensor:
    """Return voxels, evenly spread over those that hold as much signal as the object does."""
    strength = data.abs().amax(-1).clamp(min=TINY)
    typical = strength[bright(strength)].sort().values
    lit = (strength >= LIT * typical[int(0.95 * (len(typical) - 1))]).nonzero()[:, 0]
    return lit[:: len(lit) // (2 * CHOOSING) | 1]


def _profile_name(model: MultiEchoSpinEcho) -> str:
    """Return what a sidecar says of the slice profile."""
    if model.profile.is_uniform:
        return "uniform"
    for width in WIDTHS:
        if model.profile == sinc_profile(width):
            return f"sinc, refocusing {width:g} times as thick as excitation"
    return f"{len(model.profile.weights)} parts"


def _source(kind: SignalKind, floor: NoiseFloor | None) -> str:
    if kind is SignalKind.SIGNED:
        return "none: values with a sign have no floor"
    return "unknown: neither background nor residuals show noise" if floor is None else floor.source.value
