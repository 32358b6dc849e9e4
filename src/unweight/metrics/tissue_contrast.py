"""How well two tissues can be told apart in one image: their contrast-to-noise ratio.

    CNR = |mean1 − mean2| / √((var1 + var2)/2)

White against grey matter tells whether a synthetic T1-weighted image has the contrast of a true one;
putamen against pallidum the same where contrast is small and hard to predict. The variance is that of the
voxels of a tissue: noise, and what the tissue varies by itself, with partial volume and the bias field. So
an image that is too smooth has a CNR above that of the true image: the nearer to that one, the better.
For two distributions with one variance it is Cohen's d. How much of a true contrast is left, whatever the
noise, is `contrast.recovered_contrast`.

Reference: Magnotta, Friedman et al., J Digit Imaging 19:140, 2006 (CNR of grey and white matter,
with the noise of the background).
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unweight.core.errors import UsageError

FEWEST = 2


def contrast_to_noise(
    image: Float[Tensor, "*voxels"], first: Bool[Tensor, "*voxels"], second: Bool[Tensor, "*voxels"]
) -> float:
    """Return the contrast-to-noise ratio; NaN if a tissue has fewer than two voxels.

    Infinite if the tissues differ and neither varies, NaN if they are one constant.

    Args:
        image: The image; voxels without a finite value are left out.
        first: One tissue.
        second: The other; the two must not overlap.

    Raises:
        UsageError: The tissues overlap.
    """
    if bool((first & second).any()):
        raise UsageError(f"{int((first & second).sum())} voxels are in both tissues")
    valued = torch.isfinite(image)
    one, other = (image[valued & tissue].double() for tissue in (first, second))
    if min(len(one), len(other)) < FEWEST:
        return math.nan
    contrast = float((one.mean() - other.mean()).abs())
    noise = float(((one.var() + other.var()) / 2).sqrt())
    if noise == 0:
        return math.inf if contrast > 0 else math.nan
    return contrast / noise
