"""Linear filters on a periodic grid: padding, gradients, Gaussian smoothing and spherical means.

A box of voxels inside a larger periodic grid, where convolutions are products.

The box lies in the low corner; what is beyond is 0. The larger the grid, the farther away are the copies
of the box that a periodic grid has.

Mean over all of k-space of what is given on its half.

Differences between neighbours, per millimetre, on a periodic grid; and their transpose.

Smoothing with a Gaussian; beyond the grid there is nothing, so edges lose.

Mean over a sphere, as a product in k-space: a harmonic field is its own mean over any sphere.

    ρ(r) = 1/V inside the radius, 0 outside;    (ρ ∗ B) = B for ∇²B = 0

Voxels that the surface cuts count by the share that lies inside.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Complex, Float
from scipy.fft import next_fast_len
from torch import Tensor

from unweight.core.errors import UsageError
from unweight.susceptibility.geometry import Triple

Shape = tuple[int, int, int]


@final
@dataclass(frozen=True, kw_only=True)
class FourierGrid:
    """The box and the grid.

    Attributes:
        box: Voxels of the box along each axis.
        whole: Voxels of the grid along each axis.
    """

    box: Shape
    whole: Shape

    def __post_init__(self) -> None:
        if any(inner > outer for inner, outer in zip(self.box, self.whole, strict=True)):
            raise UsageError(f"a box of {self.box} voxels does not fit into a grid of {self.whole}")

    def spectrum(self, values: Float[Tensor, "x y z"]) -> Complex[Tensor, "kx ky half"]:
        """Return the half spectrum of values on the box."""
        result: Tensor = torch.fft.rfftn(values, s=self.whole)
        return result

    def values(self, spectrum: Complex[Tensor, "kx ky half"]) -> Float[Tensor, "x y z"]:
        """Return the values on the box."""
        return self.cut(self.everywhere(spectrum))

    def everywhere(self, spectrum: Complex[Tensor, "kx ky half"]) -> Float[Tensor, "kx ky kz"]:
        """Return the values on the whole grid."""
        result: Tensor = torch.fft.irfftn(spectrum, s=self.whole)
        return result

    def cut(self, whole: Float[Tensor, "kx ky kz"]) -> Float[Tensor, "x y z"]:
        """Return what lies in the box."""
        x, y, z = self.box
        return whole[:x, :y, :z]

    def embed(self, values: Float[Tensor, "x y z"], beyond: float = 0.0) -> Float[Tensor, "kx ky kz"]:
        """Return values on the box, in a grid that holds one value elsewhere."""
        whole = values.new_full(self.whole, beyond)
        self.cut(whole).copy_(values)
        return whole

    def convolve(
        self, values: Float[Tensor, "x y z"], kernel: Float[Tensor, "kx ky half"]
    ) -> Float[Tensor, "x y z"]:
        """Return the convolution with a kernel whose half spectrum is given."""
        return self.values(self.spectrum(values) * kernel)


def grid_around(box: Sequence[int], margin: Sequence[int]) -> FourierGrid:
    """Return a grid with at least so many empty voxels along each axis, of a size that is fast.

    Args:
        box: Voxels along each axis; an axis of one voxel stays as it is.
        margin: Empty voxels wanted along each axis.
    """
    x, y, z = (
        1 if n == 1 else next_fast_len(n + max(0, more), real=True)
        for n, more in zip(box, margin, strict=True)
    )
    return FourierGrid(box=(box[0], box[1], box[2]), whole=(x, y, z))


def padded_grid(box: Sequence[int], pad: float) -> FourierGrid:
    """Return a grid so many times as large along each axis.

    Raises:
        UsageError: The factor is below 1.
    """
    if not pad >= 1:
        raise UsageError(f"pad must be at least 1, not {pad:g}", remedy="2 doubles the grid.")
    return grid_around(box, [math.ceil(pad * n) - n for n in box])


def rfft_mean(values: Float[Tensor, "x y half"], n_last: int) -> float:
    """Return the mean over the whole spectrum of an even function.

    Args:
        values: On the half that `torch.fft.rfftn` gives.
        n_last: Voxels along the last axis.
    """
    twice = 2 * values.double().sum() - values[..., 0].double().sum()
    if n_last % 2 == 0:
        twice = twice - values[..., -1].double().sum()
    return float(twice / (values.shape[0] * values.shape[1] * n_last))


def differences(values: Float[Tensor, "x y z"], voxel_mm: Triple) -> Float[Tensor, "3 x y z"]:
    """Return (v(r + e) − v(r))/size along each axis."""
    parts = [(values.roll(-1, axis) - values) / size for axis, size in enumerate(voxel_mm)]
    return torch.stack(parts)


def differences_back(parts: Float[Tensor, "3 x y z"], voxel_mm: Triple) -> Float[Tensor, "x y z"]:
    """Return the transpose of `differences`, minus the divergence."""
    back = [(parts[axis].roll(1, axis) - parts[axis]) / size for axis, size in enumerate(voxel_mm)]
    return back[0] + back[1] + back[2]


def laplacian_kernel(shape: tuple[int, int, int], voxel_mm: Triple) -> Float[Tensor, "x y half"]:
    """Return the half spectrum of `differences_back` after `differences`, Σ 4 sin²(πk·size)/size²."""
    squares = []
    for axis, (n, size) in enumerate(zip(shape, voxel_mm, strict=True)):
        share = torch.fft.rfftfreq(n) if axis == 2 else torch.fft.fftfreq(n)
        squares.append((2 * torch.sin(torch.pi * share) / size) ** 2)
    return squares[0][:, None, None] + squares[1][None, :, None] + squares[2][None, None, :]


REACH = 3.0  # standard deviations


def smooth_complex(
    values: Complex[Tensor, "x y z"], sd_mm: float, voxel_mm: Triple
) -> Complex[Tensor, "x y z"]:
    """Return values smoothed with a Gaussian, 0 beyond the grid.

    Args:
        values: A complex image; the phase of its smooth is a mean phase weighted by magnitude.
        sd_mm: Standard deviation of the Gaussian [mm].
        voxel_mm: Voxel size along each axis [mm].
    """
    parts = torch.stack([values.real, values.imag])
    for axis, size in enumerate(voxel_mm):
        parts = _along(parts, axis + 1, sd_mm / size)
    return torch.complex(parts[0].contiguous(), parts[1].contiguous())


def _along(parts: Float[Tensor, "two x y z"], axis: int, sd: float) -> Float[Tensor, "two x y z"]:
    """Smooth along one axis by a product with a band matrix: fast, and the same on every device."""
    n = parts.shape[axis]
    if n == 1:
        return parts
    place = torch.arange(n, device=parts.device, dtype=parts.dtype)
    distance = (place[:, None] - place[None, :]) / max(sd, 1e-6)
    weight = torch.exp(-distance.square() / 2)
    weight = torch.where(distance.abs() <= REACH, weight, torch.zeros_like(weight))
    reach = math.floor(REACH * sd)
    whole = sum(math.exp(-((step / max(sd, 1e-6)) ** 2) / 2) for step in range(-reach, reach + 1))
    weight = weight / whole
    return torch.movedim(torch.movedim(parts, axis, -1) @ weight, -1, axis)


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
