"""Intervals that hold: half-widths in units of the network's own sd, found on subjects it has not seen.

    q_b = the ⌈(n + 1)·level⌉-th smallest |ln T1 − mean| / sd of calibration voxels whose mean lies in bin b

Split conformal prediction (Vovk et al., Algorithmic learning in a random world, 2005), separately for each
range of estimated T1 (Mondrian). Voxels of one head are alike, so what counts as n is heads and protocols,
not voxels: the correction of n + 1 is there for form, and many different slabs are needed.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unweight.core.errors import InputError, UsageError

LEVEL = 0.9
GAUSSIAN = 1.6449  # the half-width of a central 90 % interval of a normal law
EDGES = (0.06, 0.15, 0.5, 1.1, 2.0)  # between bins of T1 [s]
FEWEST = 200


@final
@dataclass(frozen=True, kw_only=True)
class Conformal:
    """Half-widths of 90 % intervals.

    Attributes:
        edges: Between the bins of estimated T1 [s].
        factors: Half-width in each bin, in sd.
    """

    edges: tuple[float, ...] = EDGES
    factors: tuple[float, ...] = (GAUSSIAN,) * (len(EDGES) + 1)

    def __post_init__(self) -> None:
        if len(self.factors) != len(self.edges) + 1 or min(self.factors) <= 0:
            raise UsageError(f"{len(self.factors)} factors for {len(self.edges) + 1} bins of T1")
        if list(self.edges) != sorted(set(self.edges)):
            raise UsageError(f"the edges {self.edges} do not rise")

    def bins(self, log_t1: Float[Tensor, "*voxels"]) -> Int[Tensor, "*voxels"]:
        """Return the bin of each voxel."""
        edges = torch.tensor([math.log(edge) for edge in self.edges]).to(log_t1)
        return torch.bucketize(log_t1.contiguous(), edges)

    def half_width(self, log_t1: Float[Tensor, "*voxels"]) -> Float[Tensor, "*voxels"]:
        """Return the half-width at estimates of ln T1, in sd."""
        return torch.tensor(self.factors).to(log_t1)[self.bins(log_t1)]

    def to_plain(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {"level": LEVEL, "edges": list(self.edges), "factors": list(self.factors)}


def conformal_from_plain(values: Mapping[str, Any]) -> Conformal:
    """Return what `to_plain` gave.

    Raises:
        InputError: These are not its values.
    """
    try:
        edges, factors = values["edges"], values["factors"]
        return Conformal(edges=tuple(map(float, edges)), factors=tuple(map(float, factors)))
    except (KeyError, TypeError, ValueError, UsageError) as error:
        raise InputError(
            f"contains no valid calibration of the intervals: {error}",
            remedy="Train the network again, or use the weights included in the package.",
        ) from error


def calibrate(
    mean: Float[Tensor, " voxels"],
    sd: Float[Tensor, " voxels"],
    truth: Float[Tensor, " voxels"],
    edges: Sequence[float] = EDGES,
) -> Conformal:
    """Find the half-widths on held-out voxels; a bin with too few of them takes that of all.

    Args:
        mean: Estimated ln T1.
        sd: Its standard deviation, as the network predicts it.
        truth: True ln T1.
        edges: Between the bins of T1 [s].

    Raises:
        UsageError: There are too few voxels for any interval.
    """
    if len(mean) < FEWEST:
        raise UsageError(f"{len(mean)} voxels are too few to calibrate intervals on")
    away = (truth - mean).abs() / sd
    blank = Conformal(edges=tuple(edges), factors=(GAUSSIAN,) * (len(edges) + 1))
    member = blank.bins(mean)
    everywhere = _quantile(away)
    factors = []
    for index in range(len(edges) + 1):
        some = away[member == index]
        factors.append(_quantile(some) if len(some) >= FEWEST else everywhere)
    return Conformal(edges=tuple(edges), factors=tuple(factors))


def _quantile(away: Float[Tensor, " voxels"]) -> float:
    rank = min(len(away), math.ceil((len(away) + 1) * LEVEL))
    return float(away.kthvalue(rank).values)
