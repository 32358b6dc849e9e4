"""The field that magnetised tissue makes: convolution with the unit dipole, done in k-space.

    δB = F⁻¹{ [1/3 − (k·b)²/|k|²] · F χ },    the factor is 0 at k = 0

χ and δB are in ppm (of the static field), b is the direction of that field. The 1/3 is the sphere of
Lorentz, so that a uniform sphere sees nothing of itself. The mean of δB is not defined: what counts
is its difference from place to place. For an oblique b the products k_i·k_j of two axes are tapered with
1 − (k/k_max)⁴ each, without which the edges of air ring: inside a ball in air 25 times as much as for a b
along an axis, with it the same.

References: Salomir, de Senneville, Moonen, Concepts Magn Reson B 19:26, 2003; Marques, Bowtell,
Concepts Magn Reson B 25:65, 2005.
"""

import math

import torch
from jaxtyping import Float
from scipy.fft import next_fast_len
from torch import Tensor

from unweight.core.errors import UsageError
from unweight.susceptibility.geometry import FieldGeometry, Triple, check_geometry

TAPER = 4


def dipole_kernel(
    shape: tuple[int, int, int], voxel_mm: Triple, direction: Triple
) -> Float[Tensor, "x y z"]:
    """Return the factor of the equation for every k, in the order of `torch.fft.fftn`, single precision.

    Args:
        shape: Size of the grid.
        voxel_mm: Voxel size along each axis [mm].
        direction: Unit vector along the static field, in the axes of the voxels.

    Raises:
        UsageError: The direction has another length than 1, or a voxel size is not positive.
    """
    check_geometry(voxel_mm, direction)
    axes = [torch.fft.fftfreq(n, d=size) for n, size in zip(shape, voxel_mm, strict=True)]
    return _kernel(axes, shape, direction)


def field_from_susceptibility(
    chi: Float[Tensor, "x y z"],
    voxel_mm: Triple,
    direction: Triple,
    pad: float = 2.0,
    background: float | None = None,
) -> Float[Tensor, "x y z"]:
    """Return the field of a susceptibility map [ppm of the static field], differentiable in the map.

    The grid is extended with the background value, so that the object does not see its own copies.
    What the grid cuts off (a neck, a slab) is thus replaced by background. An axis of one voxel is
    taken as endless: its objects are cylinders.

    Args:
        chi: Susceptibility [ppm].
        voxel_mm: Voxel size along each axis [mm].
        direction: Unit vector along the static field, in the axes of the voxels.
        pad: Size of the extended grid over that of the map, at least 1.
        background: Susceptibility beyond the grid [ppm]; None for the median of its outermost voxels.

    Raises:
        UsageError: The geometry or the padding is impossible.
    """
    check_geometry(voxel_mm, direction)
    if not pad >= 1:
        raise UsageError(f"pad must be at least 1, not {pad:g}", remedy="2 doubles the grid.")
    beyond = _outermost(chi) if background is None else background
    x, y, z = (1 if n == 1 else next_fast_len(math.ceil(pad * n), real=True) for n in chi.shape)
    kernel = half_kernel((x, y, z), FieldGeometry(voxel_mm=voxel_mm, direction=direction)).to(chi)
    spectrum = torch.fft.rfftn(chi - beyond, s=(x, y, z))
    field: Tensor = torch.fft.irfftn(spectrum * kernel, s=(x, y, z))
    return field[: chi.shape[0], : chi.shape[1], : chi.shape[2]]


def half_kernel(shape: tuple[int, int, int], geometry: FieldGeometry) -> Float[Tensor, "x y half"]:
    """Return the factor of the equation in the order of `torch.fft.rfftn`.

    Args:
        shape: Size of the grid.
        geometry: Voxel sizes and the direction of the field.
    """
    sizes = geometry.voxel_mm
    axes = [torch.fft.fftfreq(n, d=size) for n, size in zip(shape[:2], sizes[:2], strict=True)]
    axes.append(torch.fft.rfftfreq(shape[2], d=sizes[2]))
    return _kernel(axes, shape, geometry.direction)


def _kernel(
    axes: list[Float[Tensor, " _"]], shape: tuple[int, int, int], direction: Triple
) -> Float[Tensor, "x y z"]:
    """Return the factor on these frequencies, products of two axes tapered towards the highest.

    The highest frequency stands for both signs, where k_i·k_j, which changes sign there, must be 0; a
    sudden 0 would ring through the whole object from every edge of air.
    """
    square, even = torch.zeros(1, 1, 1), torch.zeros(1, 1, 1)
    odd, odd_squared = torch.zeros(1, 1, 1), torch.zeros(1, 1, 1)
    for axis, (frequency, n, part) in enumerate(zip(axes, shape, direction, strict=True)):
        place = [1, 1, 1]
        place[axis] = len(frequency)
        k = frequency.reshape(place)
        highest = k.abs().max() * (1 if n % 2 == 0 else n / (n - 1)) if n > 1 else torch.ones(())
        along = k * part
        tapered = along * (1 - (k / highest) ** TAPER)
        square, even = square + k**2, even + along**2
        odd, odd_squared = odd + tapered, odd_squared + tapered**2
    square[0, 0, 0] = 1.0
    kernel = 1 / 3 - (even + odd**2 - odd_squared) / square
    kernel[0, 0, 0] = 0.0
    return kernel


def _outermost(chi: Float[Tensor, "x y z"]) -> float:
    """Return the median over the faces of the grid, leaving out axes of one voxel."""
    faces = [
        chi.detach().select(axis, end).reshape(-1)
        for axis in range(3)
        if chi.shape[axis] > 1
        for end in (0, -1)
    ]
    return float(torch.cat(faces).median()) if faces else float(chi.detach())
