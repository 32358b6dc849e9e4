"""Real data that a user gives: plates of the system phantom, and anything else with inversion times.

Nobody knows their truth, so methods are compared with the maximum-likelihood fit where that has a usable
value: in each sphere of a plate, and voxel by voxel elsewhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch
from jaxtyping import Int
from torch import Tensor

from unweight.benchmark.t1.methods import FIT
from unweight.benchmark.t1.sets import Trial, TrialSet, binned, everything, known_maps
from unweight.bids.read import Series, find_inputs
from unweight.bids.series.overrides import NOTHING_GIVEN, Given
from unweight.core.acquisition import Acquisition
from unweight.core.maps import ParameterMaps, VoxelStatus
from unweight.fit.inversion_recovery import InversionRecoveryFit
from unweight.metrics.scores import Groups
from unweight.phantom.facts import N_SPHERES
from unweight.phantom.finder import FoundPlate, find_plates
from unweight.phantom.spheres import ROI_RADIUS_MM

REAL_PHANTOM, REAL_BRAIN = "real phantom", "real brain"


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class RealSeries:
    """A series that a user gave.

    Attributes:
        name: Of its set.
        acquisition: Volumes and timings.
    """

    name: str
    acquisition: Acquisition


def read_real(kind: str, inputs: Sequence[Path], given: Given = NOTHING_GIVEN) -> tuple[RealSeries, ...]:
    """Read every series of one input; a series is named after its folder or files.

    Args:
        kind: REAL_PHANTOM or REAL_BRAIN, the first word of the name.
        inputs: A BIDS tree, a folder of DICOM or NIfTI, or NIfTI files of one series.
        given: What the user says about the files.

    Raises:
        InputError: Nothing there can be read.
    """
    found = find_inputs(inputs, given)
    place = inputs[0].resolve()
    short = f"{place.parent.name}/{place.name}" if place.is_dir() else place.name
    names = [f"{kind} {short}{f' {one.label}' if len(found) > 1 else ''}" for one in found]
    return tuple(_series(name, one.read()) for name, one in zip(names, found, strict=True))


def real_phantom_set(series: RealSeries, version: int) -> TrialSet:
    """Return the spheres of all plates in a series.

    Args:
        series: What was read.
        version: Of the phantom; its nominal T1 tell which sphere is which.

    Raises:
        InputError: There is no plate.
        ProtocolError: It cannot be fitted.
    """
    acquisition = series.acquisition
    fitted = InversionRecoveryFit()(acquisition)
    plates = find_plates(acquisition, fitted, version=version)
    sphere = torch.full(acquisition.voxels, -1)
    for number, found in enumerate(plates):
        _mark(sphere, found, number * N_SPHERES)
    names = tuple(
        f"plate {found.array.plate} sphere {number + 1}" for found in plates for number in range(N_SPHERES)
    )
    scored = sphere >= 0
    trial = Trial(
        acquisition=acquisition,
        truth=_reference(fitted),
        scored=scored,
        groups=(everything(int(scored.sum())), Groups(names=names, index=sphere[scored])),
    )
    return TrialSet(name=series.name, trials=(trial,), reference=FIT, spheres=True)


def real_brain_set(series: RealSeries) -> TrialSet:
    """Return all voxels of a series that hold signal; those with a usable fit can be compared.

    Raises:
        ProtocolError: It cannot be fitted.
    """
    fitted = InversionRecoveryFit()(series.acquisition)
    reference = _reference(fitted)
    scored = (fitted.status != VoxelStatus.MASKED) & (fitted.status != VoxelStatus.NO_SIGNAL)
    t1 = reference.value("T1")[scored]
    trial = Trial(
        acquisition=series.acquisition,
        truth=reference,
        scored=scored,
        groups=(everything(len(t1)), binned(t1)),
    )
    return TrialSet(name=series.name, trials=(trial,), reference=FIT)


def _reference(fitted: ParameterMaps) -> ParameterMaps:
    """Return the fit where it is usable."""
    return known_maps(fitted.values.masked_fill(~fitted.usable[..., None], torch.nan), fitted.affine)


def _mark(sphere: Int[Tensor, "*voxels"], found: FoundPlate, first: int) -> None:
    """Number the voxels well inside the spheres of a plate, from a first number on."""
    plane = found.plane.cut(sphere if sphere.ndim == 3 else sphere[..., None])
    discs = found.plane.discs(plane.shape, found.centres_mm, ROI_RADIUS_MM)
    for number, disc in enumerate(discs):
        plane[disc] = first + number


def _series(name: str, read: Series) -> RealSeries:
    return RealSeries(name=name, acquisition=read.acquisition)
