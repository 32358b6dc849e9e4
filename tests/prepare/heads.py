"""A smooth head as a function of position, so that it can be sampled anywhere: the truth of the tests here.

Two contrasts of it have the same shapes at other levels, as T1w and T2w do.
"""

import math

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from unweight.prepare.lattice import PlacedImage, VoxelGrid

# Middle and radius [mm] of smooth balls, and their level in either contrast; all are stretched alike.
STRETCH = (0.85, 1.1, 0.95)
BALLS = (
    ((0.0, 0.0, 0.0), 62.0, 1.0, 0.5),
    ((22.0, 25.0, 10.0), 16.0, -0.6, 0.9),
    ((-25.0, 10.0, -18.0), 13.0, 0.5, -0.4),
    ((5.0, -35.0, 20.0), 18.0, -0.4, 0.6),
    ((-10.0, -12.0, 35.0), 11.0, 0.7, 0.3),
    ((30.0, -20.0, -25.0), 12.0, -0.5, -0.3),
    ((-30.0, -30.0, 5.0), 9.0, 0.6, 0.8),
)
SOFT_MM = 2.0


def rotation(x: float, y: float, z: float) -> Float64[Tensor, "3 3"]:
    """About x, then y, then z [rad], written out."""
    a, b, c, d, e, f = math.cos(x), math.sin(x), math.cos(y), math.sin(y), math.cos(z), math.sin(z)
    about_x = torch.tensor([[1, 0, 0], [0, a, -b], [0, b, a]], dtype=torch.float64)
    about_y = torch.tensor([[c, 0, d], [0, 1, 0], [-d, 0, c]], dtype=torch.float64)
    about_z = torch.tensor([[e, -f, 0], [f, e, 0], [0, 0, 1]], dtype=torch.float64)
    return about_z @ about_y @ about_x


def rigid(degrees: tuple[float, float, float], shift: tuple[float, float, float]) -> Float64[Tensor, "4 4"]:
    """A rotation about the middle of the head, then a shift [mm]."""
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:3, :3] = rotation(*(math.radians(angle) for angle in degrees))
    matrix[:3, 3] = torch.tensor(shift, dtype=torch.float64)
    return matrix


def lattice(
    voxel_mm: tuple[float, float, float],
    degrees: tuple[float, float, float] = (0.0, 0.0, 0.0),
    extent_mm: tuple[float, float, float] = (160.0, 160.0, 160.0),
) -> VoxelGrid:
    """A field of view around the origin, its axes turned."""
    x, y, z = (round(extent / size) for extent, size in zip(extent_mm, voxel_mm, strict=True))
    affine = torch.eye(4, dtype=torch.float64)
    affine[:3, :3] = rotation(*(math.radians(angle) for angle in degrees)) * torch.tensor(voxel_mm)
    middle = torch.tensor([(n - 1) / 2 for n in (x, y, z)], dtype=torch.float64)
    affine[:3, 3] = -affine[:3, :3] @ middle
    return VoxelGrid(shape=(x, y, z), affine=affine)


def points_of(place: VoxelGrid) -> Float64[Tensor, "x y z 3"]:
    """The middle of every voxel [mm]."""
    axes = [torch.arange(n, dtype=torch.float64) for n in place.shape]
    index = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    return index @ place.affine[:3, :3].T + place.affine[:3, 3]


def level(points: Float64[Tensor, "*space 3"], contrast: int) -> Float64[Tensor, "*space"]:
    """The head at some points."""
    total = torch.zeros(points.shape[:-1], dtype=torch.float64)
    round_points = points / torch.tensor(STRETCH, dtype=torch.float64)
    for middle, radius, *levels in BALLS:
        far = (round_points - torch.tensor(middle, dtype=torch.float64)).norm(dim=-1)
        total += levels[contrast] * torch.sigmoid((radius - far) / SOFT_MM)
    return 100 * total.clamp(min=0)


def image(
    place: VoxelGrid, contrast: int, moved: Float64[Tensor, "4 4"] | None = None, noise: float = 0.0
) -> PlacedImage:
    """The head on a lattice, moved, as a scanner would store it: a mean over the thickness of a slice."""
    back = torch.eye(4, dtype=torch.float64) if moved is None else torch.linalg.inv(moved)
    points, along = points_of(place), place.affine[:3, 2]
    parts = [
        level((points + share * along) @ back[:3, :3].T + back[:3, 3], contrast)
        for share in (-0.4, -0.2, 0.0, 0.2, 0.4)
    ]
    values: Float[Tensor, "x y z"] = torch.stack(parts).mean(0).float()
    draw = torch.randn(values.shape, generator=torch.Generator().manual_seed(contrast))
    return PlacedImage(values=(values + noise * draw).clamp(min=0), affine=place.affine)


def inside(place: VoxelGrid) -> Bool[Tensor, "x y z"]:
    """The largest ball with a margin."""
    return points_of(place).norm(dim=-1) < BALLS[0][1] + 8
