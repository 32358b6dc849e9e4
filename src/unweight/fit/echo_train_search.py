"""The descent of each voxel of a spin-echo train between the points of a table (`fit.echo_train`)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unweight.core.estimator import Progress
from unweight.core.protocol import Protocol
from unweight.fit.blocks import ExecutionContext, each_block
from unweight.fit.levenberg_marquardt import (
    EASED,
    FIRST_DAMPING,
    LEAST_DAMPING,
    MOST_DAMPING,
    RAISED,
    bounded_step,
)
from unweight.fit.noise_floor import NoiseFloor
from unweight.fit.signal_table import SignalTable, TableAxis
from unweight.signals.epg import MultiEchoSpinEcho
from unweight.signals.parameters import T2
from unweight.signals.precision import inverse_diagonal

LOWEST_B1, HIGHEST_B1 = 0.3, 1.5
OFF_FOLD = 0.01  # of B1, by which a start stays off the fold, on which no slope leads away
UNLIT = 0.8  # of what noise alone does not exceed: voxels below it are not fitted
CHUNK = 4096  # voxels at a time
LONGEST = (1.0, 0.2, 1.0)  # step of ln T2, B1 and the amplitude over the strongest echo
SETTLED, UNSETTLED = 1e-4, 5e-3  # last step of ln T2 and B1
TINY = 1e-30

Row = Float[Tensor, " voxels"]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Trains:
    """Echoes of voxels.

    Attributes:
        data: By rising echo time.
        protocol: Their echo times.
        held: T1, and B1 if it is known: one value, or one per voxel.
        modulus: Whether they are magnitudes.
    """

    data: Float[Tensor, "voxels echoes"]
    protocol: Protocol
    held: Mapping[str, Tensor]
    modulus: bool

    def take(self, voxels: slice | Tensor) -> "Trains":
        """Return some of the voxels."""
        held = {name: value if value.ndim == 0 else value[voxels] for name, value in self.held.items()}
        return replace(self, data=self.data[voxels], held=held)


class Fitted(NamedTuple):
    """What is known of each voxel before the noise is; bounds are for unit noise.

    Attributes:
        places: ln T2, B1 and ln T1.
        amplitude: S0.
        bounds: Standard deviations of ln T2, B1 and S0 over σ; 0 where held, or at an end of the range.
        step: The last, of ln T2 or B1.
        rss: Residual sum of squares.
        strength: The largest sample.
        later: Energy of the fitted signal after the first echo.
        fast: Whether the first echo holds most of the energy.
    """

    places: Float[Tensor, "voxels 3"]
    amplitude: Row
    bounds: Float[Tensor, "voxels 3"]
    step: Row
    rss: Row
    strength: Row
    later: Row
    fast: Bool[Tensor, " voxels"]


def joined(parts: list[Fitted]) -> Fitted:
    """Return all voxels from some after the other."""
    return Fitted(*(torch.cat(columns) for columns in zip(*parts, strict=True)))


def fit_lit(
    search: "TrainSearch",
    trains: Trains,
    floor: NoiseFloor | None,
    where: ExecutionContext,
    progress: Progress | None,
) -> Fitted:
    """Fit the voxels that rise above the floor; the others are left at nothing."""
    strength = trains.data.abs().amax(-1).clamp(min=TINY)
    lit = (strength > (0.0 if floor is None else UNLIT * floor.top)).nonzero()[:, 0]
    some = trains.take(lit)
    parts = each_block(len(lit), lambda block: search.each_chunk(some.take(block), floor), where, progress)
    if len(lit) == len(strength):
        return joined(parts)
    nothing = torch.zeros_like(strength)
    whole = Fitted(
        places=torch.zeros(len(strength), 3, dtype=strength.dtype),
        amplitude=nothing,
        bounds=torch.zeros(len(strength), 3, dtype=strength.dtype),
        step=nothing,
        rss=torch.full_like(strength, torch.nan),
        strength=strength,
        later=nothing,
        fast=torch.zeros_like(strength, dtype=torch.bool),
    )
    if not len(lit):
        return whole
    return Fitted(
        *(rows.index_copy(0, lit, fitted) for rows, fitted in zip(whole, joined(parts), strict=True))
    )


class Compared(NamedTuple):
    """Data against a signal: objective, residuals and slopes in (ln T2, B1, amplitude)."""

    objective: Row
    residual: Float[Tensor, "voxels echoes"]
    slopes: Float[Tensor, "voxels echoes 3"]
    signal: Float[Tensor, "voxels echoes"]

    def where(self, better: Bool[Tensor, " voxels"], other: "Compared") -> "Compared":
        """Return the other where it is better."""
        return Compared(
            torch.where(better, other.objective, self.objective),
            torch.where(better[:, None], other.residual, self.residual),
            torch.where(better[:, None, None], other.slopes, self.slopes),
            torch.where(better[:, None], other.signal, self.signal),
        )

    def take(self, voxels: Tensor) -> "Compared":
        """Return some of the voxels."""
        return Compared(*(row[voxels] for row in self))


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class TrainSearch:
    """The descent of each voxel.

    Attributes:
        model: Of the train.
        table: Its signals.
        modulus: Whether the data are magnitudes.
        n_steps: Steps allowed.
    """

    model: MultiEchoSpinEcho
    table: SignalTable
    modulus: bool
    n_steps: int

    def each_chunk(self, trains: Trains, floor: NoiseFloor | None) -> Fitted:
        """Fit voxels, some at a time."""
        starts = range(0, len(trains.data), CHUNK)
        return joined([self._fit(trains.take(slice(begin, begin + CHUNK)), floor) for begin in starts])

    @property
    def _ends(self) -> tuple[Tensor, Tensor]:
        """The range of ln T2, B1 and the amplitude."""
        highest = 1.0 if self.model.folds else HIGHEST_B1
        low = torch.tensor([T2.free_range[0], LOWEST_B1, 0.0], dtype=torch.float64)
        return low, torch.tensor([T2.free_range[1], highest, torch.inf], dtype=torch.float64)

    def _fit(self, trains: Trains, floor: NoiseFloor | None) -> Fitted:
        strength = trains.data.abs().amax(-1).clamp(min=TINY)
        data = trains.data / strength[:, None]
        half_floor = None
        if floor is not None and floor.n_channels > 0:
            half_floor = (floor.power / 2 / strength.square())[:, None]
        point, t1 = self._start(data, trains, half_floor)
        held = torch.tensor(["B1" in trains.held if place == 1 else False for place in range(3)])
        low, high = self._ends
        longest = torch.tensor(LONGEST, dtype=torch.float64)
        # There the slope along B1 is 0 by symmetry, and what a table shows of it is rounding.
        folds = torch.tensor([False, self.model.folds, False])
        compared = self._compare(data, point, t1, half_floor)
        damping, index = torch.full_like(strength, FIRST_DAMPING), torch.arange(len(data))
        ended, last = point.clone(), torch.full_like(strength, torch.inf)
        everything = compared
        left_data, left_t1, left_half = data, t1, half_floor
        for _ in range(self.n_steps):
            at_fold = folds & (point >= high)
            stuck = ((point <= low) | held | at_fold, (point >= high) | held)
            slopes = torch.where(held, 0.0, compared.slopes)
            step = bounded_step(compared.residual, slopes, damping, stuck)
            step = torch.minimum(torch.maximum(torch.where(held, 0.0, step), -longest), longest)
            trial = torch.minimum(torch.maximum(point + step, low), high)
            trial = torch.where(held, point, trial)
            there = self._compare(left_data, trial, left_t1, left_half)
            better = there.objective <= compared.objective
            size = (trial - point)[:, :2].abs().amax(-1)
            point = torch.where(better[:, None], trial, point)
            compared = compared.where(better, there)
            damping = (damping * torch.where(better, EASED, RAISED)).clamp(min=LEAST_DAMPING)
            ended[index], last[index] = point, size
            everything = _put(everything, index, compared)
            going = ((size >= SETTLED) & (damping <= MOST_DAMPING)).nonzero()[:, 0]
            if not len(going):
                break
            index, point, damping, compared = (
                index[going],
                point[going],
                damping[going],
                compared.take(going),
            )
            left_data, left_t1 = left_data[going], left_t1[going]
            left_half = None if left_half is None else left_half[going]
        energy = everything.signal.square()
        later = energy[:, 1:].sum(-1)
        return Fitted(
            places=torch.cat((ended[:, :2], t1[:, None]), dim=-1),
            amplitude=ended[:, 2] * strength,
            bounds=self._bounds(everything, ended, held) / strength[:, None] * _units(strength),
            step=last,
            rss=everything.residual.square().sum(-1) * strength.square(),
            strength=strength,
            later=later * strength.square(),
            fast=later < 0.5 * (energy.shape[1] - 1) * energy[:, 0],
        )

    def _start(
        self, data: Tensor, trains: Trains, half_floor: Tensor | None
    ) -> tuple[Float[Tensor, "voxels 3"], Row]:
        """Return the best point of the table, with its amplitude, and ln T1."""
        pure = data if half_floor is None else (data.square() - 2 * half_floor).clamp(min=0).sqrt()
        axes = self.table.axes
        inner = [_within(axis) for axis in axes]
        low, high = self._ends
        values = self.table.values[inner[0]][:, inner[1]][:, :, inner[2]]
        grids = [axis.points[part] for axis, part in zip(axes, inner, strict=True)]
        allowed = (grids[1] <= high[1] + 1e-9) & (grids[1] >= low[1] - 1e-9)
        if axes[1].count > 1:
            values, grids[1] = values[:, allowed], grids[1][allowed]
        norm = values.square().sum(-1).clamp(min=TINY)
        match = (pure @ values.flatten(0, 2).T).reshape(-1, *norm.shape).clamp(min=0)
        explained = match.square() / norm
        n_voxels = len(data)
        t1 = trains.held["T1"].log().expand(n_voxels).clamp(axes[2].start, axes[2].end)
        near_t1 = _nearest(grids[2], t1)
        explained = explained[torch.arange(n_voxels), :, :, near_t1]
        known = trains.held.get("B1")
        if known is not None:
            b1 = known.expand(n_voxels)
            b1 = torch.where(b1 > high[1], 2 - b1, b1) if self.model.folds else b1
            b1 = b1.clamp(LOWEST_B1, HIGHEST_B1)
            near = _nearest(grids[1], b1)
            place_t2 = explained[torch.arange(n_voxels), :, near].argmax(-1)
        else:
            best = explained.flatten(1).argmax(-1)
            place_t2, near = best // explained.shape[2], best % explained.shape[2]
            b1 = grids[1][near]
            if self.model.folds:
                b1 = b1.clamp(max=high[1] - OFF_FOLD)
        start = torch.stack((grids[0][place_t2], b1), dim=-1)
        rows = torch.arange(n_voxels)
        amplitude = match[rows, place_t2, near, near_t1] / norm[place_t2, near, near_t1]
        return torch.cat((start, amplitude[:, None]), dim=-1), t1

    def _compare(self, data: Tensor, point: Tensor, t1: Row, half_floor: Tensor | None) -> Compared:
        """Compare data with the signal at a point."""
        basis, slopes = self.table.at(torch.cat((point[:, :2], t1[:, None]), dim=-1))
        amplitude = point[:, 2:3]
        signal = amplitude * basis
        columns = torch.cat((amplitude[..., None] * slopes[..., :2], basis[..., None]), dim=-1)
        if half_floor is None:
            residual = (data * torch.where(signal < 0, -1.0, 1.0) if self.modulus else data) - signal
            return Compared(residual.square().sum(-1), residual, columns, signal)
        measured = data > 0
        expected = signal.square() + half_floor
        above = data.square() - half_floor
        root = expected.sqrt()
        residual = torch.where(measured, (above - expected) / (2 * root), 0.0)
        objective = (
            torch.where(measured, expected - above * expected.clamp(min=TINY).log(), 0.0).sum(-1) / 2
        )
        weighted = columns * torch.where(measured, signal / root, 0.0)[..., None]
        return Compared(objective, residual, weighted, signal)

    def _bounds(self, compared: Compared, point: Tensor, held: Tensor) -> Float[Tensor, "voxels 3"]:
        """Return the Cramér–Rao bound for unit noise, with data of unit strength."""
        low, high = self._ends
        still = held | (point <= low) | (point >= high)
        still[:, 2] = False
        information = compared.slopes.mT @ compared.slopes
        information = torch.where(still[..., None] | still[..., None, :], 0.0, information)
        information = information + torch.diag_embed(still.to(information))
        return torch.where(still, 0.0, inverse_diagonal(information).sqrt())


def _put(whole: Compared, index: Tensor, part: Compared) -> Compared:
    if len(index) == len(whole.objective):
        return part
    return Compared(*(rows.index_copy(0, index, some) for rows, some in zip(whole, part, strict=True)))


def _units(strength: Row) -> Float[Tensor, "voxels 3"]:
    """Return what bounds are multiplied by for the amplitude to be in the unit of the input."""
    return torch.stack((torch.ones_like(strength), torch.ones_like(strength), strength), dim=-1)


def _within(axis: TableAxis) -> Tensor:
    """Return the points of an axis without its margins."""
    margin = (len(axis.points) - axis.count) // 2
    return torch.arange(margin, margin + axis.count)


def _nearest(grid: Float[Tensor, " points"], values: Row) -> Tensor:
    return (grid[None] - values[:, None]).abs().argmin(-1)
