"""One slice of a three-dimensional grid, and round regions in it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from unweight.core.errors import InputError


@final
@dataclass(frozen=True, kw_only=True)
class SlicePlane:
    """One slice of a three-dimensional grid.

    Attributes:
        axis: Axis of the grid across the slices.
        index: The slice along it.
        voxel_mm: Size of a voxel along the two other axes, in their order [mm].
    """

    axis: int
    index: int
    voxel_mm: tuple[float, float]

    @property
    def plane_axes(self) -> tuple[int, int]:
        """The two axes within the slice."""
        first, second = (axis for axis in range(3) if axis != self.axis)
        return first, second

    def cut(self, volume: Shaped[Tensor, "x y z *rest"]) -> Shaped[Tensor, "rows columns *rest"]:
        """Return the slice of a volume."""
        return volume.select(self.axis, self.index)

    def discs(
        self, shape: Sequence[int], centres_mm: Float[Tensor, "spheres 2"], radius_mm: float
    ) -> Bool[Tensor, "spheres rows columns"]:
        """Return the voxels whose centres lie within a radius of each point.

        Args:
            shape: Rows and columns of the slice.
            centres_mm: Index times voxel size [mm].
            radius_mm: Of every disc [mm].
        """
        rows, columns = (
            torch.arange(count, dtype=torch.float64) * size
            for count, size in zip(shape, self.voxel_mm, strict=True)
        )
        away = centres_mm.double().cpu()
        return (rows[:, None] - away[:, 0, None, None]) ** 2 + (
            columns - away[:, 1, None, None]
        ) ** 2 <= radius_mm**2


def as_volume(
    values: Shaped[Tensor, "*voxels channels"], affine: Float[Tensor, "4 4"] | None
) -> Shaped[Tensor, "x y z channels"]:
    """Return a slice or a volume with three axes of space; a slice gets a third axis.

    Raises:
        InputError: There are other than two or three axes of space, or no affine.
    """
    if values.ndim not in (3, 4):
        raise InputError(f"a slice or a volume is needed, not {values.ndim - 1} axes of space")
    if affine is None:
        raise InputError(
            "an image without an affine, so the voxel size is unknown",
            remedy="Give the affine; the spheres are found by their size.",
        )
    return values if values.ndim == 4 else values[:, :, None]


def disc_means(
    images: Float[Tensor, "rows columns channels"], discs: Bool[Tensor, "spheres rows columns"]
) -> Float[Tensor, "spheres channels"]:
    """Return the mean of each channel over each disc, not counting NaN."""
    return torch.stack([images[disc.to(images.device)].nanmean(0) for disc in discs])
