"""A box of voxels inside a larger periodic grid, where convolutions are products.

The box lies in the low corner; what is beyond is 0. The larger the grid, the farther away are the copies
of the box that a periodic grid has.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Complex, Float
from scipy.fft import next_fast_len
from torch import Tensor

from unweight.core.errors import UsageError

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
