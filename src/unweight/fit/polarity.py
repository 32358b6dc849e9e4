"""Where to start: the best T1 for each polarity that magnitude data leave open, and for each basin.

A magnitude image has lost the sign of each volume. The model itself can produce only a few sign
patterns (with one TR, the first k inversion times are negative). So a coarse dictionary of |S| over
(ln T1, B), grouped by the pattern of S, gives for each voxel the best start within each pattern by
one matrix product; patterns no model can make are never tried. Signed data have one pattern.

Within a pattern a voxel can have several minima far apart in T1, above all where TR is short or changes
with TI. So each pattern is cut into overlapping ranges of T1, and the best atom of a range counts only
if it does not lie on a cut: there it is but the flank of a minimum of the next range.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from unweight.core.acquisition import SignalKind
from unweight.fit.recovery_projection import RecoveryTiming, recovery_basis

N_T1 = 48
EFFICIENCIES = (0.6, 0.9, 1.2, 1.4, 1.55, 1.7, 1.8, 1.88, 1.95, 2.02, 2.1, 2.25, 2.5, 2.8)
N_RANGES = 6  # of T1
N_RANKS = 4  # starts kept per voxel
CHUNK = 2048  # voxels whose scores fit in cache
INDEX_BITS = 10
NOTHING = 1e-30  # a score that is none


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class PolarityDictionary:
    """Unit-length signals, sorted by sign pattern.

    Attributes:
        atoms: Their magnitudes (or the signals themselves, for signed data).
        log_t1: ln T1 of each atom.
        b: Inversion efficiency of each atom.
        signs: +1 and −1 for each pattern.
        groups: Begin, end and pattern of each group of atoms.
        on_cut: Whether an atom lies where its range of T1 was cut.
    """

    atoms: Float[Tensor, "volumes atoms"]
    log_t1: Float[Tensor, " atoms"]
    b: Float[Tensor, " atoms"]
    signs: Float[Tensor, "patterns volumes"]
    groups: Sequence[tuple[int, int, int]]
    on_cut: Bool[Tensor, " atoms"]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Start:
    """The best starts of each voxel, best first.

    Attributes:
        pattern: Index of the sign pattern.
        log_t1: ln T1 to start from.
        rss: Residual sum of squares of the nearest atom; infinite for a start that does not count.
    """

    pattern: Int[Tensor, "ranks voxels"]
    log_t1: Float[Tensor, "ranks voxels"]
    rss: Float[Tensor, "ranks voxels"]


def polarity_dictionary(
    timing: RecoveryTiming, kind: SignalKind, t1_range: tuple[float, float]
) -> PolarityDictionary:
    """Build the dictionary for one protocol; T1 is spaced evenly in its logarithm."""
    like = timing.inversion_time
    log_t1 = torch.linspace(math.log(t1_range[0]), math.log(t1_range[1]), N_T1).to(like)
    u, v, _, _ = recovery_basis(log_t1, timing)
    b = torch.tensor(EFFICIENCIES).to(like)
    signal = (u[:, :, None] + b * v[:, :, None]).reshape(len(like), -1)
    log_t1, b = log_t1.repeat_interleave(len(b)), b.repeat(N_T1)
    if kind is SignalKind.SIGNED:
        patterns = torch.ones(1, len(like)).to(like)
        member = torch.zeros(signal.shape[1], dtype=torch.long, device=like.device)
    else:
        negative, member = torch.unique(signal < 0, dim=1, return_inverse=True)
        patterns = (1.0 - 2.0 * negative.to(like)).T.contiguous()
        signal = signal.abs()
    index = torch.arange(N_T1, device=like.device).repeat_interleave(len(EFFICIENCIES))
    chosen: list[Tensor] = []
    cuts: list[Tensor] = []
    groups: list[tuple[int, int, int]] = []
    for first, last in _ranges():
        for pattern in range(len(patterns)):
            atoms = ((index >= first) & (index <= last) & (member == pattern)).nonzero()[:, 0]
            if len(atoms):
                begin = sum(len(part) for part in chosen)
                groups.append((begin, begin + len(atoms), pattern))
                chosen.append(atoms)
                at = index[atoms]
                cuts.append(((at == first) & (first > 0)) | ((at == last) & (last < N_T1 - 1)))
    order = torch.cat(chosen)
    return PolarityDictionary(
        atoms=(signal / signal.norm(dim=0))[:, order].float(),
        log_t1=log_t1[order],
        b=b[order],
        signs=patterns,
        groups=groups,
        on_cut=torch.cat(cuts),
    )


def _ranges() -> list[tuple[int, int]]:
    """Return the first and last T1 of each range; neighbours share two."""
    edges = [round(step * N_T1 / N_RANGES) for step in range(N_RANGES + 1)]
    return [(max(0, low - 1), min(N_T1 - 1, high)) for low, high in pairwise(edges)]


def best_starts(
    data: Float[Tensor, "voxels volumes"],
    dictionary: PolarityDictionary,
    known_b: Float[Tensor, " voxels"] | None = None,
) -> Start:
    """Return the best atom of the best groups of each voxel, at most `N_RANKS` of them."""
    parts = [
        _best_of_groups(
            data[begin : begin + CHUNK],
            dictionary,
            None if known_b is None else known_b[begin : begin + CHUNK],
        )
        for begin in range(0, len(data), CHUNK)
    ]
    value, atom = (torch.cat(part, dim=1) for part in zip(*parts, strict=True))
    value = value.masked_fill(dictionary.on_cut[atom], 0.0)
    top = value.topk(min(N_RANKS, len(value)), dim=0)
    pattern = torch.tensor([group[2] for group in dictionary.groups], device=data.device)
    energy = (data.float() ** 2).sum(1)
    explained = torch.where(top.values > NOTHING, top.values**2, -math.inf)
    return Start(
        pattern=pattern[top.indices],
        log_t1=dictionary.log_t1[atom.gather(0, top.indices)],
        rss=energy - explained,
    )


def _best_of_groups(
    data: Float[Tensor, "voxels volumes"],
    dictionary: PolarityDictionary,
    known_b: Float[Tensor, " voxels"] | None,
) -> tuple[Float[Tensor, "groups voxels"], Int[Tensor, "groups voxels"]]:
    """Return the best score of each group, and the atom it belongs to.

    The atom's index travels in the last bits of its score, so that one maximum finds both; it costs
    a part in 8,000 of the score, far less than the distance from atom to atom.
    """
    score = dictionary.atoms.T @ data.float().T
    if known_b is not None:
        widest = max(b - a for a, b in pairwise(EFFICIENCIES))
        nearest = known_b.clamp(min(EFFICIENCIES), max(EFFICIENCIES)).float()
        score.masked_fill_((dictionary.b.float()[:, None] - nearest).abs() > widest, 0.0)
    last_bits = (1 << INDEX_BITS) - 1
    index = torch.arange(len(score), dtype=torch.int32, device=data.device)[:, None]
    score.clamp_(min=0).view(torch.int32).bitwise_and_(~last_bits).bitwise_or_(index)
    best = torch.stack([score[begin:end].amax(0) for begin, end, _ in dictionary.groups])
    return best, (best.view(torch.int32) & last_bits).long()
