"""The search for ln T1: every start that could win, and the Rician likelihood.

Voxels go through in blocks (`fit.blocks`), and the few that need more steps than the rest are collected
and finished together. The search runs in the precision of the data. Single precision, in which images
come, moves T1 by less than a twentieth of its standard deviation even at an SNR of 1,000.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unweight.core.estimator import Progress
from unweight.fit.blocks import ExecutionContext, each_block
from unweight.fit.polarity import PolarityDictionary, Start, best_starts
from unweight.fit.recovery_projection import Block, RecoveryTiming, Row, project, recovery_basis
from unweight.signals.inversion_recovery import T1

N_QUICK = 3  # steps between looks at which voxels have settled
STEP_LIMIT = 0.5  # of ln T1, per step
SETTLED = 1e-4  # a step in ln T1 below which a voxel is done (the step itself is still taken)
RIVAL_MARGIN = 9.0  # sigma² by which the residual sum of another polarity may be larger
ATOM_LOSS = 0.02  # share of the energy by which the nearest atom may overstate a residual sum
OPTIMISM = 2.0  # times the gain a Gauss–Newton step promises, granted to a rival before it is dropped
RICIAN_BELOW = 3.0  # a sample closer to zero than this many sigma feels the Rician law
N_RICIAN = 12  # iterations of expectation–maximisation
RICIAN_SETTLED = 1e-3


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Optimum:
    """Where the search stands.

    Attributes:
        log_t1: ln T1.
        pd: Proton density.
        b: Inversion efficiency.
        rss: Residual sum of squares.
        step: The step in ln T1 that would come next; 0 where the edge of the range stops it.
        pattern: Sign pattern of the dictionary.
        rival_rss: Residual sum of squares of the best other polarity; infinite if none was near.
        rival_log_t1: Its ln T1.
    """

    log_t1: Row
    pd: Row
    b: Row
    rss: Row
    step: Row
    pattern: Int[Tensor, " voxels"]
    rival_rss: Row
    rival_log_t1: Row

    def take(self, voxels: Tensor | slice) -> "Optimum":
        """Return these voxels."""
        return Optimum(**{name: getattr(self, name)[voxels] for name in ROWS})

    def double(self) -> "Optimum":
        """Return it in double precision."""
        rows = {name: getattr(self, name) for name in ROWS}
        return Optimum(**{n: row.double() if row.is_floating_point() else row for n, row in rows.items()})

    def put(self, voxels: Tensor, others: "Optimum") -> "Optimum":
        """Return a copy in which these voxels are replaced."""
        return Optimum(
            **{name: getattr(self, name).index_copy(0, voxels, getattr(others, name)) for name in ROWS}
        )

    def where(self, condition: Tensor, other: "Optimum") -> "Optimum":
        """Return self where the condition holds, else the other."""
        return Optimum(
            **{name: torch.where(condition, getattr(self, name), getattr(other, name)) for name in ROWS}
        )


ROWS = tuple(field.name for field in fields(Optimum))


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class RecoverySearch:
    """The search for one set of voxels.

    Attributes:
        data: The voxels' signals.
        timing: The protocol, as the projection needs it.
        dictionary: Where to start.
        b_range: Inversion efficiencies to search.
        known_b: Inversion efficiency of each voxel, if it is known.
        n_steps: Gauss–Newton steps allowed.
        where: Device and threads.
    """

    data: Float[Tensor, "voxels volumes"]
    timing: RecoveryTiming
    dictionary: PolarityDictionary
    b_range: tuple[float, float]
    known_b: Row | None
    n_steps: int
    where: ExecutionContext

    def start(self) -> Start:
        """Return the best starts of each voxel, by polarity."""
        parts = each_block(
            len(self.data),
            lambda block: best_starts(self.data[block], self.dictionary, self._known(block)),
            self.where,
        )
        return Start(
            pattern=torch.cat([part.pattern for part in parts], dim=1),
            log_t1=torch.cat([part.log_t1 for part in parts], dim=1),
            rss=torch.cat([part.rss for part in parts], dim=1),
        )

    def follow(self, start: Start, progress: Progress | None = None) -> Optimum:
        """Return the least-squares optimum of each voxel under its likeliest polarity."""
        everything = torch.arange(len(self.data), device=self.data.device)

        def work(block: slice) -> Optimum:
            some = everything[block]
            begin = self._begin(some, start.pattern[0, block], start.log_t1[0, block])
            return self._descend(begin, some, N_QUICK)

        optimum = self._finish(self._each(len(everything), work, progress), everything)
        return replace(optimum, rival_rss=torch.full_like(optimum.rss, torch.inf))

    def challenge(self, best: Optimum, start: Start, sigma: float) -> Optimum:
        """Follow every other start that could win or come close, and let the better one stand."""
        energy = (self.data**2).sum(1)
        for rank in range(1, len(start.pattern)):
            ceiling = best.rss + RIVAL_MARGIN * sigma**2
            voxels = (start.rss[rank] < ceiling + ATOM_LOSS * energy).nonzero()[:, 0]
            rivals = self._follow_rivals(voxels, start, rank, ceiling)
            if rivals is not None:
                voxels, result = rivals
                best = best.put(voxels, _winner(best.take(voxels), result))
        return best

    def _follow_rivals(
        self, voxels: Tensor, start: Start, rank: int, ceiling: Row
    ) -> tuple[Tensor, Optimum] | None:
        """Return the rivals that end below the ceiling; those that cannot are dropped on the way."""
        if not len(voxels):
            return None

        def begin(block: slice) -> Optimum:
            some = voxels[block]
            return self._begin(some, start.pattern[rank, some], start.log_t1[rank, some])

        rivals = self._each(len(voxels), begin)
        hopeful = (rivals.rival_rss < ceiling[voxels]).nonzero()[:, 0]
        voxels, first = voxels[hopeful], rivals.take(hopeful)
        if not len(voxels):
            return None
        rivals = self._each(len(voxels), partial(self._go_on, first, voxels))
        near = (rivals.rss < ceiling[voxels]).nonzero()[:, 0]
        voxels = voxels[near]
        return voxels, self._finish(rivals.take(near), voxels)

    def rician(self, optimum: Optimum, sigma: float) -> Optimum:
        """Go on from the least-squares optimum to the maximum of the Rician likelihood.

        Each iteration replaces a magnitude y by y·I1(x)/I0(x), x = y·m/sigma², the expected signed
        signal given the present model m, and takes one Gauss–Newton step towards it. Only voxels
        with a sample near zero move; for the others the two optima are the same.
        """
        closest = each_block(
            len(self.data),
            lambda block: self._model(optimum.take(block)).abs().amin(0),
            self.where,
        )
        voxels = (torch.cat(closest) < RICIAN_BELOW * sigma).nonzero()[:, 0]
        if not len(voxels):
            return optimum

        def work(block: slice) -> Optimum:
            some = voxels[block]
            held = optimum.take(some)
            moved = self._expect_and_maximise(held, some, sigma)
            data = self._magnitude(some)
            before, after = self._model(held), self._model(moved)
            rose = rician_log_likelihood(data, after, sigma) >= rician_log_likelihood(data, before, sigma)
            return moved.where(rose, held)

        return optimum.put(voxels, self._each(len(voxels), work))

    def _expect_and_maximise(self, now: Optimum, voxels: Tensor, sigma: float) -> Optimum:
        data, limits = self._magnitude(voxels), self._limits(voxels)
        low, high = T1.free_range
        whole, active = now, torch.arange(len(voxels), device=voxels.device)
        part = data
        for _ in range(N_RICIAN):
            expected = part * bessel_ratio(part * self._model(now) / sigma**2)
            there = project(now.log_t1, expected, self.timing, limits)
            move = there.step.clamp(-STEP_LIMIT / 2, STEP_LIMIT / 2)
            now = replace(now, log_t1=(now.log_t1 + move).clamp(low, high), pd=there.pd, b=there.b)
            going = (move.abs() > RICIAN_SETTLED).nonzero()[:, 0]
            whole = whole.put(active, now)
            if not len(going):
                break
            active, now, part = active[going], now.take(going), part[:, going]
            limits = _take(limits, going)
        return replace(whole, rss=((self._model(whole).abs() - data) ** 2).sum(0))

    def _each(
        self, total: int, work: Callable[[slice], Optimum], progress: Progress | None = None
    ) -> Optimum:
        return _join(each_block(total, work, self.where, progress))

    def _begin(self, voxels: Tensor, pattern: Int[Tensor, " voxels"], log_t1: Row) -> Optimum:
        """Solve at this T1; until there are rivals, `rival_rss` is what the next steps may reach."""
        data = self._signed(voxels, pattern)
        there = project(log_t1, data, self.timing, self._limits(voxels))
        return Optimum(
            log_t1=log_t1,
            pd=there.pd,
            b=there.b,
            rss=there.rss,
            step=there.step.clamp(-STEP_LIMIT, STEP_LIMIT),
            pattern=pattern,
            rival_rss=there.rss - OPTIMISM * there.step**2 * there.curvature,
            rival_log_t1=torch.full_like(log_t1, torch.nan),
        )

    def _descend(self, now: Optimum, voxels: Tensor, n_steps: int) -> Optimum:
        """Take Gauss–Newton steps in ln T1; one that does not improve is quartered."""
        low, high = T1.free_range
        at, pd, b, rss, step = now.log_t1, now.pd, now.b, now.rss, now.step
        data, limits = self._signed(voxels, now.pattern), self._limits(voxels)
        for _ in range(n_steps):
            trial = (at + step).clamp(low, high)
            there = project(trial, data, self.timing, limits)
            improved = there.rss <= rss
            at, pd = torch.where(improved, trial, at), torch.where(improved, there.pd, pd)
            b, rss = torch.where(improved, there.b, b), torch.where(improved, there.rss, rss)
            step = torch.where(improved, there.step.clamp(-STEP_LIMIT, STEP_LIMIT), step / 4)
        stopped = ((at <= low) & (step < 0)) | ((at >= high) & (step > 0))
        step = torch.where(stopped, torch.zeros_like(step), step)
        return replace(now, log_t1=at, pd=pd, b=b, rss=rss, step=step)

    def _finish(self, optimum: Optimum, voxels: Tensor) -> Optimum:
        """Go on with those that have not settled until they have, or the steps are used up."""
        for _ in range(N_QUICK, self.n_steps, N_QUICK):
            going = (optimum.step.abs() > SETTLED).nonzero()[:, 0]
            if not len(going):
                break
            again = partial(self._go_on, optimum.take(going), voxels[going])
            optimum = optimum.put(going, self._each(len(going), again))
        return optimum

    def _go_on(self, now: Optimum, voxels: Tensor, block: slice) -> Optimum:
        return self._descend(now.take(block), voxels[block], N_QUICK)

    def _model(self, optimum: Optimum) -> Block:
        u, v, _, _ = recovery_basis(optimum.log_t1, self.timing)
        return optimum.pd * (u + optimum.b * v)

    def _magnitude(self, voxels: Tensor) -> Block:
        return self.data[voxels].T.contiguous()

    def _signed(self, voxels: Tensor, pattern: Int[Tensor, " voxels"]) -> Block:
        return self.dictionary.signs[pattern].T * self.data[voxels].T

    def _known(self, voxels: Tensor | slice) -> Row | None:
        return None if self.known_b is None else self.known_b[voxels]

    def _limits(self, voxels: Tensor) -> tuple[Tensor, Tensor]:
        known = self._known(voxels)
        if known is not None:
            return known, known
        return torch.tensor(self.b_range[0]).to(self.data), torch.tensor(self.b_range[1]).to(self.data)


def rician_log_likelihood(data: Block, model: Block, sigma: float) -> Row:
    """Return the log-likelihood of magnitudes, up to what does not depend on the model.

    Other than that of `signals.noise` it is finite for a magnitude of 0, which rounded images hold.
    """
    x = data * model.abs() / sigma**2
    rest = (2 * data * model.abs() - model**2) / (2 * sigma**2)
    return (rest + torch.log(torch.special.i0e(x))).sum(0)


def bessel_ratio(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return I1(x)/I0(x), odd in x, to single precision."""
    single = x.float()
    ratio: Tensor = torch.special.i1e(single) / torch.special.i0e(single)
    return ratio.to(x)


def _winner(held: Optimum, rival: Optimum) -> Optimum:
    """The better of the two, remembering the nearest loser."""
    wins = rival.rss < held.rss
    best = rival.where(wins, held)
    loser = held.where(wins, rival)
    nearer = loser.rss < held.rival_rss
    return replace(
        best,
        rival_rss=torch.where(nearer, loser.rss, held.rival_rss),
        rival_log_t1=torch.where(nearer, loser.log_t1, held.rival_log_t1),
    )


def _join(parts: list[Optimum]) -> Optimum:
    return Optimum(**{name: torch.cat([getattr(part, name) for part in parts]) for name in ROWS})


def _take(limits: tuple[Tensor, Tensor], voxels: Tensor) -> tuple[Tensor, Tensor]:
    low, high = limits
    return (low[voxels], high[voxels]) if low.ndim else limits
