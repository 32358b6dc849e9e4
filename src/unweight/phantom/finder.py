"""The system phantom in an acquisition or in maps: its spheres are found unaided and numbered.

    found = find_plates(acquisition, version=2)
    rows = measure_t1(maps, found[0])

Each slice is searched for the pattern of a plate (`phantom.plate_pose`), whatever its rotation, shift
or mirror; the T1 of the spheres then tells their numbers and the plate (`phantom.sphere_order`).
What is not a phantom is refused. `phantom.spheres` measures what was found.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from unweight.core.acquisition import Acquisition, SignalKind
from unweight.core.errors import InputError, UsageError
from unweight.core.maps import ParameterMaps
from unweight.phantom.facts import SPHERE_CENTRES_MM, SphereArray, sphere_array
from unweight.phantom.plate_pose import PlatePose, plate_pose
from unweight.phantom.slice_plane import SlicePlane, as_volume, disc_means
from unweight.phantom.sphere_order import Numbering, order_by_signal, order_by_t1, runner_up

ORDER_RADIUS_MM = 4.5
LARGEST_MISFIT = 0.35
CLEARLY_WORSE = 1.5
LEAST_TIMES = 3
SAME_PLATE_MM = 20.0  # slices further apart cannot cut the same spheres


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class FoundPlate:
    """A plate found in one slice.

    Attributes:
        array: Which plate, with its nominal values and the field they are for.
        plane: The slice it was found in.
        centres_mm: Spheres 1 to 14 in the plane: index along `plane.plane_axes` times voxel size [mm].
        centres_world_mm: The same in the space of the affine [mm].
        votes: How surely each sphere is seen, up to 1.
        misfit: Disagreement with the nominal T1, 0 is none (see `phantom.sphere_order`).
        rotation: Of the plate, from the first plane axis towards the second [rad].
        mirrored: Whether the image is a mirror image (before it was turned, left and right are
            exchanged), shown with the first plane axis to the right and the second upwards.
    """

    array: SphereArray
    plane: SlicePlane
    centres_mm: Float[Tensor, "spheres 2"]
    centres_world_mm: Float[Tensor, "spheres 3"]
    votes: Float[Tensor, " spheres"]
    misfit: float
    rotation: float
    mirrored: bool

    @property
    def score(self) -> float:
        """Mean of the votes: how surely this is a plate."""
        return float(self.votes.mean())


def find_plates(
    acquisition: Acquisition | None,
    maps: ParameterMaps | None = None,
    *,
    version: int,
    plate: int | None = None,
    field_strength: float | None = None,
) -> tuple[FoundPlate, ...]:
    """Return the plates in an acquisition or in maps, the best slice of each, the clearest first.

    Slices lie across the axis with the largest voxels, or the fewest of them.

    Args:
        acquisition: Volumes with an affine; None to use the maps alone.
        maps: Maps with a T1 on the same grid. They tell the order of the spheres where the acquisition
            has no inversion times, and show the spheres where there is no acquisition.
        version: Of the phantom: 1 up to serial number 0041, 2 from 0042 on.
        plate: 4 or 5; None to let T1 decide.
        field_strength: Of the scanner, for the nominal values; None to ask the acquisition [T].

    Raises:
        InputError: No plate is in any slice, or its spheres cannot be told apart.
        UsageError: There is nothing to search, or no such plate or version.
    """
    field = field_strength
    if field is None and acquisition is not None:
        field = acquisition.protocol.field_strength
    arrays = [sphere_array(number, version, field) for number in ((5, 4) if plate is None else (plate,))]
    images, affine = _images(acquisition, maps)
    result, problem = [], None
    for plane, pose in _convincing(images, affine):
        try:
            numbering = _number(acquisition, maps, (plane, pose), arrays)
        except InputError as error:
            problem = error
            continue
        result.append(_found(plane, pose, numbering, affine))
    if not result and problem is not None:
        raise problem
    return tuple(sorted(result, key=lambda item: -item.score))


def _images(
    acquisition: Acquisition | None, maps: ParameterMaps | None
) -> tuple[Float[Tensor, "x y z images"], Float[Tensor, "4 4"]]:
    """Return what shows the spheres: the volumes, else PD and ln T1; and the affine."""
    source = acquisition if acquisition is not None else maps
    if source is None:
        raise UsageError("neither an acquisition nor maps to search for a phantom")
    if isinstance(source, Acquisition):
        real = _real(source)
    else:
        names = [spec.name for spec in source.specs]
        t1 = source.value("T1").log()
        real = t1.nan_to_num(float(t1[~source.failed].median()) if bool((~source.failed).any()) else 0.0)
        real = torch.stack((real, source.value("PD").nan_to_num()) if "PD" in names else (real,), -1)
    volume, affine = as_volume(real, source.affine), source.affine
    return volume, torch.eye(4).double() if affine is None else affine.double().cpu()


def _convincing(
    images: Float[Tensor, "x y z images"], affine: Float[Tensor, "4 4"]
) -> list[tuple[SlicePlane, PlatePose]]:
    """Return the best slice of each group of slices that show one plate."""
    runs: list[list[tuple[SlicePlane, PlatePose]]] = []
    spacing = [float(size) for size in affine[:3, :3].norm(dim=0)]
    axis = max(range(3), key=lambda a: (round(spacing[a], 3), -images.shape[a], a))
    voxel_mm = tuple(spacing[other] for other in range(3) if other != axis)
    for index, displayed in enumerate(images.movedim(axis, 0)):
        plane = SlicePlane(axis=axis, index=index, voxel_mm=(voxel_mm[0], voxel_mm[1]))
        pose = plate_pose(displayed, plane.voxel_mm)
        if pose is not None and pose.convincing:
            gap = math.inf if not runs else (index - runs[-1][-1][0].index) * spacing[axis]
            if gap > SAME_PLATE_MM:
                runs.append([])
            runs[-1].append((plane, pose))
    if not runs:
        raise InputError(
            f"no system phantom in {images.shape[axis]} slice(s): ten spheres around four were not found",
            remedy="Take a plane through plate 4 or 5, and check that the affine gives the voxel size.",
        )
    return [max(run, key=lambda pair: pair[1].score) for run in runs]


def _number(
    acquisition: Acquisition | None,
    maps: ParameterMaps | None,
    place: tuple[SlicePlane, PlatePose],
    arrays: Sequence[SphereArray],
) -> Numbering:
    """Return the numbering that the signals, or else the T1 map, speak for."""
    plane, pose = place
    witnesses: list[list[Numbering]] = []
    if acquisition is not None and _tells_t1(acquisition):
        volumes = as_volume(_real(acquisition), acquisition.affine)
        discs = plane.discs(plane.cut(volumes).shape[:2], pose.centres_mm, ORDER_RADIUS_MM)
        signals = disc_means(plane.cut(volumes), discs)
        witnesses.append(order_by_signal(signals, acquisition.protocol, acquisition.kind, arrays))
    if maps is not None:
        witnesses.append(order_by_t1(_median_t1(maps, plane, pose), arrays))
    for numberings in witnesses:
        best = numberings[0].misfit if numberings else LARGEST_MISFIT
        if best < LARGEST_MISFIT and runner_up(numberings) > CLEARLY_WORSE * best:
            return numberings[0]
    raise InputError(
        f"fourteen discs as on a plate were found in slice {plane.index + 1}, but their T1 does not "
        "identify them",
        remedy=f"Give a T1 map, or volumes with at least {LEAST_TIMES} inversion times.",
    )


def _real(acquisition: Acquisition) -> Float[Tensor, "*voxels volumes"]:
    return acquisition.signal.abs() if acquisition.kind is SignalKind.COMPLEX else acquisition.signal


def _tells_t1(acquisition: Acquisition) -> bool:
    times = acquisition.protocol.inversion_time
    return times is not None and len(set(times.tolist())) >= LEAST_TIMES


def _median_t1(maps: ParameterMaps, plane: SlicePlane, pose: PlatePose) -> Float[Tensor, " spheres"]:
    """Return the median T1 of each sphere, NaN where most voxels have none."""
    t1 = plane.cut(as_volume(maps.value("T1")[..., None], maps.affine))[..., 0].cpu()
    discs = plane.discs(t1.shape, pose.centres_mm, ORDER_RADIUS_MM)
    medians = torch.stack([t1[disc].nanmedian() for disc in discs])
    known = torch.stack([torch.isfinite(t1[disc]).double().mean() for disc in discs])
    return torch.where(known >= 0.5, medians, torch.nan)


def _found(
    plane: SlicePlane, pose: PlatePose, numbering: Numbering, affine: Float[Tensor, "4 4"]
) -> FoundPlate:
    centres = pose.centres_mm[numbering.order]
    index = torch.zeros(len(centres), 4, dtype=torch.float64)
    index[:, plane.axis], index[:, 3] = plane.index, 1.0
    for column, (axis, size) in enumerate(zip(plane.plane_axes, plane.voxel_mm, strict=True)):
        index[:, axis] = centres[:, column] / size
    pattern = torch.view_as_complex(torch.tensor(SPHERE_CENTRES_MM, dtype=torch.float64))
    view_as_complex = torch.view_as_complex((centres - centres.mean(0)).contiguous())
    # A turn by t is exp(it)·z; the mirror image has −conj(z) in the place of z.
    upright, reflected = (pattern.conj() * view_as_complex).sum(), -(pattern * view_as_complex).sum()
    mirrored = bool(reflected.abs() > upright.abs())
    return FoundPlate(
        array=numbering.array,
        plane=plane,
        centres_mm=centres,
        centres_world_mm=(index @ affine.T)[:, :3],
        votes=pose.votes[numbering.order],
        misfit=numbering.misfit,
        rotation=float((reflected if mirrored else upright).angle()),
        mirrored=mirrored,
    )
