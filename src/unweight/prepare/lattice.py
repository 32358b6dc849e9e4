"""Images without files: values, and where their voxels are."""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Float64
from torch import Tensor


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class VoxelGrid:
    """The voxels of an image.

    Attributes:
        shape: Voxels along each axis.
        affine: Voxel index to millimetres (RAS+).
    """

    shape: tuple[int, int, int]
    affine: Float64[Tensor, "4 4"]

    @property
    def voxel_mm(self) -> tuple[float, float, float]:
        """Size of a voxel [mm]."""
        x, y, z = self.affine[:3, :3].square().sum(0).sqrt().tolist()
        return x, y, z

    @property
    def centre(self) -> Float64[Tensor, " 3"]:
        """Middle of the field of view [mm]."""
        middle = torch.tensor([(n - 1) / 2 for n in self.shape], dtype=torch.float64)
        return self.affine[:3, :3] @ middle + self.affine[:3, 3]

    @property
    def axes(self) -> Float64[Tensor, "3 3"]:
        """Directions of the axes, as columns of length 1."""
        lengths: Tensor = self.affine[:3, :3].norm(dim=0)
        return self.affine[:3, :3] / lengths

    def every(self, steps: tuple[int, int, int]) -> "VoxelGrid":
        """Return the lattice of every so many voxels, from the first on."""
        x, y, z = ((n - 1) // step + 1 for n, step in zip(self.shape, steps, strict=True))
        scale = torch.diag(torch.tensor([*steps, 1], dtype=torch.float64))
        return VoxelGrid(shape=(x, y, z), affine=self.affine @ scale)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class PlacedImage:
    """An image and where its voxels are.

    Attributes:
        values: Magnitudes; NaN where there is no value.
        affine: Voxel index to millimetres (RAS+).
    """

    values: Float[Tensor, "x y z"]
    affine: Float64[Tensor, "4 4"]

    @property
    def lattice(self) -> VoxelGrid:
        """Where the voxels are."""
        x, y, z = self.values.shape
        return VoxelGrid(shape=(x, y, z), affine=self.affine)
