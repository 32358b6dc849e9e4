"""From labels and a draw of tissue to a scene: partial volume, texture, and the fields of a scanner."""

from dataclasses import replace

import torch
from jaxtyping import UInt8
from torch import Tensor

from unweight.core.errors import UsageError
from unweight.susceptibility.geometry import geometry_of
from unweight.synth.anatomy.labels import Anatomy, coarse_affine, fractions
from unweight.synth.scanner.fields import (
    ADIABATIC,
    EfficiencyPrior,
    imperfect_shim,
    inversion_efficiency,
    off_resonance,
    receive_phase,
    receive_sensitivity,
    transmit_field,
)
from unweight.synth.tissue.materials import BRAIN
from unweight.synth.tissue.prior import TissueDraw
from unweight.synth.tissue.scene import TEXTURED, Scene
from unweight.synth.tissue.texture import texture

Factor = tuple[int, int, int]


def compose(
    anatomy: Anatomy,
    factor: Factor,
    tissue: TissueDraw,
    generator: torch.Generator,
    efficiency: EfficiencyPrior = ADIABATIC,
) -> Scene:
    """Draw texture, transmit field, receive sensitivity and inversion efficiency over an anatomy.

    Args:
        anatomy: Labels on the fine grid.
        factor: Fine voxels in one of the scanner's along each axis.
        tissue: Properties of the materials.
        generator: For texture and fields.
        efficiency: What the inversion efficiency is drawn from.

    Raises:
        UsageError: The factor does not divide the labels.
    """
    shares = fractions(anatomy.labels, factor)
    shape = shares.shape[:-1]
    size = tuple(s * f for s, f in zip(anatomy.voxel_mm, factor, strict=True))
    layers = [texture(shape, size, sd, tissue.texture_mm, generator) for sd in tissue.texture_sd]
    transmit = transmit_field(tuple(shape), size, generator, tissue.field_strength)
    return Scene(
        fractions=shares,
        properties=tissue.values.float(),
        texture=torch.stack(layers[: len(TEXTURED)], dim=-1),
        fields={
            "B1": transmit,
            "B": inversion_efficiency(transmit, generator, efficiency),
            "receive": receive_sensitivity(tuple(shape), size, generator),
        },
        short_fraction=tissue.short_fraction,
        short_t1=tissue.short_t1,
        affine=coarse_affine(anatomy.affine, factor),
    )


def with_phase(scene: Scene, field_strength: float, generator: torch.Generator) -> Scene:
    """Add off-resonance, from the susceptibility of the materials, and the phase of the coil.

    The scene must be a whole head: the air around and inside it makes most of the field.

    Raises:
        UsageError: The scene has no affine, from which the direction of the main field is known.
    """
    if scene.affine is None:
        raise UsageError("a scene without an affine has no direction of the main field")
    geometry = geometry_of(scene.affine)
    voxel_mm = geometry.voxel_mm
    brain = scene.share(*BRAIN) > 0.5
    shape = tuple(scene.shape)
    frequency = off_resonance(scene.susceptibility, brain, voxel_mm, geometry.direction, field_strength)
    frequency = frequency + imperfect_shim(shape, voxel_mm, generator)
    fields = {**scene.fields, "frequency": frequency, "phase": receive_phase(shape, voxel_mm, generator)}
    return replace(scene, fields=fields)


def divisible(labels: UInt8[Tensor, "x y z"], factor: Factor) -> UInt8[Tensor, "x2 y2 z2"]:
    """Return the labels without the last few voxels that do not fill a coarse one."""
    x, y, z = (size - size % step for size, step in zip(labels.shape, factor, strict=True))
    return labels[:x, :y, :z]
