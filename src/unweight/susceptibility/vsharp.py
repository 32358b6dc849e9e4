"""V-SHARP: spheres as large as the mask allows, and one deconvolution.

The mean over a sphere leaves a harmonic field as it is, so (δ − ρ) ∗ B = (δ − ρ) ∗ B_local wherever the
sphere lies in the mask. Deep in it a large sphere is used, near its edge ever smaller ones, down to the
smallest, which the mask is eroded by. The local field comes from dividing by the kernel of the largest
sphere that is used, where that is not too small.

References: Schweser et al., NeuroImage 54:2789, 2011 (SHARP); Wu et al., Magn Reson Med 67:137, 2012.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unweight.core.errors import InputError
from unweight.susceptibility.background import LocalField
from unweight.susceptibility.fourier_grid import eroded_by, grid_around, sphere_kernel
from unweight.susceptibility.geometry import FieldGeometry

GROWTH = 1.35  # of the radius from sphere to sphere
FEWEST = 0.02  # of the mask, voxels that a sphere fits around


def vsharp(
    field: Float[Tensor, "x y z"],
    mask: Bool[Tensor, "x y z"],
    geometry: FieldGeometry,
    weight: Float[Tensor, "x y z"] | None = None,
    *,
    largest_mm: float = 30.0,
    threshold: float = 0.15,
) -> LocalField:
    """Return the local field.

    Only spheres that fit around a fiftieth of the mask are used: in thin pieces those are small, and
    dividing by the kernel of larger ones would take most of the local field away.

    Args:
        field: Total field.
        mask: Where it is known.
        geometry: Voxel sizes and the direction of the static field.
        weight: Not used.
        largest_mm: Radius of the largest sphere; the smallest is one voxel wide [mm].
        threshold: Of the kernel of the largest sphere, below which nothing is divided.

    Raises:
        InputError: Not even the smallest sphere fits into the mask.
    """
    few = FEWEST * int(mask.sum())
    largest: Float[Tensor, "kx ky half"] | None = None
    radii = _radii(max(geometry.voxel_mm), largest_mm)
    reach = [2 * math.ceil(largest_mm / size) + 2 for size in geometry.voxel_mm]
    grid = grid_around(mask.shape, reach)
    inside = mask.to(field)
    spectrum = grid.spectrum(field * inside)
    left = torch.zeros_like(field)
    done = torch.zeros_like(mask)
    for radius in reversed(radii):
        kernel = sphere_kernel(grid, geometry.voxel_mm, radius).to(field)
        fits = eroded_by(mask, kernel, grid)
        if largest is None and radius > radii[0] and int(fits.sum()) <= few:
            continue
        largest = 1 - kernel if largest is None else largest
        here = fits & ~done
        left = torch.where(here, field - grid.values(spectrum * kernel), left)
        done = done | fits
    if largest is None or not bool(done.any()):
        raise InputError(
            "the mask is thinner than the smallest sphere: no background field can be determined there",
            remedy="Check the mask, or give a larger one.",
        )
    inverse = torch.where(largest.abs() > threshold, 1 / largest, torch.zeros_like(largest))
    local = grid.convolve(left, inverse)
    return LocalField(torch.where(done, local, torch.zeros_like(local)), done)


def _radii(smallest: float, largest: float) -> list[float]:
    """Return radii of whole voxels from one up, each about a third larger than the one before."""
    counts = [1]
    while (following := max(counts[-1] + 1, round(GROWTH * counts[-1]))) * smallest <= largest:
        counts.append(following)
    return [smallest * count for count in counts]
