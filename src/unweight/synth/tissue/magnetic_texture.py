"""Texture of iron and myelin within a tissue, which T1 and T2 follow only in part.

    χ+ → χ+·e^a,   a = s·(√(1 − ρ²)·u − ρ·t₂)        iron:   where T2 is short there is more of it, in part
    χ− → χ−·e^b,   b = s·(√(1 − ρ²)·v − ρ·t₁)        myelin: where T1 is short there is more of it, in part

t₁ and t₂ are the textures of ln T1 and ln T2 over their standard deviations, u and v fields of their own.
R2* follows: by what T2 changes, and by 137 Hz/ppm at 3 T of what χ changes. So neither susceptibility nor
R2* can be told from T1, nor T1 from them, though they go together. The sizes of s and ρ are ours: the
scatter of χ within a nucleus is a tenth to a fifth of its mean in published atlases of in-vivo maps.
"""

import math
from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from unweight.core.errors import UsageError
from unweight.susceptibility.geometry import geometry_of
from unweight.synth.tissue.scene import TEXTURED, Scene
from unweight.synth.tissue.texture import texture

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
