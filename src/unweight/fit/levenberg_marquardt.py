"""Levenberg–Marquardt within bounds, all voxels at once.

    (H + λ·diag H)·step = g,    H = JᵀJ,  g = Jᵀ(data − signal)

in the free parameters of a `VoxelProblem`, λ of each voxel smaller after a step that lowers its sum of
squares and larger after one that does not. A parameter at an end of its range is out of the system as long
as the gradient pushes it outwards. Voxels that have settled leave the iteration.

References: Marquardt, SIAM J Appl Math 11:431, 1963; Nocedal, Wright, Numerical Optimization (2006),
chapters 10 and 16.7.
"""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unweight.core.parameter import Scale
from unweight.fit.voxel_problem import Free, VoxelProblem, samples_of

FIRST_DAMPING, LEAST_DAMPING, MOST_DAMPING = 1e-3, 1e-12, 1e10
EASED, RAISED = 0.1, 10.0
SETTLED = 1e-6  # of a step relative to the size of each parameter
SMALL = 1e-3  # size of a linear parameter near 0; data are of the order of 1
OPTIMISM = 4.0  # times the gain that a step promises, granted before a voxel is given up
LONGEST = 2.0  # of ln, per step


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Minimum:
    """Where the search of each voxel ended.

    Attributes:
        free: Free parameters.
        rss: Residual sum of squares.
        step: The largest component of the last step, relative to the size of its parameter.
    """

    free: Free
    rss: Float[Tensor, " voxels"]
    step: Float[Tensor, " voxels"]

    def put(self, voxels: Tensor, other: "Minimum") -> "Minimum":
        """Return a copy in which these voxels are replaced."""
        return Minimum(
            free=self.free.index_copy(0, voxels, other.free),
            rss=self.rss.index_copy(0, voxels, other.rss),
            step=self.step.index_copy(0, voxels, other.step),
        )

    def take(self, voxels: Tensor | slice) -> "Minimum":
        """Return these voxels."""
        return Minimum(free=self.free[voxels], rss=self.rss[voxels], step=self.step[voxels])

    def lower(self, other: "Minimum") -> "Minimum":
        """Return the lower of two minima of each voxel."""
        return self._where(self.rss <= other.rss, other)

    def higher(self, other: "Minimum") -> "Minimum":
        """Return the higher of two minima of each voxel."""
        return self._where(self.rss > other.rss, other)

    def _where(self, condition: Bool[Tensor, " voxels"], other: "Minimum") -> "Minimum":
        return Minimum(
            free=torch.where(condition[:, None], self.free, other.free),
            rss=torch.where(condition, self.rss, other.rss),
            step=torch.where(condition, self.step, other.step),
        )


def minimise(
    problem: VoxelProblem, start: Free, n_steps: int, ceiling: Float[Tensor, " voxels"] | None = None
) -> Minimum:
    """Return the minimum of the sum of squares that each start leads to.

    Args:
        problem: Model and data.
        start: Within the bounds.
        n_steps: Steps allowed.
        ceiling: Sums of squares above which a minimum is of no interest. A voxel whose next steps do not
            promise to come below is left where it is.
    """
    low, high = problem.bounds()
    ended = Minimum(
        free=start.clone(), rss=torch.empty_like(start[:, 0]), step=torch.zeros_like(start[:, 0])
    )
    active = torch.arange(len(start), device=start.device)
    free, data = start, samples_of(problem.data)
    signal, slopes = problem.signal_and_slopes(free)
    residual = data - signal
    rss = residual.square().sum(-1)
    damping = torch.full_like(rss, FIRST_DAMPING)
    for _ in range(n_steps):
        step = bounded_step(residual, slopes, damping, (free <= low, free >= high))
        promised = OPTIMISM * (step[:, None] @ (slopes.mT @ residual[..., None]))[:, 0, 0]
        step = torch.where(_is_log(problem), step.clamp(-LONGEST, LONGEST), step)
        trial = torch.minimum(torch.maximum(free + step, low), high)
        there, slopes_there = problem.signal_and_slopes(trial)
        residual_there = data - there
        rss_there = residual_there.square().sum(-1)
        better = rss_there <= rss
        size = relative_size(problem, free, trial - free)
        free = torch.where(better[:, None], trial, free)
        residual = torch.where(better[:, None], residual_there, residual)
        slopes = torch.where(better[:, None, None], slopes_there, slopes)
        rss = torch.where(better, rss_there, rss)
        damping = (damping * torch.where(better, EASED, RAISED)).clamp(min=LEAST_DAMPING)
        done = (size < SETTLED) | (damping > MOST_DAMPING)
        if ceiling is not None:
            done |= (rss - promised > ceiling) & (damping < 1.0)
        ended = ended.put(active, Minimum(free=free, rss=rss, step=size))
        going = (~done).nonzero()[:, 0]
        if not len(going):
            break
        if len(going) < len(active):
            active, problem, data = active[going], problem.take(going), data[going]
            free, residual, slopes = free[going], residual[going], slopes[going]
            rss, damping = rss[going], damping[going]
            ceiling = None if ceiling is None else ceiling[going]
    return ended


def bounded_step(
    residual: Float[Tensor, "voxels samples"],
    slopes: Float[Tensor, "voxels samples free"],
    damping: Float[Tensor, " voxels"],
    ends: tuple[Bool[Tensor, "voxels free"], Bool[Tensor, "voxels free"]],
) -> Free:
    """Return the damped step, 0 along parameters that would leave their range or do not matter.

    Args:
        residual: Data less signal.
        slopes: Derivative of the signal.
        damping: λ.
        ends: Which parameters are at the lower end of their range, and which at the upper.
    """
    gradient = (slopes * residual[..., None]).sum(-2)
    information = slopes.mT @ slopes
    diagonal = information.diagonal(dim1=-2, dim2=-1)
    stuck = (ends[0] & (gradient < 0)) | (ends[1] & (gradient > 0)) | ~(diagonal > 0)
    kept = ~stuck
    information = torch.where(kept[..., None] & kept[..., None, :], information, 0.0)
    raised = torch.where(stuck, 1.0, diagonal * (1 + damping[:, None]))
    information = information - torch.diag_embed(information.diagonal(dim1=-2, dim2=-1) - raised)
    scale = raised.rsqrt()
    scaled = information * scale[..., None] * scale[..., None, :]
    right = torch.where(stuck, 0.0, gradient) * scale
    step = torch.linalg.solve_ex(scaled, right[..., None])[0][..., 0] * scale
    return torch.nan_to_num(step, nan=0.0, posinf=0.0, neginf=0.0)


def relative_size(problem: VoxelProblem, free: Free, step: Free) -> Float[Tensor, " voxels"]:
    """Return the largest component of a step, relative to the size of its parameter."""
    size = torch.where(_is_log(problem), 1.0, free.abs().clamp(min=SMALL))
    return (step.abs() / size).amax(-1)


def _is_log(problem: VoxelProblem) -> Bool[Tensor, " free"]:
    log = [spec.scale is Scale.LOG for spec in problem.free]
    return torch.tensor(log, device=problem.data.device)
