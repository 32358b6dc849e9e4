"""Mean over a sphere, as a product in k-space: a harmonic field is its own mean over any sphere.

    ρ(r) = 1/V inside the radius, 0 outside;    (ρ ∗ B) = B for ∇²B = 0

Voxels that the surface cuts count by the share that lies inside.
"""

import itertools
import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unweight.core.errors import UsageError
from unweight.susceptibility.fourier_grid import FourierGrid
from unweight.susceptibility.geometry import Triple

SUBVOXELS = (-1 / 3, 0.0, 1 / 3)
NEARLY_ALL = 0.99999


def sphere_kernel(grid: FourierGrid, voxel_mm: Triple, radius_mm: float) -> Float[Tensor, "x y half"]:
    """Return the half spectrum of the mean over a sphere.

    Raises:
        UsageError: The sphere does not fit into the grid, or has no radius.
    """
    if not radius_mm > 0:
        raise UsageError(f"a sphere of radius {radius_mm:g} mm")
    axes = []
    for n, size in zip(grid.whole, voxel_mm, strict=True):
        if n > 1 and 2 * math.ceil(radius_mm / size) >= n:
            raise UsageError(f"a sphere of {radius_mm:g} mm does not fit into {n} voxels of {size:g} mm")
        axes.append(torch.fft.fftfreq(n, d=1 / n))
    share = torch.zeros(grid.whole)
    for shift in itertools.product(SUBVOXELS, repeat=3):
        x, y, z = (
            ((axis + part) * size) ** 2 for axis, part, size in zip(axes, shift, voxel_mm, strict=True)
        )
        share += (x[:, None, None] + y[None, :, None] + z[None, None, :] <= radius_mm**2).float()
    spectrum: Tensor = torch.fft.rfftn(share / share.sum()).real
    return spectrum.contiguous()


def eroded_by(
    mask: Bool[Tensor, "x y z"], kernel: Float[Tensor, "kx ky half"], grid: FourierGrid
) -> Bool[Tensor, "x y z"]:
    """Return the voxels whose whole sphere lies in the mask."""
    return (grid.convolve(mask.to(kernel), kernel) > NEARLY_ALL) & mask
