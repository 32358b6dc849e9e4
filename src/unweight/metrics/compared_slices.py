"""Slices of two images side by side, and the filters that measures of likeness compare them by.

Shared by SSIM, MS-SSIM, GMSD, HaarPSI and FSIM; the similarity of local moments by XSIM too. Filters lie
in the plane of each slice, and their results are pooled over the mask of the whole volume: every voxel
counts the same, and one slice gives what the paper has. Both images are 0 outside the mask and beyond the
image. Where the grid is coarser than the mask, a place counts by its share of the mask. Images are scaled
by their data range, so constants published for 0 to 255 are divided by 255 (or its square).

With the means, variances and covariance of two images about each place, structural similarity is

    SSIM = l·cs,   l = (2·μx·μy + C1)/(μx² + μy² + C1),   cs = (2·σxy + C2)/(σx² + σy² + C2)

Reference: Wang, Bovik, Sheikh, Simoncelli, IEEE Trans Image Process 13:600, 2004.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d, pad

from unweight.core.errors import UsageError

VOXELS_AT_ONCE = 2**18
WINDOW, WINDOW_SD = 11, 1.5  # [voxel], of SSIM
K1, K2 = 0.01, 0.03


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
        x, y = (item[..., some].movedim(-1, 0).double() / data_range for item in (estimate, truth))
        yield SlicePair(
            estimate=torch.where(mask & torch.isfinite(x), x, 0.0),
            truth=torch.where(mask, y, 0.0),
            weight=mask.double(),
        )


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class LocalMoments:
    """Means of two images about each place.

    Attributes:
        mean_x: Of the first.
        mean_y: Of the second.
        square: Of the sum of their squares.
        product: Of their product.
    """

    mean_x: Float[Tensor, "*places"]
    mean_y: Float[Tensor, "*places"]
    square: Float[Tensor, "*places"]
    product: Float[Tensor, "*places"]


def local_moments(
    x: Float[Tensor, "*places"],
    y: Float[Tensor, "*places"],
    mean: Callable[[Float[Tensor, "*places"]], Float[Tensor, "*places"]],
) -> LocalMoments:
    """Return the moments of two images.

    Args:
        x: The first image.
        y: The second.
        mean: Gives the mean about each place, `windowed`.
    """
    return LocalMoments(
        mean_x=mean(x), mean_y=mean(y), square=mean(x.square()) + mean(y.square()), product=mean(x * y)
    )


def structural_similarity(
    moments: LocalMoments, c1: float, c2: float, *, luminance: bool = True
) -> Float[Tensor, "*places"]:
    """Return SSIM about each place.

    Args:
        moments: Of the two images.
        c1: Keeps luminance from 0/0.
        c2: Keeps contrast and structure from 0/0.
        luminance: Whether it counts; else contrast and structure alone.
    """
    means = moments.mean_x * moments.mean_y
    energy = moments.mean_x.square() + moments.mean_y.square()
    above, below = 2 * (moments.product - means) + c2, moments.square - energy + c2
    if luminance:
        return (2 * means + c1) * above / ((energy + c1) * below)
    return above / below


def windowed(image: Float[Tensor, "slices x y"]) -> Float[Tensor, "slices x y"]:
    """Return the mean under the Gaussian window of SSIM about each voxel, zeros beyond the image."""
    place = torch.arange(WINDOW, dtype=image.dtype, device=image.device) - WINDOW // 2
    weight = torch.exp(-0.5 * (place / WINDOW_SD) ** 2)
    weight = weight / weight.sum()
    return filtered(image, weight, weight)


def check_range(data_range: float) -> None:
    """Refuse a data range that is not a positive number.

    Raises:
        UsageError: It is not.
    """
    if not 0 < data_range < math.inf:
        raise UsageError(f"a data range of {data_range:g}", remedy="Give the largest value to expect.")


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
