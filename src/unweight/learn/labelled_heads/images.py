"""Images of any contrast as networks get them: one scale of intensities, cubic voxels."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

GRID_MM = 2.0  # of brain masks
TOP = 0.995
LARGEST = 1.5
N_VALUES = 50_000
TINY = 1e-12


def normalised(image: Float[Tensor, "*space"]) -> Float[Tensor, "*space"]:
    """Return an image over the 99.5th percentile of what is not 0, cut off at 1.5 times that."""
    return over_percentile(image, image[image > 0], TOP, LARGEST)


def over_percentile(
    image: Float[Tensor, "*space"], values: Float[Tensor, " values"], share: float, largest: float
) -> Float[Tensor, "*space"]:
    """Return an image over a percentile of some values, cut off at a multiple of it; 0 if there are none.

    Args:
        image: Of any scale.
        values: Of which the percentile is taken.
        share: The percentile, 0 to 1.
        largest: Where the result is cut off.
    """
    if not len(values):
        return torch.zeros_like(image)
    some = values[:: max(1, len(values) // N_VALUES)]
    return (image / torch.quantile(some, share).clamp(min=TINY)).clamp(0, largest)


def resampled(
    image: Float[Tensor, "x y z"], sizes: tuple[float, float, float], grid_mm: float
) -> Float[Tensor, "u v w"]:
    """Return an image in cubic voxels of about `grid_mm`: means of finer voxels, linear between coarser.

    Args:
        image: Of any resolution.
        sizes: Of its voxels [mm].
        grid_mm: Of the result [mm].
    """
    wanted = [max(1, round(n * size / grid_mm)) for n, size in zip(image.shape, sizes, strict=True)]
    return of_shape(image, wanted)


def of_shape(image: Float[Tensor, "x y z"], wanted: Sequence[int]) -> Float[Tensor, "u v w"]:
    """Return an image over the same field of view in so many voxels, as `resampled` does."""
    finer = [min(n, new) for n, new in zip(image.shape, wanted, strict=True)]
    means = F.interpolate(image[None, None], size=finer, mode="area")
    return F.interpolate(means, size=list(wanted), mode="trilinear", align_corners=False)[0, 0]
