"""The signed distance to the surface of a brain in an image of any contrast, by a trained network.

    d = 10 mm · f(I / q),   mask = {d < b}

with f the network, I the image on a grid of 2 mm voxels along the axes of the head, q the 99.5th percentile
of what is not 0 in it, and b where the mask ends beside the surface. d is negative inside, trained to stay
within ± 10 mm, and smooth, so that it can be interpolated to the grid of the image. After A. Hoopes et al.,
SynthStrip, NeuroImage 260 (2022) 119474.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from unweight.bids.nifti.canonical import turn_of
from unweight.learn.labelled_heads.images import GRID_MM, normalised, resampled
from unweight.prepare.brain_finder import voxel_mm

SCALE_MM = 10.0
OUTSIDE_MM = 20.0  # where the network does not look
WINDOW, N_LOOKS = 96, 2  # voxels; times that a window is placed in a larger image
BRIGHT = 0.1
Volume = Float[Tensor, "x y z"]


def found_distance(network: nn.Module, image: Volume) -> Volume:
    """Return the distance that the network finds on the grid of 2 mm [mm].

    The network always works on `WINDOW` voxels along each axis, as in its training: smaller images are
    filled up with zeros; in larger ones the window lies around what is bright, then around the brain that
    was predicted there.
    """
    margins = [max(0, WINDOW - n) for n in image.shape]
    before = [margin // 2 for margin in margins]
    pads = [side for axis in (2, 1, 0) for side in (before[axis], margins[axis] - before[axis])]
    padded = F.pad(image, pads)
    centre = _centre(normalised(padded) > BRIGHT)
    distance = torch.full_like(padded, OUTSIDE_MM)
    for _ in range(N_LOOKS):
        window = tuple(
            slice(first, first + WINDOW)
            for first in (
                min(max(0, round(at) - WINDOW // 2), n - WINDOW)
                for at, n in zip(centre, padded.shape, strict=True)
            )
        )
        with torch.no_grad():
            predicted = SCALE_MM * network(normalised(padded[window])[None, None])[0, 0]
        distance = torch.full_like(padded, OUTSIDE_MM)
        distance[window] = predicted
        if padded.shape == predicted.shape:
            break
        centre = _centre(distance < 0)
    inner = tuple(slice(first, first + n) for first, n in zip(before, image.shape, strict=True))
    return distance[inner]


def _centre(mask: Bool[Tensor, "x y z"]) -> list[float]:
    """Return the mean place of a mask; the middle if it is empty."""
    places = mask.nonzero().float()
    return places.mean(0).tolist() if len(places) else [n / 2 for n in mask.shape]


def surface_distance(
    network: nn.Module, images: Sequence[Volume], affine: Float[Tensor, "4 4"]
) -> Float[Tensor, "x y z"]:
    """Return the signed distance to the surface of the brain on the grid of the images [mm].

    Args:
        network: Trained; its weights are on the CPU.
        images: On one grid; the distances predicted in each are averaged. NaN where there is no value.
        affine: Voxel index to millimetres (RAS+), for directions and sizes of the axes.

    Raises:
        InputError: Two axes run along the same direction.
    """
    turn = turn_of(affine, images[0].shape)
    sizes = voxel_mm(turn.affine)
    total = torch.zeros(1)
    for image in images:
        known = image.detach().cpu().float().nan_to_num().abs()
        total = total + found_distance(network, resampled(turn.apply(known), sizes, GRID_MM)) / len(images)
    x, y, z = (images[0].shape[axis] for axis in turn.order)
    fine = F.interpolate(total[None, None], size=(x, y, z), mode="trilinear", align_corners=False)[0, 0]
    return turn.undo(fine)
