"""Heads of balls: sources inside a mask, sources outside it, and the field that each makes."""

from typing import NamedTuple

import torch
from torch import Tensor

from unweight.susceptibility.dipole import field_from_susceptibility
from unweight.susceptibility.geometry import FieldGeometry, Triple

Shape = tuple[int, int, int]


class Scene(NamedTuple):
    """Fields [ppm] on the grid, and where they count."""

    local: Tensor
    background: Tensor
    mask: Tensor
    deep: Tensor


def places(shape: Shape, voxel_mm: Triple = (1.0, 1.0, 1.0)) -> tuple[Tensor, Tensor, Tensor]:
    """Return millimetres from the middle of the grid."""
    axes = [
        (torch.arange(n, dtype=torch.float64) - (n - 1) / 2) * size
        for n, size in zip(shape, voxel_mm, strict=True)
    ]
    x, y, z = torch.meshgrid(*axes, indexing="ij")
    return x, y, z


def ball(shape: Shape, voxel_mm: Triple, centre: Triple, radius: float) -> Tensor:
    """Return 1 inside a ball, 0 outside, with an edge a voxel wide."""
    x, y, z = places(shape, voxel_mm)
    a, b, c = centre
    away = ((x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2).sqrt()
    return ((radius - away) / max(voxel_mm) + 0.5).clamp(0, 1)


def tissue(shape: Shape, voxel_mm: Triple) -> Tensor:
    """Return a ball of 0.1 ppm, one of −0.05 ppm, and a bar of 0.05 ppm."""
    x, y, z = places(shape, voxel_mm)
    bar = ((x + 1).abs() < 6) & ((y - 7).abs() < 2.1) & ((z - 1).abs() < 2.1)
    return (
        0.1 * ball(shape, voxel_mm, (-5.0, -2.0, 1.0), 4.0)
        - 0.05 * ball(shape, voxel_mm, (6.0, -3.0, -2.0), 4.0)
        + 0.05 * bar
    )


def field_of_ball(shape: Shape, geometry: FieldGeometry, centre: Triple, radius: float) -> Tensor:
    """Return the field around a ball of 1 ppm, in closed form: χ/3·(a/r)³·(3cos² − 1), 0 inside."""
    x, y, z = places(shape, geometry.voxel_mm)
    away = torch.stack([x - centre[0], y - centre[1], z - centre[2]], dim=-1)
    distance = away.norm(dim=-1)
    along = away @ torch.tensor(geometry.direction, dtype=torch.float64)
    around = (radius / distance) ** 3 * (3 * (along / distance) ** 2 - 1) / 3
    return torch.where(distance > radius, around, torch.zeros_like(around))


def scene(geometry: FieldGeometry, shape: Shape = (40, 40, 40), radius: float = 15.0) -> Scene:
    """Return a spherical head with tissue in it and strong sources around it."""
    local = field_from_susceptibility(
        tissue(shape, geometry.voxel_mm), geometry.voxel_mm, geometry.direction
    )
    background = (
        9.0 * field_of_ball(shape, geometry, (4.0, radius + 6.0, -8.0), 4.0)
        - 5.0 * field_of_ball(shape, geometry, (-radius - 5.0, 0.0, 4.0), 3.5)
        + 9.0 * field_of_ball(shape, geometry, (8.0, -5.0, -radius - 8.0), 4.5)
    )
    x, y, z = places(shape, geometry.voxel_mm)
    away = (x**2 + y**2 + z**2).sqrt()
    return Scene(local, background, away <= radius, away <= radius - 4)


def correlation(found: Tensor, true: Tensor) -> float:
    """Return the correlation of two sets of numbers."""
    return float(torch.corrcoef(torch.stack([found.double(), true.double()]))[0, 1])


def slope(found: Tensor, true: Tensor) -> float:
    """Return the slope of the line through found against true."""
    swing = true.double() - true.double().mean()
    return float((swing * found.double()).sum() / swing.square().sum())


def rms(values: Tensor) -> float:
    """Return the root mean square about the mean."""
    return float((values - values.mean()).square().mean().sqrt())
