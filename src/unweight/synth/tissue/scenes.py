"""Scenes without any anatomy: overlapping shapes of random materials, and spheres on a grid.

They teach a network physics rather than heads: any material may lie beside any other.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from unweight.core.errors import UsageError
from unweight.synth.anatomy.labels import Anatomy, centred_affine
from unweight.synth.sampling import draw_count, draw_frame, draw_shares, draw_uniform
from unweight.synth.scanner.fields import axis_positions
from unweight.synth.tissue.materials import INDEX, MATERIALS

Points = tuple[Tensor, Tensor, Tensor]
SHAPES = ("ellipsoid", "box", "polygon", "stripes")
NESTED = 0.5
LARGEST_SIDES = 8


def random_shapes(
    shape: tuple[int, int, int],
    voxel_mm: tuple[float, float, float],
    generator: torch.Generator,
    *,
    n_shapes: int = 24,
    materials: Sequence[str] = MATERIALS,
) -> Anatomy:
    """Return ellipsoids, boxes, polygons and stripes, over and within one another.

    Args:
        shape: Voxels.
        voxel_mm: Size of a voxel [mm].
        generator: For everything drawn.
        n_shapes: Number of outer shapes; about half of them hold a smaller one.
        materials: What they may be made of; the medium is one of them, too.
    """
    indices = _indices(materials)
    x, y, z = (axis_positions(n, size) for n, size in zip(shape, voxel_mm, strict=True))
    half = torch.tensor([n * size / 2 for n, size in zip(shape, voxel_mm, strict=True)])
    labels = torch.full(shape, _pick(indices, generator), dtype=torch.uint8)
    for _ in range(n_shapes):
        centre = (2 * draw_shares(3, generator) - 1) * half
        radius = float(half.max()) * math.exp(
            math.log(0.06) + draw_uniform((0.0, 1.0), generator) * math.log(10)
        )
        turn = draw_frame(generator)
        points = (
            (x - centre[0])[:, None, None],
            (y - centre[1])[None, :, None],
            (z - centre[2])[None, None, :],
        )
        stretch = torch.exp(0.5 * (2 * draw_shares(3, generator) - 1))
        kind = SHAPES[draw_count(0, len(SHAPES) - 1, generator)]
        level = _level(kind, _turned(points, turn / (radius * stretch[:, None])), generator)
        labels[level < 1] = _pick(indices, generator)
        if draw_uniform((0.0, 1.0), generator) < NESTED:
            inner = 0.3 + 0.5 * draw_uniform((0.0, 1.0), generator)
            labels[level < inner] = _pick(indices, generator)
    return _anatomy(labels, voxel_mm, "shapes")


def sphere_grid(
    shape: tuple[int, int, int],
    voxel_mm: tuple[float, float, float],
    generator: torch.Generator,
    *,
    radius_mm: float = 7.0,
    materials: Sequence[str] = MATERIALS[1:],
) -> Anatomy:
    """Return spheres of random materials on a cubic grid, in `csf`, as in a phantom.

    Their centres are three radii apart, and one of them is in the middle of the grid.

    Args:
        shape: Voxels.
        voxel_mm: Size of a voxel [mm].
        generator: For the materials.
        radius_mm: Of each sphere [mm].
        materials: What they may be made of.

    Raises:
        UsageError: The radius is not positive.
    """
    if not radius_mm > 0:
        raise UsageError(f"spheres with a radius of {radius_mm} mm")
    indices = torch.tensor(_indices(materials), dtype=torch.uint8)
    pitch = 3 * radius_mm
    axes = [axis_positions(n, size) for n, size in zip(shape, voxel_mm, strict=True)]
    nodes = [(axis / pitch).round().long() for axis in axes]
    offsets = [(axis - node * pitch) ** 2 for axis, node in zip(axes, nodes, strict=True)]
    square = offsets[0][:, None, None] + offsets[1][None, :, None] + offsets[2][None, None, :]
    n_nodes = [int(node.max() - node.min()) + 1 for node in nodes]
    drawn = torch.randint(len(indices), n_nodes, generator=generator, device=generator.device).cpu()
    x, y, z = (node - node.min() for node in nodes)
    material = indices[drawn][x[:, None, None], y[None, :, None], z[None, None, :]]
    medium = torch.full_like(material, INDEX["csf"])
    return _anatomy(torch.where(square < radius_mm**2, material, medium), voxel_mm, "spheres")


def _level(kind: str, points: Points, generator: torch.Generator) -> Float[Tensor, "x y z"]:
    """Return a level that is below 1 inside a shape of unit size."""
    x, y, z = points
    if kind == "ellipsoid":
        return (x**2 + y**2 + z**2).sqrt()
    if kind == "box":
        return torch.maximum(torch.maximum(x.abs(), y.abs()), z.abs())
    if kind == "polygon":
        n_sides = 3 + draw_count(0, LARGEST_SIDES - 3, generator)
        # Sides at about even angles, at uneven distances: an irregular prism with flat ends.
        angles = 2 * math.pi * (torch.arange(n_sides) + 0.6 * draw_shares(n_sides, generator)) / n_sides
        level = z.abs().expand(x.shape)
        for angle, distance in zip(angles.tolist(), draw_shares(n_sides, generator).tolist(), strict=True):
            level = torch.maximum(
                level, (math.cos(angle) * x + math.sin(angle) * y) / (0.5 + 0.5 * distance)
            )
        return level
    n_stripes = 2 + 8 * draw_uniform((0.0, 1.0), generator)
    outside = (x**2 + y**2 + z**2).sqrt()
    return torch.maximum(outside, 1 + 0.7 * torch.sin(n_stripes * math.pi * x))


def _turned(points: Points, matrix: Float[Tensor, "3 3"]) -> Points:
    x, y, z = (
        sum((a * point for a, point in zip(row[1:], points[1:], strict=True)), row[0] * points[0])
        for row in matrix.tolist()
    )
    return x, y, z


def _anatomy(labels: UInt8[Tensor, "x y z"], voxel_mm: tuple[float, float, float], subject: str) -> Anatomy:
    x, y, z = labels.shape
    return Anatomy(
        labels=labels, voxel_mm=voxel_mm, subject=subject, affine=centred_affine((x, y, z), voxel_mm)
    )


def _indices(materials: Sequence[str]) -> list[int]:
    unknown = [name for name in materials if name not in INDEX]
    if unknown or not materials:
        raise UsageError(f"no materials: {', '.join(unknown) or 'none given'}")
    return [INDEX[name] for name in materials]


def _pick(indices: Sequence[int], generator: torch.Generator) -> int:
    return indices[draw_count(0, len(indices) - 1, generator)]
