"""Philips scaling: what a stored number means differs from series to series, and may differ within one.

With the stored number PV, rescale slope RS and intercept RI, and scale slope SS (Chenevert et al.,
Transl Oncol 7:65, 2014), the displayed value is DV = PV·RS + RI, and only the floating point value

    FP = (PV·RS + RI) / (RS·SS)

is in one unit across volumes. dcm2niix writes all of these beside the image, and its image holds FP
(`UsePhilipsFloatNotDisplayScaling` 1), DV (0), or the real-world value PV·RWVS + RWVI where
`PhilipsRWVSlope` is given. Volumes of a series that were scaled alike are left as they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from unweight.bids.sidecar import Sidecar
from unweight.core.errors import InputError

SCALE = "PhilipsScaleSlope"
RESCALE, RESCALE_INTERCEPT = "PhilipsRescaleSlope", "PhilipsRescaleIntercept"
WORLD, WORLD_INTERCEPT = "PhilipsRWVSlope", "PhilipsRWVIntercept"
NUMBERS = (SCALE, RESCALE, RESCALE_INTERCEPT, WORLD, WORLD_INTERCEPT)
DONE = "UsePhilipsFloatNotDisplayScaling"


@final
@dataclass(frozen=True, kw_only=True)
class Rescaling:
    """FP = factor · image + offset."""

    factor: float = 1.0
    offset: float = 0.0


def rescalings(sidecars: Sequence[Sidecar]) -> tuple[Rescaling, ...]:
    """Return what brings each volume of a series to one unit: nothing, unless their scalings differ.

    Raises:
        InputError: They differ, and a sidecar does not say how.
    """
    states = {(*(sidecar.number(name) for name in NUMBERS), _done(sidecar)) for sidecar in sidecars}
    if len(states) == 1:
        return (Rescaling(),) * len(sidecars)
    return tuple(_to_floating_point(sidecar) for sidecar in sidecars)


def _to_floating_point(sidecar: Sidecar) -> Rescaling:
    scale, rescale, world = (sidecar.number(name) for name in (SCALE, RESCALE, WORLD))
    done = _done(sidecar)
    if not world and done is True:
        return Rescaling()
    if not scale or not rescale or (not world and done is None):
        raise InputError(
            f"the volumes of this series are scaled differently, and {SCALE}, {RESCALE} or {DONE} "
            "is missing",
            remedy="Convert the DICOM again with dcm2niix, and keep its sidecars.",
            path=sidecar.origin(SCALE),
        )
    if not world:
        return Rescaling(factor=1 / (rescale * scale))
    intercept = sidecar.number(RESCALE_INTERCEPT) or 0.0
    world_intercept = sidecar.number(WORLD_INTERCEPT) or 0.0
    return Rescaling(
        factor=1 / (world * scale), offset=(intercept / rescale - world_intercept / world) / scale
    )


def _done(sidecar: Sidecar) -> bool | None:
    value = sidecar.fields.get(DONE)
    if value is None or isinstance(value, bool):
        return value
    return bool(sidecar.number(DONE))
