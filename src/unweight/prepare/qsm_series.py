"""From one complex series to susceptibility and the images beside it."""

import functools
import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, final

import torch

from unweight.bids.derivatives.description import DerivedImage, set_desc
from unweight.bids.nifti.grid import ALIGNED, SCANNER, Placement
from unweight.bids.read import Series
from unweight.core.acquisition import Acquisition
from unweight.core.errors import InputError
from unweight.core.estimator import Progress
from unweight.core.maps import ParameterMaps
from unweight.fit.susceptibility import Reconstruction, SusceptibilityFit
from unweight.prepare.brain_finder import BrainFinder, ClassicalBrain, FoundBrain
from unweight.registry import load, methods
from unweight.signals.parameters import CHI
from unweight.susceptibility.background import BackgroundRemoval
from unweight.susceptibility.geometry import Triple, geometry_of
from unweight.susceptibility.inversion import DipoleInversion

BACKGROUNDS: dict[str, BackgroundRemoval] = {
    item.name: load(item.target) for item in methods("qsm", "background")
}
INVERSIONS: dict[str, DipoleInversion] = {
    item.name: load(item.target) for item in methods("qsm", "inversion")
}
PPM = "ppm"
SAME_DIRECTION = 1.0  # of two matrices [degrees]
ALIGNED_NOTE = (
    "the header maps to the space of another image (code 2), not of the scanner (code 1); the static field "
    "is assumed along its z axis. If the image was rotated after acquisition, give --b0-direction"
)
SHORTEST_DIRECTION, LONGEST_DIRECTION = 1e-6, 1e6


class FieldDirection(NamedTuple):
    """Where the static field points.

    Attributes:
        direction: In voxel axes; None where nothing but the affine of the acquisition can tell.
        notes: What a careful reader should know.
    """

    direction: Triple | None = None
    notes: tuple[str, ...] = ()


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class MappedSusceptibility:
    """What was made of a series.

    Attributes:
        maps: Susceptibility with standard deviation, status and the quality of the phase.
        beside: Mask, total and local field.
        settings: Of the method, as plain values.
        notes: What a careful reader should know.
    """

    maps: ParameterMaps
    beside: tuple[DerivedImage, ...]
    settings: dict[str, object]
    notes: tuple[str, ...]


def map_susceptibility(
    series: Series,
    fit: SusceptibilityFit,
    progress: Progress | None = None,
    finder: BrainFinder | None = None,
) -> MappedSusceptibility:
    """Find the brain if no mask was given, and map it.

    Args:
        series: Complex echoes.
        fit: The estimator.
        progress: Called as it proceeds.
        finder: What finds the brain; None for the classical method.

    Raises:
        InputError: There is no brain to find, or no phase to use.
        ProtocolError: The series cannot be mapped.
    """
    acquisition = series.acquisition
    fit.accept(acquisition)
    remarks: tuple[str, ...] = ()
    how = "given"
    if acquisition.mask is None:
        brain = brain_of_echoes(acquisition, finder or ClassicalBrain())
        acquisition = replace(acquisition, mask=brain.mask)
        how, remarks = brain.how, brain.remarks
    reconstruction = fit.reconstruct(acquisition, progress)
    return MappedSusceptibility(
        maps=reconstruction.maps,
        beside=tuple(_beside(acquisition, reconstruction, how)),
        settings={
            "BackgroundRemoval": settings_of(fit.background),
            "DipoleInversion": settings_of(fit.inversion),
            "Reference": fit.reference.value,
            "PhaseQualityLimit": fit.quality_limit,
            "B0Direction": [round(part, 6) for part in _direction(acquisition, fit)],
            "BrainMask": how,
            "StandardDeviation": "from phase noise only, by the closed-form inversion",
        },
        notes=(*series.notes, *remarks, *reconstruction.notes),
    )


def settings_of(function: Callable[..., Any]) -> dict[str, object]:
    """Return the name of a function and the settings it would be called with."""
    info = function.keywords if isinstance(function, functools.partial) else {}
    inner = function.func if isinstance(function, functools.partial) else function
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(inner).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
    return {"Name": getattr(inner, "__name__", type(inner).__name__), **defaults, **info}


def direction_of(series: Series, given: Sequence[float] | None = None) -> FieldDirection:
    """Return the direction of the field in voxel axes: as given, `B0_dir` of sidecars, or of the headers.

    Args:
        series: What was read.
        given: By the caller, who knows better.

    Raises:
        InputError: The sidecars name something that is no direction, or the headers do not tell one.
    """
    if given is not None:
        return FieldDirection((given[0], given[1], given[2]))
    value = series.sidecar.get("B0_dir")
    if value is None:
        return FieldDirection() if series.placement is None else _from_header(series.placement, series)
    parts = value if isinstance(value, list) else []
    numbers = [
        float(part)
        for part in parts
        if isinstance(part, int | float) and not isinstance(part, bool) and abs(part) <= LONGEST_DIRECTION
    ]
    if len(parts) != 3 or len(numbers) != 3 or math.hypot(*numbers) < SHORTEST_DIRECTION:
        raise InputError(
            "B0_dir of its sidecar is not a direction",
            remedy="Write three numbers, a vector along the static field in voxel axes, or leave it out.",
            path=series.files[0],
        )
    return FieldDirection((numbers[0], numbers[1], numbers[2]))


def _from_header(placement: Placement, series: Series) -> FieldDirection:
    """Return z of the scanner, as the matrix of code 1 has it.

    Many programs write code 2 for all that they are given; it is taken, with a note, where nothing else is
    there that contradicts it.
    """
    scanner, aligned = placement.of_code(SCANNER), placement.of_code(ALIGNED)
    others = len(placement.matrices) - 1 - len(aligned)
    result = scanner or (aligned if others == 0 else ())
    directions = [geometry_of(matrix).direction for matrix in result]
    if not directions:
        raise _no_direction("no matrix of its header maps to scanner coordinates (code 1)", series)
    cosine = sum(a * b for a, b in zip(directions[0], directions[-1], strict=True))
    angle = math.degrees(math.acos(min(1.0, abs(cosine))))
    if angle > SAME_DIRECTION:
        raise _no_direction(
            f"qform and sform of its header, both of code {SCANNER if scanner else ALIGNED}, give "
            f"directions of the static field that differ by {angle:.1f} degrees",
            series,
        )
    return FieldDirection(directions[0], () if scanner else (ALIGNED_NOTE,))


def _no_direction(problem: str, series: Series) -> InputError:
    return InputError(
        f"{problem}, so the direction of the static field is unknown",
        remedy="Give --b0-direction X Y Z in voxel axes (0 0 1 if the third axis of the image is along the "
        "bore), or write it into the sidecar as B0_dir.",
        path=series.files[0],
    )


def brain_of_echoes(acquisition: Acquisition, finder: BrainFinder) -> FoundBrain:
    """Return the brain in complex or magnitude echoes.

    Raises:
        InputError: Nothing like a brain is in them.
    """
    affine = torch.eye(4, dtype=torch.float64) if acquisition.affine is None else acquisition.affine
    order = acquisition.protocol.require("echo_time", "a brain mask").argsort()
    magnitude = acquisition.signal.abs()[..., order.to(acquisition.signal.device)]
    return finder.in_echoes(magnitude, affine)


def _direction(acquisition: Acquisition, fit: SusceptibilityFit) -> Triple:
    affine = acquisition.affine
    return (0.0, 0.0, 1.0) if affine is None else geometry_of(affine, fit.direction).direction


def _beside(acquisition: Acquisition, reconstruction: Reconstruction, how: str) -> list[DerivedImage]:
    known = ~reconstruction.maps.failed
    images = [
        DerivedImage(
            key="mask",
            desc=set_desc("", CHI.suffix),
            suffix="mask",
            values=known,
            description="Voxels with susceptibility: the brain after erosion by background removal",
        ),
        DerivedImage(
            key="total field",
            desc="total",
            suffix="fieldmap",
            values=reconstruction.total,
            description="Field before background removal, from the linear fit of the phase",
            unit=PPM,
        ),
        DerivedImage(
            key="local field",
            desc="local",
            suffix="fieldmap",
            values=reconstruction.local,
            description="Local field, after background removal",
            unit=PPM,
        ),
    ]
    if acquisition.mask is not None:
        images.append(
            DerivedImage(
                key="brain",
                desc=set_desc("brain", CHI.suffix),
                suffix="mask",
                values=acquisition.mask,
                description=f"Brain including CSF, {how}",
            )
        )
    return images
