"""The likelihood profile: how well each T1 of a fixed grid explains a voxel, whatever PD and B are.

    L(T1) = −½ · [ min_{PD ≥ 0, B} Σ_n (y_n − |S_n|)² − its least over T1 ] / sigma²,   at least −FLOOR

For a fixed T1 the sum of squares is a projection (`fit.recovery_projection`), so the whole profile is
one matrix product and a few operations per node. It says the same thing about any set of inversion times,
in any order: where the likelihood lies, how wide it is, and whether it has more than one mode.
"""

import math
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unweight.core.acquisition import SignalKind
from unweight.fit.recovery_projection import RecoveryTiming, recovery_basis

N_NODES = 64
T1_ENDS = (0.008, 7.0)  # [s]
EFFICIENCIES = (1.3, 2.1)  # where a real inversion pulse, and a TI a few ms off, can bring B
WITHOUT_TR = (1.0, 2.1)  # where a TR that nobody told can bring it as well
N_EFFICIENCIES = 13  # at which sign patterns are looked for
FLOOR = 20.0


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class ProfileNodes:
    """The nodes of one protocol: for each T1, every sign pattern that magnitudes can have lost.

    Attributes:
        along: The rows that give y·u and y·v with the signs of each pattern.
        energy: u·u, u·v and v·v of each row.
        node: To which T1 each row belongs.
        log_t1: ln T1 of the nodes.
        efficiencies: Smallest and largest B.
    """

    along: Float[Tensor, "two rows volumes"]
    energy: Float[Tensor, "three rows"]
    node: Int[Tensor, " rows"]
    log_t1: Float[Tensor, " nodes"]
    efficiencies: tuple[float, float]


def profile_nodes(timing: RecoveryTiming, kind: SignalKind, n_nodes: int = N_NODES) -> ProfileNodes:
    """Lay the nodes for one protocol, evenly in ln T1."""
    like = timing.inversion_time
    log_t1 = torch.linspace(math.log(T1_ENDS[0]), math.log(T1_ENDS[1]), n_nodes).to(like)
    u, v, _, _ = (part.expand(len(like), n_nodes) for part in recovery_basis(log_t1, timing))
    ends = WITHOUT_TR if timing.interval is None else EFFICIENCIES
    efficiencies = torch.linspace(*ends, N_EFFICIENCIES).to(like)
    signs, node = [], []
    for index in range(n_nodes):
        signal = u[:, index] + efficiencies[:, None] * v[:, index]
        sign = torch.where(signal < 0, -1.0, 1.0).to(like)
        patterns = torch.ones_like(sign[:1]) if kind is SignalKind.SIGNED else torch.unique(sign, dim=0)
        signs.append(patterns)
        node += [index] * len(patterns)
    sign, member = torch.cat(signs), torch.tensor(node, device=like.device)
    u, v = u.T[member], v.T[member]
    return ProfileNodes(
        along=torch.stack([sign * u, sign * v]),
        energy=torch.stack([(u * u).sum(1), (u * v).sum(1), (v * v).sum(1)]),
        node=member,
        log_t1=log_t1,
        efficiencies=ends,
    )


def profile(
    data: Float[Tensor, "voxels volumes"], nodes: ProfileNodes, sigma: float
) -> Float[Tensor, "nodes voxels"]:
    """Return L at each node, 0 at the best and −FLOOR at the worst.

    Args:
        data: Volumes of each voxel.
        nodes: Of their protocol.
        sigma: Noise standard deviation of one channel [unit of the data].
    """
    zu, zv = nodes.along @ data.T
    uu, uv, vv = nodes.energy[:, :, None]
    pd, q = vv * zu - uv * zv, uu * zv - uv * zu
    low, high = nodes.efficiencies
    # Where PD would be negative, or nothing tells B (v = 0), the best B is an end of its range.
    edge = torch.where(q < 0, low, high)
    b = torch.where(pd > 0, q / pd, edge).clamp(low, high)
    explained = (zu + b * zv).clamp(min=0) ** 2 / (uu + b * (2 * uv + b * vv))
    best = torch.zeros(len(nodes.log_t1), len(data), dtype=data.dtype, device=data.device)
    best.scatter_reduce_(0, nodes.node[:, None].expand_as(explained), explained, "amax")
    fall = (best - best.amax(0)) / (2 * sigma**2)
    return fall.clamp(min=-FLOOR)
