"""The brain with its CSF in the magnitudes of a multi-echo gradient echo.

In a late echo skull, marrow, fat and skin have decayed or lost their phase, and brain and CSF are what is
bright; `find_brain` then has little to choose between. Where next to nothing else is bright, as after a
saturation of fat, there is nothing to choose, and all that is bright is taken. It works on voxels of about
3 mm here, which is enough for a mask, and takes a second. The outermost layer, which shares voxels with
bone, is taken off.
"""

import logging

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy import ndimage
from torch import Tensor
from torch.nn.functional import avg_pool3d, interpolate

from unweight.core.errors import InputError
from unweight.prepare.brain_mask import find_brain
from unweight.susceptibility.morphology import fill_holes, largest_component

LOG = logging.getLogger(__name__)
COARSE_MM = 3.0
ROUGH = 0.6  # of COARSE_MM
LIT = 0.4  # of the 95th percentile: bright
MOSTLY, DARK = 0.9, 0.2  # share of what is bright in one object; of its level: background
ALONE = 0.3  # of what is bright, below which no brain was found among it


def find_brain_in_echoes(
    magnitude: Float[Tensor, "x y z echoes"],
    voxel_mm: tuple[float, float, float],
    peeled_mm: float = 2.0,
) -> Bool[Tensor, "x y z"]:
    """Return the brain with its CSF.

    Args:
        magnitude: The echoes, by rising TE.
        voxel_mm: Size of a voxel [mm].
        peeled_mm: Thickness of the layer that is taken off, one voxel at least; 0 for none [mm].

    Raises:
        InputError: Nothing like a brain is in them.
    """
    late = magnitude[..., -1].nan_to_num()
    if late.ndim != 3 or not bool((late > 0).any()):
        raise InputError("the last echo contains no signal", remedy="Give a brain mask with --mask.")
    steps = [
        max(1, min(int(COARSE_MM / size / ROUGH), n)) for size, n in zip(voxel_mm, late.shape, strict=True)
    ]
    coarse = avg_pool3d(late[None, None].float().cpu(), steps, ceil_mode=True)[0, 0]
    x, y, z = (step * size for step, size in zip(steps, voxel_mm, strict=True))
    lit = _lit(coarse)
    try:
        mask = find_brain([coarse], (x, y, z))
    except InputError:
        if not _is_alone(coarse, lit):
            raise
        LOG.warning("no brain was found; the object in the images is used as the mask")
        mask = lit
    if int(mask.sum()) < ALONE * int(lit.sum()):
        mask = lit
    scale = tuple(float(step) for step in steps)
    smooth = interpolate(
        mask.float()[None, None], scale_factor=scale, mode="trilinear", align_corners=False
    )
    fine = smooth[0, 0] > 0.5
    whole = fine[: late.shape[0], : late.shape[1], : late.shape[2]].numpy()
    depth = ndimage.distance_transform_edt(whole, sampling=voxel_mm)
    peeled = max(peeled_mm, *voxel_mm) if peeled_mm > 0 else 0.0
    return torch.from_numpy(depth > peeled).to(magnitude.device)


def _is_alone(image: Float[Tensor, "x y z"], lit: Bool[Tensor, "x y z"]) -> bool:
    """Whether one bright object stands before a dark background, as a phantom or a stripped brain does."""
    around = image[~lit]
    if not int(lit.sum()) or not len(around):
        return False
    bright = image > LIT * float(image[lit].median())
    return int((bright & lit).sum()) > MOSTLY * int(bright.sum()) and float(around.median()) < DARK * float(
        image[lit].median()
    )


def _lit(image: Float[Tensor, "x y z"]) -> Bool[Tensor, "x y z"]:
    """Return the largest bright piece, filled, after thin bridges are broken."""
    values = image.numpy()
    bright = values > LIT * np.percentile(values, 95)
    opened = ndimage.binary_opening(bright)
    return fill_holes(largest_component(torch.from_numpy(opened if opened.any() else bright)))
