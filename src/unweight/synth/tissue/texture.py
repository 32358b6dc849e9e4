"""Texture within a tissue: of relaxation and of susceptibility.

Texture within a tissue: a smooth Gaussian random field.

White noise is smoothed with a Gaussian of standard deviation s along each axis, so that the
correlation of two voxels a distance d apart is

    r(d) = exp(−d² / 4s²)

and is 1/e at d = 2s. The kernel wraps around the edges of the grid, which makes the field stationary:
each voxel has the same variance, and it is scaled to the one wanted in closed form, not by the sample.

Texture of iron and myelin within a tissue, which T1 and T2 follow only in part.

    χ+ → χ+·e^a,   a = s·(√(1 − ρ²)·u − ρ·t₂)        iron:   where T2 is short there is more of it, in part
    χ− → χ−·e^b,   b = s·(√(1 − ρ²)·v − ρ·t₁)        myelin: where T1 is short there is more of it, in part

t₁ and t₂ are the textures of ln T1 and ln T2 over their standard deviations, u and v fields of their own.
R2* follows: by what T2 changes, and by 137 Hz/ppm at 3 T of what χ changes. So neither susceptibility nor
R2* can be inferred from T1, nor T1 from them, though they go together. The sizes of s and ρ are ours: the
scatter of χ within a nucleus is a tenth to a fifth of its mean in published atlases of in-vivo maps.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from unweight.core.errors import UsageError
from unweight.susceptibility.geometry import geometry_of
from unweight.synth.tissue.scene import TEXTURED, Scene


def texture(
    shape: Sequence[int],
    voxel_mm: Sequence[float],
    sd: float,
    length_mm: float,
    generator: torch.Generator,
) -> Float[Tensor, "*shape"]:
    """Draw a field of mean 0.

    An axis of one voxel is a slice: it is not smoothed along. A length well below the voxel gives
    white noise.

    Args:
        shape: Voxels along each axis.
        voxel_mm: Size of a voxel along each axis [mm].
        sd: Standard deviation of a voxel over many fields [unit of the field].
        length_mm: Standard deviation of the smoothing Gaussian [mm].
        generator: Where the noise comes from; the field is on its device.

    Raises:
        UsageError: Sizes do not match or are not positive.
    """
    _check(shape, voxel_mm, sd, length_mm)
    field = torch.randn(tuple(shape), generator=generator, device=generator.device)
    for axis, (n_voxels, size) in enumerate(zip(shape, voxel_mm, strict=True)):
        if n_voxels > 1:
            field = torch.tensordot(_smoothing(n_voxels, length_mm / size).to(field), field, ([1], [axis]))
            field = field.movedim(0, axis)
    return sd * field


def _smoothing(n_voxels: int, width: float) -> Float[Tensor, "voxels voxels"]:
    """Return the circulant matrix that smooths one axis and keeps the variance of white noise."""
    place = torch.arange(n_voxels, dtype=torch.float64)
    distance = torch.minimum(place, n_voxels - place)
    kernel = torch.exp(-0.5 * (distance / max(width, 1e-6)) ** 2)
    kernel = kernel / kernel.square().sum().sqrt()
    turns = (place[:, None] - place[None, :]).remainder(n_voxels).long()
    return kernel[turns]


def _check(shape: Sequence[int], voxel_mm: Sequence[float], sd: float, length_mm: float) -> None:
    if len(shape) != len(voxel_mm) or not shape:
        raise UsageError(
            f"a grid of {len(shape)} axes, but voxel sizes for {len(voxel_mm)}",
            remedy="Give one voxel size per axis.",
        )
    if min(shape) < 1 or not all(math.isfinite(size) and size > 0 for size in voxel_mm):
        raise UsageError(f"an empty grid: shape {tuple(shape)}, voxels {tuple(voxel_mm)} mm")
    if not (math.isfinite(sd) and math.isfinite(length_mm) and sd >= 0 and length_mm >= 0):
        raise UsageError(f"a texture needs sd and length of 0 or more, not {sd:g} and {length_mm:g} mm")


SMALLEST = 1e-6


@final
@dataclass(frozen=True, kw_only=True)
class MagneticTexture:
    """How χ scatters within a tissue.

    Attributes:
        sd: s, of ln χ+ and ln χ−.
        shared: ρ, correlation with the texture of T2 and T1.
        length_mm: Smoothing length of the own fields [mm].
    """

    sd: float = 0.15
    shared: float = 0.5
    length_mm: float = 2.5

    def __post_init__(self) -> None:
        if not (0 <= self.sd < 1 and 0 <= self.shared <= 1 and self.length_mm >= 0):
            raise UsageError(f"no magnetic texture: {self}")


def with_magnetic_texture(
    scene: Scene, generator: torch.Generator, within: MagneticTexture | None = None
) -> Scene:
    """Return the scene with texture of χ+ and χ− in the brain; the field is to be computed after this.

    Raises:
        UsageError: The scene has no affine.
    """
    within = MagneticTexture() if within is None else within
    if scene.affine is None:
        raise UsageError("a scene without an affine has no size of a voxel")
    voxel_mm = geometry_of(scene.affine).voxel_mm
    layers = []
    for follows in ("T2", "T1"):
        own = texture(tuple(scene.shape), voxel_mm, 1.0, within.length_mm, generator)
        known = _standard(scene.texture[..., TEXTURED.index(follows)])
        mixed = math.sqrt(1 - within.shared**2) * own - within.shared * known
        layers.append(within.sd * mixed.clamp(-3, 3))
    return replace(scene, magnetic=torch.stack(layers, dim=-1))


def _standard(field: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return a field over its standard deviation; 0 where it has none."""
    return field / field.std().clamp(min=SMALLEST)
