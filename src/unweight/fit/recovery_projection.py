"""Inversion recovery with everything but ln T1 solved in closed form (variable projection).

For a fixed T1 the signal of `signals.inversion_recovery` is linear in two numbers, S_n = PD·(u_n + B·v_n),
so least squares over PD ≥ 0 and B in its range is a projection onto a two-dimensional cone, and only
ln T1 is left to search (Golub and Pereyra, SIAM J Numer Anal 10:413, 1973; the derivative in
Kaufman's simplification, BIT 15:49, 1975). Volumes stand first here, so that sums over them run over
contiguous voxels.
"""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from unweight.core.protocol import Protocol
from unweight.signals.inversion_recovery import recovery_basis as basis_of_rate
from unweight.signals.inversion_recovery import recovery_interval

Row = Float[Tensor, " voxels"]
Block = Float[Tensor, "volumes voxels"]
Basis = Float[Tensor, "..."]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class RecoveryTiming:
    """What the projection needs of a protocol.

    Attributes:
        inversion_time: TI [s].
        interval: TR − t_end [s], or None for a complete recovery between inversions.
        complete: C of the signal equation; None to let it follow B.
    """

    inversion_time: Float[Tensor, "volumes 1"]
    interval: Float[Tensor, "volumes 1"] | None
    complete: float | None


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Projection:
    """The best PD and B at one T1, and the way to a better T1.

    Attributes:
        rss: Residual sum of squares.
        step: Gauss–Newton step in ln T1.
        pd: Proton density.
        b: Inversion efficiency.
        curvature: Squared length of the part of the slope that PD and B cannot imitate; the variance
            of ln T1 is the noise variance divided by it.
    """

    rss: Row
    step: Row
    pd: Row
    b: Row
    curvature: Row


def recovery_timing(protocol: Protocol, complete: float | None, like: Tensor) -> RecoveryTiming:
    """Take from a protocol what the projection needs, on the device and in the dtype of `like`.

    Raises:
        ProtocolError: The protocol gives no inversion time.
    """
    interval = recovery_interval(protocol)
    return RecoveryTiming(
        inversion_time=protocol.require("inversion_time", "the inversion-recovery fit").to(like)[:, None],
        interval=None if interval is None else interval.to(like)[:, None],
        complete=complete,
    )


def recovery_basis(log_t1: Row, timing: RecoveryTiming) -> tuple[Basis, Basis, Basis, Basis]:
    """Return u, v and their derivatives in ln T1; those that are the same for all voxels have one."""
    rate = torch.exp(-log_t1)[None]
    return basis_of_rate(rate, timing.inversion_time, timing.interval, timing.complete)


def project(log_t1: Row, data: Block, timing: RecoveryTiming, b_range: tuple[Tensor, Tensor]) -> Projection:
    """Solve PD ≥ 0 and B in its range at this T1, and give the Gauss–Newton step in ln T1.

    The sum of squares is convex in (PD, PD·B), so the best B in the range is the free one, carried to
    the nearer end if it lies outside; PD then is the projection onto u + B·v.
    """
    u, v, du, dv = recovery_basis(log_t1, timing)
    uu, uv, vv = _dot(u, u), _dot(u, v), _dot(v, v)
    zu, zv = _dot(data, u), _dot(data, v)
    pd_free, q_free = vv * zu - uv * zv, uu * zv - uv * zu  # both times the determinant
    b_free = torch.where(pd_free > 0, q_free / pd_free, q_free.sign() * torch.inf)
    b = torch.clamp(b_free, *b_range)
    length = uu + b * (2 * uv + b * vv)
    pd = (zu + b * zv).clamp(min=0) / length
    model = pd * torch.addcmul(u, b, v)
    slope = pd * torch.addcmul(du, b, dv)
    residual = data - model
    su, sv = _dot(slope, u), _dot(slope, v)
    imitated = torch.where(
        b == b_free,
        (su * (vv * su - 2 * uv * sv) + uu * sv * sv) / (uu * vv - uv * uv),
        (su + b * sv) ** 2 / length,
    )
    curvature = _dot(slope, slope) - imitated
    step = _dot(slope, residual) / curvature
    return Projection(
        rss=_dot(residual, residual),
        step=torch.where(curvature > 0, step, torch.zeros_like(step)),
        pd=pd,
        b=b,
        curvature=curvature,
    )


def _dot(a: Basis, b: Basis) -> Basis:
    product: Tensor = torch.linalg.vecdot(a, b, dim=0)
    return product
