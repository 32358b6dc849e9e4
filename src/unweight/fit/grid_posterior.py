"""The exact posterior of T1, PD and B of each voxel alone, by integration over a grid.

    p(ln T1, B, PD | x) ∝ Π_n p(x_n | S_n(T1, B, PD), σ)     inside the box of the prior, else 0

The prior is uniform in ln T1, in B and in PD, the noise is known, magnitudes are Rician and signed
values Gaussian. It is the yardstick for whatever claims to estimate one voxel from the same data: no
estimator has a smaller mean squared error of ln T1 over truths drawn from the prior than the mean of
this posterior (Robert, The Bayesian Choice, 2nd ed., 2007, section 2.5).

A fixed grid would be too coarse at a high SNR and wasteful at a low one, so each voxel gets its own:

1. Coarse: the best PD at the nodes of a grid over (ln T1, B) that all voxels share gives the cells
   that may matter, whichever mode they belong to.
2. ln T1: midpoints spread evenly over these cells; what lies between modes is left out.
3. B at each T1: a first look inside what the coarse grid left, then Gauss–Legendre nodes.
4. PD at each T1 and B: Gauss–Legendre nodes over five standard deviations round its best value.

All runs in units of σ and in single precision. Up to PD/σ = 200 mean and standard deviation are right
to 0.5 % of the latter, the quantiles to 2 %; at 600 to 2 % and 10 %, and beyond it takes more nodes.
"""

import math
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple, final

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.special import ive
from torch import Tensor

from unweight.core.acquisition import Acquisition, SignalKind
from unweight.core.errors import InputError, ProtocolError, UsageError
from unweight.core.estimator import Estimator, Progress
from unweight.core.maps import ParameterMaps, VoxelStatus
from unweight.core.parameter import ParameterSpec
from unweight.fit.assemble import VoxelEstimates, maps_on_grid
from unweight.fit.blocks import ExecutionContext, each_block, one_thread_per_operation
from unweight.fit.recovery_projection import RecoveryTiming, Row, recovery_basis, recovery_timing
from unweight.signals.inversion_recovery import PD, T1, B

INTERVAL, TAILS = 0.9, (0.05, 0.95)
NORMAL_95 = 1.6448536269514722  # the 95 % point of the normal distribution
N_COARSE = (320, 31)  # cells of ln T1 and of B
N_PROBES = 16  # first look at B
MARGIN = 16.0  # in ln L below the best: less than a millionth of it
REACH = 5.0  # standard deviations of PD to either side
CPU_CHUNK, GPU_CHUNK = 8, 2048  # voxels whose grids fit in the cache of a core, or in a gigabyte
BESSEL_DEGREE = 10

Grid = Float[Tensor, "..."]
Pair = tuple[Grid, Grid]
Nodes = Float[Tensor, "voxels nodes"]
Data = Float[Tensor, "voxels volumes"]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class VoxelPosterior:
    """Moments of (ln T1, PD, B) and quantiles of ln T1.

    Attributes:
        mean: Posterior means; PD in the unit of the signal.
        sd: Posterior standard deviations.
        log_t1_interval: The 5 % and the 95 % quantile of ln T1.
    """

    mean: Float[Tensor, "voxels parameters"]
    sd: Float[Tensor, "voxels parameters"]
    log_t1_interval: Float[Tensor, "voxels 2"]


@final
@dataclass(frozen=True, kw_only=True)
class GridPosterior(Estimator[Acquisition]):
    """Posterior mean and spread of (T1, PD, B) under a box prior and known noise.

    T1 is exp(E[ln T1]) with the 5 % and 95 % quantiles; PD and B are means, with the interval of a
    normal distribution. A voxel without signal gets its prior back.

    Attributes:
        pd_range: Ends of the uniform prior of PD, in the unit of the signal.
        t1_range: Ends of the prior of T1, uniform in its logarithm [s].
        b_range: Ends of the uniform prior of the inversion efficiency.
        complete: C of the equation in `signals.inversion_recovery`; None to let it follow B.
        n_t1: Nodes over ln T1, shared by the cells that matter.
        n_b: Nodes over B at each T1.
        n_pd: Nodes over PD at each T1 and B.
    """

    pd_range: tuple[float, float]
    t1_range: tuple[float, float] = (0.010, 6.0)
    b_range: tuple[float, float] = (1.7, 2.0)
    complete: float | None = 2.0
    n_t1: int = 80
    n_b: int = 14
    n_pd: int = 12

    def __post_init__(self) -> None:
        ranges = (self.t1_range, self.pd_range, self.b_range)
        for spec, (low, high) in zip(self.parameters, ranges, strict=True):
            if not (spec.lower <= low < high <= spec.upper and high < math.inf):
                raise UsageError(
                    f"{spec.name}: the prior from {low:g} to {high:g} is not possible",
                    remedy=f"Give two rising numbers between {spec.lower:g} and {spec.upper:g}.",
                )
        if min(self.n_t1, self.n_b, self.n_pd) < 2:
            raise UsageError(f"a grid of {self.n_t1} × {self.n_b} × {self.n_pd} nodes resolves nothing")

    @property
    def parameters(self) -> tuple[ParameterSpec, ...]:
        """T1, PD and B."""
        return (T1, PD, B)

    def accept(self, acquisition: Acquisition) -> None:
        """Return if there are inversion times, real signals and a known noise; else ProtocolError."""
        if acquisition.kind is SignalKind.COMPLEX:
            raise ProtocolError(
                "the grid posterior takes magnitude or signed volumes, not complex ones",
                remedy="Take the magnitude, or the real part after phase correction.",
            )
        acquisition.protocol.require("inversion_time", "the grid posterior")
        if acquisition.noise_sd is None:
            raise ProtocolError(
                "the grid posterior needs the noise, which this acquisition does not give",
                remedy="Give noise_sd, the standard deviation in one channel.",
            )
        if "B" in acquisition.known:
            raise ProtocolError(
                "the grid posterior integrates over B and cannot hold a known map of it",
                remedy="Leave the map out, or narrow b_range.",
            )

    def __call__(self, acquisition: Acquisition, progress: Progress | None = None) -> ParameterMaps:
        """Integrate every voxel inside the mask."""
        return self._on_grid(acquisition, self.integrate(acquisition, progress))

    def integrate(self, acquisition: Acquisition, progress: Progress | None = None) -> VoxelPosterior:
        """Return the posterior of the voxels inside the mask, in the order of `signal[inside]`."""
        self.accept(acquisition)
        sigma = acquisition.noise_sd or math.nan
        data = acquisition.signal[acquisition.inside]
        if not len(data):
            raise InputError(
                "no voxel to process: the mask is empty, or no voxel is finite",
                remedy="Check the mask and the images.",
            )
        single = (data.double() / sigma).float()
        low, high = zip(self.t1_range, self.b_range, self.pd_range, strict=True)
        integral = _Integral(
            low=(math.log(low[0]), low[1], low[2] / sigma),
            high=(math.log(high[0]), high[1], high[2] / sigma),
            timing=recovery_timing(acquisition.protocol, self.complete, single),
            magnitude=acquisition.kind is SignalKind.MAGNITUDE,
            n_nodes=(self.n_t1, self.n_b, self.n_pd),
        )
        coarse = integral.coarse_grid()
        chunk = CPU_CHUNK if data.device.type == "cpu" else GPU_CHUNK

        def work(block: slice) -> Float[Tensor, "voxels rows"]:
            return torch.cat([integral(part, coarse) for part in torch.split(single[block], chunk)])

        with one_thread_per_operation() as n_threads:
            where = ExecutionContext(device=data.device, n_threads=n_threads)
            rows = torch.cat(each_block(len(data), work, where, progress)).to(data)
        mean, sd, log_t1_interval = rows.tensor_split((3, 6), dim=1)
        unit = torch.tensor([1.0, sigma, 1.0]).to(data)
        return VoxelPosterior(mean=mean * unit, sd=sd * unit, log_t1_interval=log_t1_interval)

    def _on_grid(self, acquisition: Acquisition, voxel_posterior: VoxelPosterior) -> ParameterMaps:
        """Put the voxels back where they came from."""
        values, std = voxel_posterior.mean.clone(), voxel_posterior.sd.clone()
        values[:, 0] = torch.exp(values[:, 0])
        std[:, 0] *= values[:, 0]
        lower, upper = values - NORMAL_95 * std, values + NORMAL_95 * std
        lower[:, 0], upper[:, 0] = torch.exp(voxel_posterior.log_t1_interval).unbind(1)
        status = torch.zeros_like(values[:, 0], dtype=torch.uint8)
        status[~torch.isfinite(values + std).all(-1)] = int(VoxelStatus.NOT_CONVERGED)
        estimates = VoxelEstimates(
            values=values, std=std, status=status, lower=lower, upper=upper, interval_level=INTERVAL
        )
        notes = {
            "likelihood": "Rician" if acquisition.kind is SignalKind.MAGNITUDE else "Gaussian",
            "prior_log_T1": "uniform, T1 {:g} to {:g} s".format(*self.t1_range),
            "prior_PD": "uniform, {:g} to {:g}".format(*self.pd_range),
            "prior_B": "uniform, {:g} to {:g}".format(*self.b_range),
        }
        return maps_on_grid(
            acquisition, self.parameters, estimates, noise_sd=acquisition.noise_sd, notes=notes
        )


class _Coarse(NamedTuple):
    """The grid that all voxels share: signals of unit PD, and how far half a cell carries them."""

    atoms: Float[Tensor, "volumes atoms"]
    energy: Float[Tensor, " atoms"]
    half_cell: float


class _Region(NamedTuple):
    """How many cells of ln T1 matter, up to and with each, and the ends of B that matter there."""

    through: Float[Tensor, "voxels cells"]
    b_low: Float[Tensor, "voxels cells"]
    b_high: Float[Tensor, "voxels cells"]

    def cell(self, place: Float[Tensor, "voxels places"]) -> Tensor:
        """Return the cell in which a place lies, counted along the cells that matter."""
        result = torch.searchsorted(self.through, place.floor(), right=True)
        return result.clamp(max=self.through.shape[1] - 1)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class _Integral:
    """The integral for some voxels at a time; low and high are the ends of ln T1, B and PD/σ."""

    low: tuple[float, float, float]
    high: tuple[float, float, float]
    timing: RecoveryTiming
    magnitude: bool
    n_nodes: tuple[int, int, int]

    @property
    def cell(self) -> tuple[float, float]:
        """Size of a coarse cell in ln T1 and in B."""
        return (self.high[0] - self.low[0]) / N_COARSE[0], (self.high[1] - self.low[1]) / N_COARSE[1]

    def __call__(self, data: Data, coarse: _Coarse) -> Float[Tensor, "voxels rows"]:
        """Return the means, standard deviations and quantiles of `VoxelPosterior`."""
        region = self._region(data, coarse)
        n_t1, n_b, n_pd = self.n_nodes
        step = region.through[:, -1:] / n_t1
        place = step * (torch.arange(n_t1, device=data.device) + 0.5)
        log_t1, cell = self._log_t1(place, region), region.cell(place)
        basis = self._basis(log_t1)
        y = data.T[:, :, None, None]
        limits = region.b_low.gather(1, cell), region.b_high.gather(1, cell)
        b, b_weight = _gauss_legendre(*self._narrow(y, basis, limits), n_b)
        a = self._signal(*basis, b)
        pd, pd_weight = _gauss_legendre(*self._pd_range(y, a), n_pd)
        log_likelihood = self._log_likelihood(y[..., None], pd, a[..., None])
        weight = torch.exp(log_likelihood - log_likelihood.amax((1, 2, 3), keepdim=True))
        weight *= pd_weight * b_weight[..., None]
        weight /= weight.sum((1, 2, 3), keepdim=True)
        by_t1 = weight.sum((2, 3))
        tails = _quantile_nodes(by_t1, torch.tensor(TAILS).to(data))
        moments = _moments(by_t1, log_t1), _moments(weight, pd), _moments(weight.sum(3), b)
        mean, sd = (torch.stack(rows, dim=1) for rows in zip(*moments, strict=True))
        return torch.cat((mean, sd, self._log_t1(step * tails, region)), dim=1)

    def coarse_grid(self) -> _Coarse:
        """Return the grid that all voxels share."""
        like = self.timing.inversion_time
        middles = (torch.arange(count).to(like) + 0.5 for count in N_COARSE)
        t1, b = (low + cell * at for low, cell, at in zip(self.low[:2], self.cell, middles, strict=True))
        a = self._signal(*self._basis(t1[None]), b)[:, 0]
        across = [float(a.diff(dim=axis).norm(dim=0).max()) for axis in (1, 2)]
        atoms = a.flatten(1)
        return _Coarse(atoms, atoms.square().sum(0), sum(across) / 2)

    def _region(self, data: Data, coarse: _Coarse) -> _Region:
        """Return the cells whose best likelihood comes near the best of all, and their neighbours."""
        match = data @ coarse.atoms
        pd = (match / coarse.energy).clamp(self.low[2], self.high[2])
        log_likelihood = pd * (match - pd * coarse.energy / 2)
        best = log_likelihood.argmax(1, keepdim=True)
        allowance = MARGIN + (pd.gather(1, best) * coarse.half_cell) ** 2 / 2
        hot = log_likelihood >= log_likelihood.gather(1, best) - allowance
        hot = hot.reshape(-1, *N_COARSE)
        first, last = _ends(hot)
        first, last = -_widest(-first), _widest(last)
        matters = _widest(hot.any(2).to(data)) > 0
        ends = (self.low[1] + self.cell[1] * place for place in (first - 1, last + 2))
        return _Region(matters.to(data).cumsum(1), *(end.clamp(self.low[1], self.high[1]) for end in ends))

    def _log_t1(self, place: Float[Tensor, "voxels places"], region: _Region) -> Tensor:
        """Return ln T1 at places counted along the cells that matter."""
        return self.low[0] + self.cell[0] * (region.cell(place) + place - place.floor())

    def _basis(self, log_t1: Float[Tensor, "voxels nodes"]) -> Pair:
        """Return u and v of `fit.recovery_projection`, volumes first."""
        u, v, _, _ = recovery_basis(log_t1.flatten(), self.timing)
        shape = (len(v), *log_t1.shape, 1)
        return u.expand_as(v).reshape(shape), v.reshape(shape)

    def _signal(self, u: Grid, v: Grid, b: Grid) -> Grid:
        """Return the signal of unit PD, or its magnitude."""
        signal = torch.addcmul(u, v, b)
        return signal.abs_() if self.magnitude else signal

    def _narrow(self, y: Grid, basis: Pair, limits: Pair) -> Pair:
        """Return the range of B, within the limits, in which the likelihood comes near its best."""
        low, high = (limit[..., None] for limit in limits)
        step = (high - low) / (N_PROBES - 1)
        a = self._signal(*basis, low + step * torch.arange(N_PROBES, device=low.device))
        energy = a.square().sum(0)
        pd = ((y * a).sum(0) / energy).clamp(self.low[2], self.high[2])
        log_likelihood = self._log_likelihood(y, pd, a)
        hot = log_likelihood >= log_likelihood.amax((1, 2), keepdim=True) - MARGIN
        first, last = _ends(hot)  # crossed where nothing matters; all of the range is kept there
        begin, end = (first - 1).clamp(min=0), (last + 1).clamp(max=N_PROBES - 1)
        begin, end = torch.minimum(begin, end), torch.maximum(begin, end)
        return limits[0] + step[..., 0] * begin, limits[0] + step[..., 0] * end

    def _pd_range(self, y: Grid, a: Grid) -> Pair:
        """Return where the posterior of PD lives; magnitudes overestimate it, by at most n·sd²/2PD."""
        energy = a.square().sum(0)
        sd = energy.rsqrt()
        best = ((y * a).sum(0) / energy).clamp(self.low[2], self.high[2])
        excess = len(a) * sd**2 / (2 * torch.maximum(best, sd)) if self.magnitude else 0.0
        low, high = best - REACH * sd - excess, best + REACH * sd
        return low.clamp(min=self.low[2]), high.clamp(max=self.high[2])

    def _log_likelihood(self, y: Grid, pd: Grid, a: Grid) -> Grid:
        """Return ln L up to a constant of the voxel, one volume after the other to stay in cache."""
        total = torch.zeros_like(pd)
        for observed, unit in zip(y, a, strict=True):
            model = pd * unit
            total.addcmul_(model - observed, model - observed, value=-0.5)
            if self.magnitude:
                total += log_scaled_bessel(model.mul_(observed))
        return total


def log_scaled_bessel(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return ln[exp(−x)·I₀(x)] for x ≥ 0, right to 2·10⁻⁴ and five times as fast as `torch.special`."""
    place = (1 - x) / (1 + x)
    coefficients = _bessel_coefficients()
    series = torch.full_like(x, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        series.mul_(place).add_(coefficient)
    return series.add_(torch.log(x * (2 * math.pi) + 1), alpha=-0.5)


@cache
def _bessel_coefficients() -> tuple[float, ...]:
    """Return the power series of ln[exp(−x)·I₀(x)·√(1 + 2πx)] in (1 − x)/(1 + x)."""
    place = np.polynomial.chebyshev.chebpts1(400)
    x = (1 - place) / (1 + place)
    smooth = np.log(ive(0, x)) + np.log1p(2 * math.pi * x) / 2
    series = np.polynomial.chebyshev.chebfit(place, smooth, BESSEL_DEGREE)
    return tuple(np.polynomial.chebyshev.cheb2poly(series).tolist())


def _gauss_legendre(low: Grid, high: Grid, count: int) -> Pair:
    """Return nodes between low and high and their weights, on a new last axis."""
    nodes, weights = (torch.tensor(row).to(low) for row in np.polynomial.legendre.leggauss(count))
    half = ((high - low) / 2)[..., None]
    return low[..., None] + half * (1 + nodes), half * weights


def _ends(hot: Bool[Tensor, "voxels nodes inner"]) -> tuple[Tensor, Tensor]:
    """Return the first and the last true place of the last axis; its length and −1 where there is none."""
    places = torch.arange(hot.shape[-1], device=hot.device, dtype=torch.float32)
    first = torch.where(hot, places, float(hot.shape[-1])).amin(-1)
    return first, torch.where(hot, places, -1.0).amax(-1)


def _widest(rows: Float[Tensor, "voxels cells"]) -> Float[Tensor, "voxels cells"]:
    """Return the largest value among each cell and its two neighbours."""
    pooled: Tensor = torch.nn.functional.max_pool1d(rows[:, None], 3, stride=1, padding=1)[:, 0]
    return pooled


def _quantile_nodes(mass: Nodes, level: Float[Tensor, " levels"]) -> Float[Tensor, "voxels levels"]:
    """Return where the mass reaches each level, in nodes from the left, each node an even cell."""
    reached = mass.cumsum(1)
    node = torch.searchsorted(reached, level.repeat(len(mass), 1)).clamp(max=mass.shape[1] - 1)
    own = mass.gather(1, node)
    return node + ((level - reached.gather(1, node) + own) / own).clamp(0, 1)


def _moments(weight: Grid, value: Grid) -> tuple[Row, Row]:
    """Return mean and standard deviation; the weights add up to 1."""
    weight, value = weight.flatten(1), value.flatten(1)
    mean = (weight * value).sum(1, keepdim=True)
    return mean[:, 0], (weight * (value - mean) ** 2).sum(1).sqrt()
