"""Which sphere is which, and which plate it is: by the T1 that a plate should show.

The pattern of the spheres looks the same after a half turn and in two mirrors, so a pose leaves four
ways to number them. T1 falls from sphere 1 to 14 over two decades, and differently on the two plates;
only the right numbering of the right plate agrees with that. Two witnesses can be asked: signals with
their inversion times, compared with inversion recovery at the nominal T1 (any amplitude per sphere),
or a T1 map. Neither needs more than rough agreement: a wrong numbering is off by factors of ten.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unweight.core.acquisition import SignalKind
from unweight.core.protocol import Protocol
from unweight.phantom.facts import SPHERE_CENTRES_MM, SphereArray
from unweight.signals.inversion_recovery import InversionRecovery

EFFICIENCIES = (2.0, 1.85, 1.7)
LARGEST_LOG_RATIO = 1.0
LEAST_KNOWN = 7


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Numbering:
    """One way to number 14 spheres as those of one plate.

    Attributes:
        array: The plate.
        order: For sphere 1 to 14, its place in the list of the pose.
        misfit: Disagreement with the nominal T1, 0 is none; comparable within one witness only.
    """

    array: SphereArray
    order: Int[Tensor, " spheres"]
    misfit: float


def template_symmetries() -> tuple[Int[Tensor, " spheres"], ...]:
    """Return the four orders in which the pattern of spheres coincides with itself."""
    centres = torch.tensor(SPHERE_CENTRES_MM, dtype=torch.float64)
    orders = []
    for x, y in ((1, 1), (-1, -1), (-1, 1), (1, -1)):
        moved = centres * torch.tensor([x, y], dtype=torch.float64)
        orders.append(torch.cdist(moved, centres).argmin(1))
    return tuple(orders)


def order_by_signal(
    signals: Float[Tensor, "spheres volumes"],
    protocol: Protocol,
    kind: SignalKind,
    arrays: Sequence[SphereArray],
) -> list[Numbering]:
    """Return all numberings, the best first, judged by inversion-recovery signals.

    The misfit is the part of a sphere's signal that no amplitude explains, averaged over spheres.

    Args:
        signals: Mean signal of each sphere, in the order of the pose.
        protocol: With inversion times.
        kind: What the signals are; complex ones are judged by their magnitude.
        arrays: The plates that come into question.
    """
    signed = kind is SignalKind.SIGNED
    measured = (signals if signed else signals.abs()).double().cpu()
    measured = measured / measured.norm(dim=-1, keepdim=True).clamp_min(1e-300)
    model = InversionRecovery(kind=SignalKind.SIGNED if signed else SignalKind.MAGNITUDE)
    numberings = []
    for array in arrays:
        expected = _directions(model, protocol, array)
        match = torch.einsum("kev,sv->kes", expected, measured).amax(1)
        for order in template_symmetries():
            cosine = match[torch.arange(len(order)), order].clamp(0.0, 1.0)
            misfit = float((1 - cosine**2).sqrt().mean())
            numberings.append(Numbering(array=array, order=order, misfit=misfit))
    return sorted(numberings, key=lambda numbering: numbering.misfit)


def order_by_t1(t1: Float[Tensor, " spheres"], arrays: Sequence[SphereArray]) -> list[Numbering]:
    """Return all numberings, the best first, judged by T1; none if too few spheres have one.

    The misfit is the mean of |ln(T1/nominal)|, each sphere counting at most 1.

    Args:
        t1: T1 of each sphere in the order of the pose, NaN where it is not known [s].
        arrays: The plates that come into question.
    """
    if int(torch.isfinite(t1).sum()) < LEAST_KNOWN:
        return []
    numberings = []
    for array in arrays:
        nominal = torch.tensor(array.nominal.t1, dtype=torch.float64)
        for order in template_symmetries():
            ratio = (t1.cpu().double()[order] / nominal).log().abs().clamp_max(LARGEST_LOG_RATIO)
            numberings.append(Numbering(array=array, order=order, misfit=float(ratio.nanmean())))
    return sorted(numberings, key=lambda numbering: numbering.misfit)


def runner_up(numberings: Sequence[Numbering]) -> float:
    """Return the smallest misfit among numberings whose order differs from the best one's."""
    others = [n.misfit for n in numberings if not torch.equal(n.order, numberings[0].order)]
    return min(others, default=math.inf)


def _directions(
    model: InversionRecovery, protocol: Protocol, array: SphereArray
) -> Float[Tensor, "spheres efficiencies volumes"]:
    """Return the nominal signals, each of length 1, for a few inversion efficiencies."""
    t1 = torch.tensor(array.nominal.t1, dtype=torch.float64)[:, None].expand(-1, len(EFFICIENCIES))
    efficiency = torch.tensor(EFFICIENCIES, dtype=torch.float64).expand(t1.shape[0], -1)
    signal = model(torch.stack((t1, torch.ones_like(t1), efficiency), -1), protocol)
    return torch.nn.functional.normalize(signal, dim=-1)
