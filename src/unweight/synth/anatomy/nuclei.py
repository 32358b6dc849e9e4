"""Deep grey nuclei as ellipsoids, placed by the size of the brain and carved out of grey and white matter.

Label sets such as BrainWeb's hold them as grey or white matter. Places are near those of the common
stereotaxic space, which each brain is brought to by its extent along x and y. Of each nucleus the
voxels with the smallest level

    ρ = √(Σ ((p − c)·e_i / r_i)²) + penalty · (share of the other tissue nearby)

are taken until its volume is reached: the volumes hold whatever lies in the way, and a nucleus that
shows as grey matter follows what is there. Volumes are near N. Raz et al., AJNR 24 (2003) 1849 (caudate
9.42 ml, putamen 10.41 ml, pallidum 2.16 ml, both sides) and textbook values for the others.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import final

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.nn.functional import avg_pool3d

from unweight.core.errors import InputError, UsageError
from unweight.synth.anatomy.labels import Anatomy
from unweight.synth.tissue.materials import DEEP_GREY, INDEX

# Volume of both sides [ml].
VOLUMES_ML: Mapping[str, float] = MappingProxyType(
    {
        "caudate": 9.0,
        "putamen": 10.2,
        "pallidum": 2.8,
        "thalamus": 13.5,
        "red_nucleus": 0.55,
        "substantia_nigra": 0.9,
        "dentate": 1.9,
    }
)
# Grey and white matter of the brain the places are given for: middle and half extent [mm].
MIDDLE_MM = (0.0, -16.6, 75.0)
HALF_MM = (65.8, 81.8)
EXTREME = 0.005
PENALTY = 0.9
LARGEST_LEVEL = 1.4
NEARBY_MM = 3.0


@final
@dataclass(frozen=True, kw_only=True)
class Ellipsoid:
    """One ellipsoid of the right side, in the reference space.

    Attributes:
        centre_mm: To the right, front and top [mm].
        radii_mm: Along its own axes, before the turns [mm].
        yaw: Turn of its front towards the middle [rad].
        pitch: Turn of its front upwards [rad].
    """

    centre_mm: tuple[float, float, float]
    radii_mm: tuple[float, float, float]
    yaw: float = 0.0
    pitch: float = 0.0


def _turned(
    centre_mm: tuple[float, float, float],
    radii_mm: tuple[float, float, float],
    yaw: float,
    pitch: float = 0.0,
) -> Ellipsoid:
    return Ellipsoid(
        centre_mm=centre_mm, radii_mm=radii_mm, yaw=math.radians(yaw), pitch=math.radians(pitch)
    )


SHAPES: Mapping[str, tuple[Ellipsoid, ...]] = MappingProxyType(
    {
        "caudate": (
            _turned((13.0, 14.0, 5.0), (5.0, 9.5, 8.5), 15.0, 20.0),
            _turned((15.5, -2.0, 17.5), (3.8, 16.0, 4.5), 12.0, -16.0),
        ),
        "putamen": (_turned((26.0, 1.5, 0.5), (5.0, 16.5, 9.5), 16.0, 5.0),),
        "pallidum": (_turned((18.5, -3.5, -1.0), (4.0, 9.5, 5.5), 25.0),),
        "thalamus": (_turned((11.5, -18.5, 7.5), (8.0, 14.5, 8.5), 28.0),),
        "red_nucleus": (_turned((4.8, -20.5, -8.5), (3.2, 3.6, 4.6), 0.0),),
        "substantia_nigra": (_turned((9.5, -17.5, -12.0), (2.4, 7.0, 4.0), -30.0),),
        "dentate": (_turned((14.0, -58.0, -34.0), (6.0, 8.5, 5.0), 25.0),),
    }
)
# Nuclei that show as grey matter in a label set made from T1-weighted images.
GREY_IN_LABELS = frozenset({"caudate", "putamen"})
# Taken first to last: the later ones leave what the earlier have.
ORDER = ("red_nucleus", "substantia_nigra", "thalamus", "caudate", "pallidum", "putamen", "dentate")


@final
@dataclass(frozen=True, kw_only=True)
class BrainFrame:
    """Where the reference space lies in an anatomy.

    Attributes:
        origin_mm: Its origin in the millimetres of the anatomy's affine [mm].
        scale: Millimetres here for one there, along x, y and z.
    """

    origin_mm: tuple[float, float, float]
    scale: tuple[float, float, float]


def brain_frame(anatomy: Anatomy) -> BrainFrame:
    """Find the reference space by the extent of grey and white matter.

    Raises:
        InputError: There is neither, or the axes are not to the right, front and top.
    """
    _check_axes(anatomy)
    tissue = (anatomy.labels == INDEX["grey_matter"]) | (anatomy.labels == INDEX["white_matter"])
    for name in DEEP_GREY:
        tissue |= anatomy.labels == INDEX[name]
    if not bool(tissue.any()):
        raise InputError("an anatomy without grey and white matter has no place for nuclei")
    ends = [_ends(tissue, anatomy, axis) for axis in range(3)]
    scale = [(ends[axis][1] - ends[axis][0]) / (2 * HALF_MM[axis]) for axis in (0, 1)]
    scale.append((scale[0] + scale[1]) / 2)
    centres = [(ends[0][0] + ends[0][1]) / 2, (ends[1][0] + ends[1][1]) / 2, ends[2][1]]
    x, y, z = (centre - size * place for centre, size, place in zip(centres, scale, MIDDLE_MM, strict=True))
    return BrainFrame(origin_mm=(x, y, z), scale=(scale[0], scale[1], scale[2]))


def with_nuclei(anatomy: Anatomy, volumes_ml: Mapping[str, float] = VOLUMES_ML) -> Anatomy:
    """Return the anatomy with deep grey nuclei carved out of its grey and white matter.

    Args:
        anatomy: A whole head, axes to the right, front and top.
        volumes_ml: Volume of both sides together in a brain of the reference size [ml]; it scales with
            the brain. Nuclei that are left out are not carved.

    Raises:
        InputError: There is no grey and white matter.
        UsageError: A name is no nucleus, or a volume is not positive.
    """
    unknown = set(volumes_ml) - set(DEEP_GREY)
    if unknown or any(not volume > 0 for volume in volumes_ml.values()):
        raise UsageError(
            f"no volumes of nuclei: {dict(volumes_ml)}", remedy=f"Name {', '.join(DEEP_GREY)}."
        )
    frame = brain_frame(anatomy)
    labels = anatomy.labels.clone()
    size = math.prod(frame.scale) / math.prod(anatomy.voxel_mm) * 1000
    for name in ORDER:
        if name in volumes_ml:
            for side in (-1.0, 1.0):
                _carve(labels, anatomy, frame, (name, side), round(volumes_ml[name] / 2 * size))
    return replace(anatomy, labels=labels)


def nucleus_level(
    name: str, side: float, points: tuple[Tensor, Tensor, Tensor]
) -> Float[Tensor, "*points"]:
    """Return ρ of one nucleus: below 1 inside its ellipsoids.

    Args:
        name: One of `DEEP_GREY`.
        side: 1 for the right side, -1 for the left.
        points: x, y and z in the reference space, which broadcast [mm].
    """
    levels = [ellipsoid_level(shape, (points[0] * side, points[1], points[2])) for shape in SHAPES[name]]
    level = levels[0]
    for other in levels[1:]:
        level = torch.minimum(level, other)
    return level


def ellipsoid_level(shape: Ellipsoid, points: tuple[Tensor, Tensor, Tensor]) -> Float[Tensor, "*points"]:
    """Return ρ of one ellipsoid: 1 on its surface.

    Args:
        shape: An ellipsoid of the right side.
        points: x, y and z in the reference space, which broadcast [mm].
    """
    x, y, z = (point - centre for point, centre in zip(points, shape.centre_mm, strict=True))
    cosine, sine = math.cos(shape.yaw), math.sin(shape.yaw)
    across, along = cosine * x + sine * y, -sine * x + cosine * y
    cosine, sine = math.cos(shape.pitch), math.sin(shape.pitch)
    along, upward = cosine * along + sine * z, -sine * along + cosine * z
    a, b, c = shape.radii_mm
    return ((across / a) ** 2 + (along / b) ** 2 + (upward / c) ** 2).sqrt()


def _carve(
    labels: UInt8[Tensor, "x y z"],
    anatomy: Anatomy,
    frame: BrainFrame,
    which: tuple[str, float],
    n_voxels: int,
) -> None:
    """Carve one nucleus of one side, in a box around it."""
    name, side = which
    box = _box(anatomy, frame, which)
    window = labels[box]
    if window.numel() == 0:
        return
    axes = [
        (
            (torch.arange(part.start, part.stop) * anatomy.voxel_mm[axis] + float(anatomy.affine[axis, 3]))
            - frame.origin_mm[axis]
        )
        / frame.scale[axis]
        for axis, part in enumerate(box)
    ]
    points = (axes[0][:, None, None], axes[1][None, :, None], axes[2][None, None, :])
    level = nucleus_level(name, side, points).float()
    free = (window == INDEX["grey_matter"]) | (window == INDEX["white_matter"])
    wanted = window == INDEX["grey_matter"] if name in GREY_IN_LABELS else free
    beyond = level > LARGEST_LEVEL
    level = level + PENALTY * (1 - _nearby(wanted, anatomy.voxel_mm))
    level[beyond | ~free | (points[0] * side < 1.0).expand_as(free)] = torch.inf
    levels = level.reshape(-1)
    chosen = levels.topk(min(n_voxels, levels.numel()), largest=False)
    inside = torch.zeros_like(levels, dtype=torch.bool)
    inside[chosen.indices[torch.isfinite(chosen.values)]] = True
    window[inside.reshape(window.shape)] = INDEX[name]


def _nearby(mask: Bool[Tensor, "x y z"], voxel_mm: tuple[float, float, float]) -> Float[Tensor, "x y z"]:
    """Return the share of a mask in a box of a few millimetres around each voxel."""
    half = [max(0, round(NEARBY_MM / 2 / size)) for size in voxel_mm]
    widths = [2 * n + 1 for n in half]
    return avg_pool3d(mask[None, None].float(), widths, 1, half, count_include_pad=False)[0, 0]


def _box(anatomy: Anatomy, frame: BrainFrame, which: tuple[str, float]) -> tuple[slice, slice, slice]:
    """Return the voxels around one nucleus."""
    name, side = which
    parts = []
    for axis in range(3):
        turn = side if axis == 0 else 1.0
        lows = [turn * shape.centre_mm[axis] - max(shape.radii_mm) * 1.3 for shape in SHAPES[name]]
        highs = [turn * shape.centre_mm[axis] + max(shape.radii_mm) * 1.3 for shape in SHAPES[name]]
        offset, size = float(anatomy.affine[axis, 3]), anatomy.voxel_mm[axis]
        first, last = (
            (place * frame.scale[axis] + frame.origin_mm[axis] - offset) / size
            for place in (min(lows), max(highs))
        )
        n_voxels = anatomy.labels.shape[axis]
        parts.append(slice(max(0, math.floor(first)), max(0, min(n_voxels, math.ceil(last) + 1))))
    return parts[0], parts[1], parts[2]


def _ends(tissue: Bool[Tensor, "x y z"], anatomy: Anatomy, axis: int) -> tuple[float, float]:
    """Return where all but a few of the voxels of a tissue lie along an axis [mm]."""
    others = [other for other in range(3) if other != axis]
    running = tissue.sum(others).double().cumsum(0)
    running = running / running[-1]
    offset, size = float(anatomy.affine[axis, 3]), anatomy.voxel_mm[axis]
    first, last = (int((running > share).nonzero()[0]) for share in (EXTREME, 1 - EXTREME))
    return first * size + offset, last * size + offset


def _check_axes(anatomy: Anatomy) -> None:
    turned = anatomy.affine[:3, :3] - torch.diag(anatomy.affine[:3, :3].diagonal())
    if bool((turned.abs() > 1e-3).any()) or bool((anatomy.affine[:3, :3].diagonal() <= 0).any()):
        raise InputError(
            "the axes of this anatomy are not to the right, front and top",
            remedy="Give the whole head, not a slab of it.",
        )
