"""Where a fit of any signal model starts: the best points of a grid, the amplitude solved in closed form.

For signals proportional to an amplitude (`SeparableModel`) the best amplitude at each point of a grid over
the other parameters is a projection (variable projection: Golub and Pereyra, SIAM J Numer Anal 10:413,
1973), so that a point explains

    |Σ φ*·data|² / Σ|φ|²

of the energy of a voxel. For magnitudes φ is the magnitude of the basis, and each polarity that the model
can produce has its own part of the grid. The starts of a voxel are the points that explain more than their
neighbours, the best first.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, final

import torch
from jaxtyping import Bool, Float, Int8
from torch import Tensor

from unweight.core.acquisition import SignalKind
from unweight.core.errors import UsageError
from unweight.core.parameter import ParameterSpec, Scale
from unweight.fit.voxel_problem import VoxelProblem, place_of
from unweight.signals.model import SeparableModel

COUNTS = (48, 14, 6, 4)  # points along the first parameter, the second, …
INSET = 1.2  # factor by which a logarithmic axis stays within its range
PER_PERIOD = 4.0  # points of a frequency for each turn of the phase between the first and the last echo
MOST_FREQUENCIES = 2048
MOST_NUMBERS = 1 << 23  # of the signals of a chunk
HOPELESS = 0.05  # of the energy: a start that explains so much less than the best is none


class Starts(NamedTuple):
    """The starts of each voxel, the best first.

    Attributes:
        free: Free parameters.
        usable: Whether the start counts.
        signs: Of the volumes, where a magnitude leaves them open; None where it does not.
    """

    free: Float[Tensor, "ranks voxels free"]
    usable: Bool[Tensor, "ranks voxels"]
    signs: Int8[Tensor, "ranks voxels volumes"] | None

    def take(self, voxels: slice | Tensor) -> "Starts":
        """Return those of these voxels."""
        signs = None if self.signs is None else self.signs[:, voxels]
        return Starts(self.free[:, voxels], self.usable[:, voxels], signs)


def joined(parts: Sequence[Starts]) -> Starts:
    """Return the starts of all voxels from those of some after the other."""
    signs = [part.signs for part in parts if part.signs is not None]
    return Starts(
        free=torch.cat([part.free for part in parts], dim=1),
        usable=torch.cat([part.usable for part in parts], dim=1),
        signs=torch.cat(signs, dim=1) if len(signs) == len(parts) else None,
    )


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class StartGrid:
    """Points over all free parameters but the amplitude.

    Attributes:
        points: Free parameters of each point; 1 for an amplitude, and 0 for its phase.
        shape: Points along each axis.
        size: Where the amplitude stands, if there is one and it is free.
        phase: Where its phase stands, likewise.
    """

    points: Float[Tensor, "points free"]
    shape: tuple[int, ...]
    size: int | None
    phase: int | None


def start_grid(problem: VoxelProblem) -> StartGrid:
    """Return the grid for a model.

    Raises:
        UsageError: A parameter that is no amplitude has no finite range.
    """
    free = problem.free
    amplitude = problem.model.amplitude if isinstance(problem.model, SeparableModel) else ()
    places = [place_of(free, spec.name) for spec in amplitude] + [None, None]
    axes: list[Tensor] = []
    counts = list(COUNTS)
    for place, spec in enumerate(free):
        if place in places:
            axes.append(spec.to_free(torch.tensor([1.0 if place == places[0] else 0.0])))
        else:
            axes.append(_axis(spec, counts.pop(0) if counts else COUNTS[-1], problem))
    mesh = torch.meshgrid(*(axis.to(problem.data.real) for axis in axes), indexing="ij")
    return StartGrid(
        points=torch.stack([axis.flatten() for axis in mesh], dim=-1),
        shape=tuple(len(axis) for axis in axes),
        size=places[0],
        phase=places[1],
    )


def best_starts(problem: VoxelProblem, grid: StartGrid, n_starts: int) -> Starts:
    """Return the starts of each voxel.

    Args:
        problem: Model and data.
        grid: From `start_grid`.
        n_starts: At most as many.
    """
    numbers = len(grid.points) * (1 if problem.is_shared else problem.data.shape[-1])
    chunk = max(1, MOST_NUMBERS // numbers)
    atoms = problem.signed_at(grid.points) if problem.is_shared else None
    parts = [
        _best_of(problem.take(slice(begin, begin + chunk)), grid, atoms, n_starts)
        for begin in range(0, len(problem), chunk)
    ]
    return joined(parts)


def _best_of(problem: VoxelProblem, grid: StartGrid, atoms: Tensor | None, n_starts: int) -> Starts:
    """Return the starts of a chunk of voxels.

    Args:
        problem: Of the chunk.
        grid: The points.
        atoms: Signed signals of the points, if all voxels share them.
        n_starts: At most as many.
    """
    data, n_points = problem.data, len(grid.points)
    if atoms is None:
        atoms = problem.signed_at(grid.points)
    signs = None
    if _takes_modulus(problem):
        signs, atoms = torch.where(atoms < 0, -1, 1).to(torch.int8), atoms.abs()
    match = data @ atoms.conj().mT if atoms.ndim == 2 else (atoms.conj() @ data[..., None])[..., 0]
    energy = atoms.abs().square().sum(-1)
    amplitude = _amplitude(match, energy, grid)
    total = data.abs().square().sum(-1, keepdim=True)
    explained = 2 * (amplitude.conj() * match).real - amplitude.abs().square() * energy
    explained = explained.nan_to_num(nan=-math.inf, posinf=-math.inf)
    peaks = torch.where(_is_peak(explained, grid.shape, signs), explained, -math.inf)
    top = peaks.topk(min(n_starts, n_points), dim=-1)
    best = explained.amax(-1, keepdim=True)
    usable = top.values >= best - HOPELESS * total
    usable[:, 0] = True
    free = grid.points[top.indices].clone()
    chosen = amplitude.gather(1, top.indices)
    if grid.size is not None:
        spec = problem.free[grid.size]
        free[..., grid.size] = spec.to_free(chosen.abs().clamp(min=spec.lower))
    if grid.phase is not None:
        free[..., grid.phase] = chosen.angle()
    if signs is not None:
        each = signs.expand(len(data), *signs.shape[-2:])
        signs = each.take_along_dim(top.indices[..., None], dim=1).movedim(1, 0)
    return Starts(free.movedim(1, 0), usable.mT, signs)


def _takes_modulus(problem: VoxelProblem) -> bool:
    """Whether the model gives magnitudes and tells the signed signal behind them."""
    kind = getattr(problem.model, "kind", None)
    return isinstance(problem.model, SeparableModel) and kind is SignalKind.MAGNITUDE


def _amplitude(match: Tensor, energy: Tensor, grid: StartGrid) -> Tensor:
    """Return the best amplitude of each point; 1 where there is none to choose."""
    if grid.size is None:
        return torch.ones_like(match)
    if match.is_complex() and grid.phase is None:
        match = match.real
    return (match if match.is_complex() else match.clamp(min=0)) / energy


def _is_peak(
    explained: Float[Tensor, "voxels points"],
    shape: tuple[int, ...],
    signs: Int8[Tensor, "*voxels points volumes"] | None,
) -> Bool[Tensor, "voxels points"]:
    """Return whether a point explains as much as all its neighbours of the same signs."""
    if signs is None:
        return explained >= _widest(explained, shape)
    bits = 2 ** torch.arange(signs.shape[-1], device=signs.device, dtype=torch.float64)
    pattern = ((signs < 0) * bits).sum(-1)
    peak = torch.zeros_like(explained, dtype=torch.bool)
    for number in torch.unique(pattern):
        own = torch.where(pattern == number, explained, -math.inf)
        peak |= (pattern == number) & (own >= _widest(own, shape))
    return peak


def _widest(values: Float[Tensor, "voxels points"], shape: tuple[int, ...]) -> Tensor:
    """Return the largest value among each point and its neighbours."""
    grid = values.reshape(-1, *shape)
    for axis, count in enumerate(shape, start=1):
        if count > 1:
            wide = grid.clone()
            for there, neighbour in ((0, 1), (1, 0)):
                part = wide.narrow(axis, there, count - 1)
                torch.maximum(part, grid.narrow(axis, neighbour, count - 1), out=part)
            grid = wide
    return grid.reshape(values.shape)


def _axis(spec: ParameterSpec, count: int, problem: VoxelProblem) -> Tensor:
    """Return the points of one parameter, on the real line."""
    if spec.unit == "Hz":
        return _frequencies(spec, problem)
    if not math.isfinite(spec.lower) or not math.isfinite(spec.upper):
        raise UsageError(
            f"{spec.name} has no finite range to search",
            remedy="Fix it with --fix, declare it as the amplitude of the model, or give finite limits.",
        )
    if spec.scale is Scale.LOG:
        inset = min(math.log(INSET), (spec.free_range[1] - spec.free_range[0]) / 4)
        return torch.linspace(spec.free_range[0] + inset, spec.free_range[1] - inset, count)
    step = (spec.upper - spec.lower) / count
    return spec.lower + step * (torch.arange(count) + 0.5)


def _frequencies(spec: ParameterSpec, problem: VoxelProblem) -> Tensor:
    """Return frequencies between which the phase of the echoes can tell, and no aliases of them."""
    echoes = sorted(set(problem.protocol.require("echo_time", spec.name).flatten().tolist()))
    if len(echoes) < 2:
        return torch.zeros(1)
    shortest = min(later - earlier for earlier, later in pairwise(echoes))
    reach = min(1 / (2 * shortest), spec.upper, -spec.lower)
    span = echoes[-1] - echoes[0]
    count = min(MOST_FREQUENCIES, math.ceil(PER_PERIOD * span * 2 * reach) + 1)
    return torch.linspace(-reach, reach, count)
