"""Specks: spots of any material, a voxel or a few wide, strewn over an anatomy.

Lesions that nobody drew, vessels, perivascular spaces: what is small and unlike its surroundings is what
a denoiser erases first. A network that has met specks everywhere learns not to.
"""

from dataclasses import replace

import torch

from unweight.core.errors import UsageError
from unweight.synth.anatomy.labels import Anatomy
from unweight.synth.sampling import Ends, draw_count
from unweight.synth.tissue.materials import MATERIALS

RADIUS_MM: Ends = (0.5, 3.0)
LARGEST_STRETCH = 1.6


def with_specks(
    anatomy: Anatomy,
    n_specks: int,
    generator: torch.Generator,
    *,
    radius_mm: Ends = RADIUS_MM,
) -> Anatomy:
    """Return the anatomy with ellipsoids of random material at random places.

    Args:
        anatomy: Labels on a fine grid.
        n_specks: How many; later ones cover earlier ones.
        generator: For places, sizes, shapes and materials.
        radius_mm: Smallest and largest mean radius, evenly in the logarithm [mm].

    Raises:
        UsageError: The radii are not positive and rising.
    """
    if not 0 < radius_mm[0] <= radius_mm[1]:
        raise UsageError(f"specks with radii from {radius_mm[0]:g} to {radius_mm[1]:g} mm")
    labels = anatomy.labels.clone()
    size = torch.tensor(labels.shape, dtype=torch.float32)
    share = torch.rand(n_specks, 7, generator=generator)
    centre = share[:, :3] * size
    radius = radius_mm[0] * (radius_mm[1] / radius_mm[0]) ** share[:, 3]
    stretch = LARGEST_STRETCH ** (2 * share[:, 4:] - 1)
    half = radius[:, None] * stretch / torch.tensor(anatomy.voxel_mm)
    low = (centre - half).floor().long().clamp(min=0)
    high = torch.minimum((centre + half).ceil().long() + 1, size.long())
    for number in range(n_specks):
        window = tuple(slice(int(a), int(b)) for a, b in zip(low[number], high[number], strict=True))
        x, y, z = (
            ((torch.arange(part.start, part.stop) + 0.5 - centre[number, axis]) / half[number, axis]) ** 2
            for axis, part in enumerate(window)
        )
        inside = x[:, None, None] + y[None, :, None] + z[None, None, :] < 1
        labels[window][inside] = draw_count(0, len(MATERIALS) - 1, generator)
    return replace(anatomy, labels=labels)
