"""Inversion recovery with everything but ln T1 solved in closed form (variable projection).

For a fixed T1 the signal of `signals.inversion_recovery` is linear in two numbers,

    S_n = PD·(u_n + B·v_n),

    C = B:      u = 1 − R,          v = R − E        E = exp(−TI/T1)
    C constant: u = 1 + (C − 1)·R,  v = −E           R = exp(−(TR − t_end)/T1)

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
from unweight.signals.inversion_recovery import recovery_interval

Row = Float[Tensor, " voxels"]
Block = Float[Tensor, "volumes voxels"]


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
        model: Signal at this solution.
        slope: dS/d ln T1 at fixed PD and B.
        curvature: Squared length of the part of the slope that PD and B cannot imitate; the variance
            of ln T1 is the noise variance divided by it.
    """

    rss: Row
    step: Row
    pd: Row
    b: Row
    model: Block
    slope: Block
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


def recovery_basis(log_t1: Row, timing: RecoveryTiming) -> tuple[Block, Block, Block, Block]:
    """Return u, v and their derivatives in ln T1."""
    rate = torch.exp(-log_t1)[None]
    x = timing.inversion_time * rate
    e = torch.exp(-x)
    if timing.interval is None:
        return torch.ones_like(e), -e, torch.zeros_like(e), -e * x
    y = timing.interval * rate
    r = torch.exp(-y)
    if timing.complete is None:
        return 1 - r, r - e, -r * y, r * y - e * x
    c = timing.complete - 1
    return 1 + c * r, -e, c * r * y, -e * x


def project(log_t1: Row, data: Block, timing: RecoveryTiming, b_range: tuple[Tensor, Tensor]) -> Projection:
    """Solve PD ≥ 0 and B in its range at this T1, and give the Gauss–Newton step in ln T1."""
    u, v, du, dv = recovery_basis(log_t1, timing)
    uu, uv, vv = _dot(u, u), _dot(u, v), _dot(v, v)
    zu, zv = _dot(data, u), _dot(data, v)
    det = uu * vv - uv * uv
    pd_free, q_free = vv * zu - uv * zv, uu * zv - uv * zu
    low, high = b_range
    b_free = q_free / pd_free
    inside = (pd_free > 0) & (det > 0) & (b_free >= low) & (b_free <= high)
    pd_low, gain_low = _ray(zu, zv, (uu, uv, vv), low)
    pd_high, gain_high = _ray(zu, zv, (uu, uv, vv), high)
    lower_wins = gain_low > gain_high
    b = torch.where(inside, b_free, torch.where(lower_wins, low, high))
    pd = torch.where(inside, pd_free / det, torch.where(lower_wins, pd_low, pd_high))
    model = pd * (u + b * v)
    residual = data - model
    slope = pd * (du + b * dv)
    su, sv = _dot(slope, u), _dot(slope, v)
    imitated = torch.where(
        inside,
        (vv * su * su - 2 * uv * su * sv + uu * sv * sv) / det,
        (su + b * sv) ** 2 / (uu + 2 * b * uv + b * b * vv),
    )
    curvature = _dot(slope, slope) - imitated
    step = _dot(slope, residual) / curvature.clamp(min=1e-30)
    return Projection(
        rss=_dot(residual, residual),
        step=torch.where(curvature > 0, step, torch.zeros_like(step)),
        pd=pd,
        b=b,
        model=model,
        slope=slope,
        curvature=curvature,
    )


def _dot(a: Block, b: Block) -> Row:
    return (a * b).sum(0)


def _ray(zu: Row, zv: Row, gram: tuple[Row, Row, Row], b: Tensor) -> tuple[Row, Row]:
    """Best PD ≥ 0 along one B, and what it takes off the sum of squares."""
    uu, uv, vv = gram
    length = uu + 2 * b * uv + b * b * vv
    along = (zu + b * zv).clamp(min=0)
    return along / length, along * along / length
