"""T1-weighted intensities on a scale of their own: white matter has 1.

The bias field is taken out (N4), and the image is divided by the intensity most white matter has: the
brightest peak of the histogram over the brain that is at least a third as high as the highest one. In T1w
images white matter is the brightest of the large tissues; fat and vessels lie outside the mask.
"""

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor
from torch.nn.functional import conv1d

from unweight.core.errors import InputError
from unweight.prepare.bias_field import without_bias

BINS, SMOOTH_BINS = 256, 4.0
HIGHEST = 0.995  # quantile that ends the histogram
ENOUGH = 1 / 3
FEWEST, MOST = 200, 2**20
DATA_RANGE = 1.2  # of what is brain, white matter being 1
BRIGHTEST = 2.0


def white_matter_peak(image: Float[Tensor, "*voxels"], mask: Bool[Tensor, "*voxels"]) -> float:
    """Return the intensity of white matter.

    Raises:
        InputError: There are too few voxels, or they have no signal.
    """
    values = image[mask & torch.isfinite(image)].double()
    some = values[:: max(1, len(values) // MOST)]
    if len(values) < FEWEST or not float(some.quantile(HIGHEST)) > 0:
        raise InputError(
            f"{len(values)} voxels in the mask tell no intensity of white matter",
            remedy="Check the image and the mask.",
        )
    top = 1.1 * float(some.quantile(HIGHEST))
    counts = torch.histc(values, bins=BINS, min=0.0, max=top)
    place = torch.arange(-12, 13, dtype=torch.float64)
    kernel = torch.exp(-0.5 * (place / SMOOTH_BINS) ** 2)
    smooth = conv1d(counts[None, None], kernel[None, None] / kernel.sum(), padding=12)[0, 0]
    inner = smooth[1:-1]
    peaks = (inner >= smooth[:-2]) & (inner > smooth[2:]) & (inner >= ENOUGH * smooth.max())
    found = peaks.nonzero()[:, 0]
    best = int(found[-1]) + 1 if len(found) else int(smooth.argmax())
    return (best + 0.5) * top / BINS


def on_own_scale(
    image: Float[Tensor, "x y z"], mask: Bool[Tensor, "x y z"], affine: Float64[Tensor, "4 4"]
) -> Float[Tensor, "x y z"]:
    """Return a T1w image without its bias field, white matter at 1, 0 outside the mask.

    Args:
        image: Magnitudes.
        mask: The brain.
        affine: Voxel index to millimetres (RAS+).

    Raises:
        UsageError: SimpleITK is not installed.
        InputError: The mask is empty, or there is no signal in it.
    """
    flat = without_bias(image.float(), mask, affine)
    scaled = flat / white_matter_peak(flat, mask)
    return torch.where(mask, scaled.nan_to_num().clamp(0.0, BRIGHTEST), 0.0)
