"""A whole head from random numbers alone: skin to ventricles, with a folded cortex and deep nuclei.

The brain is a union of ellipsoids (cerebrum, cerebellum, stem). Its sulci are the zero surfaces of a
smooth random field, thin sheets that fade out some depth below the surface; the cortex is what lies
within its thickness of CSF. All is a function of position, so a slab is the same in any field of view.
Places follow the stereotaxic space of `nuclei`. It is plausible, not anatomical: for anatomy, give
label maps.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import final

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from unweight.synth.anatomy.labels import Anatomy, centred_affine
from unweight.synth.anatomy.nuclei import ORDER, SHAPES, ellipsoid_level
from unweight.synth.sampling import draw_count, draw_uniform
from unweight.synth.scanner.fields import SmoothField, axis_positions, draw_field
from unweight.synth.tissue.materials import INDEX

Field = Float[Tensor, "x y z"]
Points = tuple[Tensor, Tensor, Tensor]
Box = tuple[slice, slice, slice]
Place = tuple[tuple[float, float, float], tuple[float, float, float]]

HALF_EXTENT_MM = (95.0, 125.0, 110.0)
# Middle and radii of each part [mm].
CEREBRUM: Place = ((0.0, -16.0, 15.0), (67.0, 85.0, 62.0))
CEREBELLUM: Place = ((0.0, -62.0, -36.0), (50.0, 33.0, 25.0))
STEM: Place = ((0.0, -29.0, -45.0), (14.0, 13.0, 40.0))
FACE: Place = ((0.0, 40.0, -50.0), (56.0, 50.0, 52.0))
NECK: Place = ((0.0, -35.0, -85.0), (62.0, 68.0, 70.0))
SINUS: Place = ((0.0, 64.0, -34.0), (13.0, 10.0, 12.0))
VENTRICLES: Mapping[str, Place] = MappingProxyType(
    {
        "body": ((8.0, -6.0, 20.0), (5.0, 27.0, 4.5)),
        "front horn": ((6.5, 19.0, 11.0), (4.0, 11.0, 7.0)),
        "back horn": ((23.0, -42.0, 10.0), (4.5, 15.0, 7.0)),
        "third": ((0.0, -14.0, 1.0), (1.8, 13.0, 9.0)),
        "fourth": ((0.0, -46.0, -32.0), (6.0, 5.0, 8.0)),
    }
)
CEREBRUM_FLOOR_MM = -27.0
CSF_MM, DURA_MM, SKULL_MM, SCALP_MM = 3.0, 1.2, 7.0, 7.0
FISSURE_DEPTH_MM, SULCUS_DEPTH_MM = 36.0, 24.0
# Level at which the ellipsoids of the nuclei have the volumes of the literature.
NUCLEUS_LEVEL = 1.15


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class HeadShape:
    """What differs from head to head.

    Attributes:
        scale: Of the whole head along each axis.
        cortex_mm: Thickness of the cortex [mm].
        sulcus_mm: Half the width of a sulcus [mm].
        ventricles: Size of the ventricles.
        sulci: Its zero surfaces are the sulci of the cerebrum.
        folia: The same for the cerebellum.
        bumps: Irregularity of all surfaces.
        depth: How deep the sulci go, and where the marrow lies.
        name: Of the subject.
    """

    scale: tuple[float, float, float]
    cortex_mm: float
    sulcus_mm: float
    ventricles: float
    sulci: SmoothField
    folia: SmoothField
    bumps: SmoothField
    depth: SmoothField
    name: str

    def anatomy(
        self,
        shape: tuple[int, int, int] = (181, 217, 181),
        voxel_mm: tuple[float, float, float] = (1.0, 1.0, 1.0),
        centre_mm: tuple[float, float, float] = (0.0, -16.0, 5.0),
    ) -> Anatomy:
        """Return the head on a grid.

        Args:
            shape: Voxels.
            voxel_mm: Size of a voxel [mm].
            centre_mm: Where the middle of the grid lies in the head [mm].
        """
        axes = [
            axis_positions(n, size, centre) / scale
            for n, size, centre, scale in zip(shape, voxel_mm, centre_mm, self.scale, strict=True)
        ]
        affine = centred_affine(shape, voxel_mm)
        affine[:3, 3] += torch.tensor(centre_mm, dtype=affine.dtype)
        labels = self._labels((axes[0], axes[1], axes[2]))
        return Anatomy(labels=labels, voxel_mm=voxel_mm, subject=self.name, affine=affine)

    def _labels(self, axes: Points) -> UInt8[Tensor, "x y z"]:
        points = (axes[0][:, None, None], axes[1][None, :, None], axes[2][None, None, :])
        bumps = 1.5 * self.bumps.on(*axes)
        depth = self.depth.on(*axes)
        cerebrum = torch.minimum(_depth(points, CEREBRUM) + bumps, points[2] - CEREBRUM_FLOOR_MM)
        cerebellum = _depth(points, CEREBELLUM) + 0.5 * bumps
        stem = _depth(points, STEM)
        skull = torch.maximum(torch.maximum(cerebrum, cerebellum), stem) + CSF_MM
        labels = self._outer(points, skull, bumps, depth)
        box = _bounds(skull > 0)
        if box is not None:
            cut = (cerebrum[box], cerebellum[box], stem[box], depth[box])
            inner = self._brain((axes[0][box[0]], axes[1][box[1]], axes[2][box[2]]), cut)
            labels[box] = torch.where(skull[box] > 0, inner, labels[box])
        return labels

    def _outer(self, points: Points, skull: Field, bumps: Field, depth: Field) -> UInt8[Tensor, "x y z"]:
        """Label what lies around the brain, by the depth below the inside of the skull."""
        around = torch.maximum(_depth(points, FACE), _depth(points, NECK)) + bumps
        head = torch.maximum(skull + DURA_MM + SKULL_MM + SCALP_MM, around)
        labels = torch.zeros(head.shape, dtype=torch.uint8)
        labels[head > 0] = INDEX["skin"]
        labels[head > 2.0] = INDEX["fat"]
        labels[(head > 5.0 + 2 * depth) & (around > 0)] = INDEX["muscle"]
        box = _around(points, SINUS)
        labels[box][(_depth(_cut(points, box), SINUS) > 0) & (head[box] > 5.0)] = INDEX["air"]
        bone = skull + DURA_MM + SKULL_MM
        labels[bone > 0] = INDEX["skull"]
        labels[(bone - SKULL_MM / 2).abs() < 1.0 + 0.6 * depth] = INDEX["marrow"]
        labels[skull > -DURA_MM] = INDEX["dura"]
        sinus = (skull > -DURA_MM) & (points[0].abs() < 3.5) & (points[2] > 10)
        labels[sinus] = INDEX["vessel"]
        return labels

    def _brain(self, axes: Points, depths: tuple[Field, Field, Field, Field]) -> UInt8[Tensor, "x y z"]:
        """Label what lies inside the skull."""
        cerebrum, cerebellum, stem, depth = depths
        points = (axes[0][:, None, None], axes[1][None, :, None], axes[2][None, None, :])
        fissure = points[0].abs() - 0.8
        from_csf = torch.where(cerebrum < FISSURE_DEPTH_MM, torch.minimum(cerebrum, fissure), cerebrum)
        sheets = self.sulci.from_zero(*axes) - self.sulcus_mm
        from_csf = torch.where(
            cerebrum < SULCUS_DEPTH_MM + 5 * depth, torch.minimum(from_csf, sheets), from_csf
        )
        labels = torch.full(cerebrum.shape, INDEX["csf"], dtype=torch.uint8)
        folia = self.folia.from_zero(*axes) - 0.3
        from_folia = torch.where(cerebellum < 15, torch.minimum(cerebellum, folia), cerebellum)
        labels[from_folia > 0] = INDEX["grey_matter"]
        labels[from_folia > 1.6] = INDEX["white_matter"]
        upper = cerebrum > 0
        labels[upper] = INDEX["csf"]
        labels[upper & (from_csf > 0)] = INDEX["grey_matter"]
        labels[upper & (from_csf > self.cortex_mm)] = INDEX["white_matter"]
        labels[(stem > 0) & (points[2] < 0)] = INDEX["white_matter"]
        side = (points[0].abs(), points[1], points[2])
        for name in ORDER:
            for ellipsoid in SHAPES[name]:
                reach = NUCLEUS_LEVEL * max(ellipsoid.radii_mm)
                box = _around(side, (ellipsoid.centre_mm, (reach, reach, reach)))
                level = ellipsoid_level(ellipsoid, _cut(side, box))
                labels[box][(level < NUCLEUS_LEVEL) & _is_tissue(labels[box])] = INDEX[name]
        for middle, radii in VENTRICLES.values():
            sizes = (radii[0] * self.ventricles, radii[1], radii[2] * self.ventricles**0.5)
            box = _around(side, (middle, sizes))
            labels[box][_depth(_cut(side, box), (middle, sizes)) > 0] = INDEX["csf"]
        return labels


def draw_head(generator: torch.Generator) -> HeadShape:
    """Draw the shape of a head."""
    sizes = [draw_uniform((0.94, 1.06), generator) for _ in range(3)]
    return HeadShape(
        scale=(sizes[0], sizes[1], sizes[2]),
        cortex_mm=draw_uniform((2.2, 3.0), generator),
        sulcus_mm=draw_uniform((0.4, 1.1), generator),
        ventricles=draw_uniform((0.6, 1.7), generator),
        sulci=draw_field(HALF_EXTENT_MM, draw_uniform((6.5, 8.0), generator), generator),
        folia=draw_field(HALF_EXTENT_MM, 4.0, generator),
        bumps=draw_field(HALF_EXTENT_MM, 25.0, generator),
        depth=draw_field(HALF_EXTENT_MM, 18.0, generator),
        name=f"procedural{draw_count(0, 2**31 - 1, generator)}",
    )


def procedural_head(
    generator: torch.Generator,
    *,
    shape: tuple[int, int, int] = (181, 217, 181),
    voxel_mm: tuple[float, float, float] = (1.0, 1.0, 1.0),
    centre_mm: tuple[float, float, float] = (0.0, -16.0, 5.0),
) -> Anatomy:
    """Return a random head, whole or a slab of it.

    Args:
        generator: For its shape; the same numbers give the same head on any grid.
        shape: Voxels.
        voxel_mm: Size of a voxel [mm].
        centre_mm: Where the middle of the grid lies in the head [mm].
    """
    return draw_head(generator).anatomy(shape, voxel_mm, centre_mm)


def _depth(points: Points, place: Place) -> Field:
    """Return about how deep points lie in an ellipsoid, negative outside [mm].

    With ρ the relative radius, ρ (1 − ρ) / |∇ρ²/2| is exact near the surface.
    """
    middle, radii = place
    offsets = [
        (point - centre) / radius for point, centre, radius in zip(points, middle, radii, strict=True)
    ]
    square = sum((offset**2 for offset in offsets[1:]), offsets[0] ** 2)
    slope = sum(
        ((offset / radius) ** 2 for offset, radius in zip(offsets[1:], radii[1:], strict=True)),
        (offsets[0] / radii[0]) ** 2,
    )
    # In place: whole heads are large.
    level, steepness = square.sqrt_(), slope.sqrt_().add_(1e-6 / max(radii))
    return (1 - level).mul_(level).div_(steepness)


def _around(points: Points, place: Place) -> Box:
    """Return the part of a grid that holds an ellipsoid, with a millimetre around it; it may be empty."""
    middle, radii = place
    near = [
        (point.flatten() - centre).abs() <= radius + 1
        for point, centre, radius in zip(points, middle, radii, strict=True)
    ]
    parts = [_span(axis) for axis in near]
    return parts[0], parts[1], parts[2]


def _bounds(inside: Bool[Tensor, "x y z"]) -> Box | None:
    """Return the smallest part of a grid that holds all true voxels, None if there is none."""
    if not bool(inside.any()):
        return None
    in_plane = inside.any(2)
    return _span(in_plane.any(1)), _span(in_plane.any(0)), _span(inside.any(0).any(0))


def _span(inside: Bool[Tensor, " n"]) -> slice:
    """Return the range from the first to the last true voxel."""
    places = inside.nonzero()
    return slice(int(places[0]), int(places[-1]) + 1) if len(places) else slice(0, 0)


def _cut(points: Points, box: Box) -> Points:
    """Return the points of a part of the grid, which broadcast as those of the whole."""
    return points[0][box[0]], points[1][:, box[1]], points[2][:, :, box[2]]


def _is_tissue(labels: UInt8[Tensor, "x y z"]) -> Tensor:
    return (labels == INDEX["grey_matter"]) | (labels == INDEX["white_matter"])
