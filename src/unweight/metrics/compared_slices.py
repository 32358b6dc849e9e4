"""Slices of two images side by side, and the filters that measures of likeness compare them by.

Shared by MS-SSIM, GMSD, HaarPSI and FSIM. Their filters lie in the
plane of each slice, and what they find is pooled over the mask of the whole volume: every voxel counts the
same, and one slice gives what the paper says. Both images are 0 outside the mask and beyond the image.
Where the grid is coarser than the mask, a place counts by its share of the mask. Images are scaled by their
data range, so constants published for 0 to 255 are divided by 255 (or its square).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d, pad

from unweight.metrics.image_quality import check_range

VOXELS_AT_ONCE = 2**18


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class SlicePair:
    """Some slices of two images, those without a voxel of the mask left out.

    Attributes:
        estimate: Over its data range; 0 outside the mask and where it has no value.
        truth: Likewise.
        weight: 1 in the mask, else 0.
    """

    estimate: Float[Tensor, "slices x y"]
    truth: Float[Tensor, "slices x y"]
    weight: Float[Tensor, "slices x y"]


def compared_slices(
    estimate: Float[Tensor, "x y slices"],
    truth: Float[Tensor, "x y slices"],
    inside: Bool[Tensor, "x y slices"],
    data_range: float,
) -> Iterator[SlicePair]:
    """Yield the slices that hold a voxel of the mask, some at a time, in double precision.

    Raises:
        UsageError: The data range is not a positive number.
    """
    check_range(data_range)
    known = inside & torch.isfinite(truth)
    filled = known.any(dim=0).any(dim=0).nonzero()[:, 0]
    if not len(filled):
        return
    at_once = max(1, VOXELS_AT_ONCE // known[..., 0].numel())
    for some in torch.split(filled, at_once):
        mask = known[..., some].movedim(-1, 0)
        x, y = (one[..., some].movedim(-1, 0).double() / data_range for one in (estimate, truth))
        yield SlicePair(
            estimate=torch.where(mask & torch.isfinite(x), x, 0.0),
            truth=torch.where(mask, y, 0.0),
            weight=mask.double(),
        )


def coarsened(image: Float[Tensor, "slices x y"], factor: int) -> Float[Tensor, "slices fewer_x fewer_y"]:
    """Return the mean of each square of so many voxels, zeros beyond the image."""
    if factor == 1:
        return image
    beyond = (0, -image.shape[2] % factor, 0, -image.shape[1] % factor)
    return avg_pool2d(pad(image, beyond)[:, None], factor)[:, 0]


def filtered(
    image: Float[Tensor, "slices x y"],
    along_x: Float[Tensor, " odd_x"],
    along_y: Float[Tensor, " odd_y"],
) -> Float[Tensor, "slices x y"]:
    """Return the correlation with the outer product of two odd filters, zeros beyond the image."""
    once = conv2d(image[:, None], along_x[None, None, :, None], padding=(len(along_x) // 2, 0))
    return conv2d(once, along_y[None, None, None, :], padding=(0, len(along_y) // 2))[:, 0]


def gradient_magnitude(
    image: Float[Tensor, "slices x y"], smoothing: tuple[float, float, float]
) -> Float[Tensor, "slices x y"]:
    """Return √(gx² + gy²) of differences over two voxels, smoothed across with the weights given."""
    across = image.new_tensor(smoothing)
    along = image.new_tensor((-1.0, 0.0, 1.0))
    return torch.hypot(filtered(image, along, across), filtered(image, across, along))


def alike(
    first: Float[Tensor, "*places"], second: Float[Tensor, "*places"], stabiliser: float
) -> Float[Tensor, "*places"]:
    """Return (2ab + c)/(a² + b² + c): 1 where both are the same, and where both are small beside √c."""
    return (2 * first * second + stabiliser) / (first.square() + second.square() + stabiliser)
