"""What the network gets beside the image: where a voxel lies in the brain, and how far from its surface.

    position_i = (p_i − m_i) / 64 mm,   0 along axes on which the centre m of the brain is not known
    distance   = d / 20 mm, cut off at ± 1; negative inside

A patch alone does not show where in the brain it lies, nor which side is the right one. Both vary slowly
and are given at half the resolution of the image.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from unweight.learn.labelled_heads.images import over_percentile

SCALE_MM, FARTHEST_MM = 64.0, 20.0
N_GUIDES = 4
NO_AXIS = (True, True, True)
TOP, LARGEST = 0.95, 2.5


def brain_normalised(image: Float[Tensor, "x y z"], brain: Bool[Tensor, "x y z"]) -> Float[Tensor, "x y z"]:
    """Return an image over the 95th percentile of the brain in it, cut off at 2.5 times that."""
    return over_percentile(image, image[brain & (image > 0)], TOP, LARGEST)


def guide_channels(
    middle: Float[Tensor, "3"],
    distance: Float[Tensor, "x y z"],
    grid_mm: float,
    unknown: tuple[bool, bool, bool],
) -> Float[Tensor, "guides u v w"]:
    """Return position and distance at half the resolution of a grid, along the axes of the head.

    Args:
        middle: The centre of the brain, as an index of the grid.
        distance: Signed distance to the surface of the brain, negative inside [mm]; even numbers of voxels.
        grid_mm: Size of a voxel [mm].
        unknown: Along which axes the centre is not known, since the field of view cuts the brain.
    """
    shape = [size // 2 for size in distance.shape]
    channels = []
    for axis, size in enumerate(shape):
        along = (2 * torch.arange(size) + 0.5 - float(middle[axis])) * (grid_mm / SCALE_MM)
        wanted = [size if at == axis else 1 for at in range(3)]
        values = torch.zeros(size) if unknown[axis] else along
        channels.append(values.reshape(wanted).expand(*shape))
    near = F.avg_pool3d(distance[None, None], 2)[0, 0] / FARTHEST_MM
    return torch.stack([*channels, near.clamp(-1, 1)])


def middle_in_patch(places: Float[Tensor, "x y z 3"], middle: Float[Tensor, "3"]) -> Float[Tensor, "3"]:
    """Return the index of a patch at which a point of the head lies, by the linear part of the mapping.

    Args:
        places: Where the voxels of the patch lie in the head.
        middle: The point in the head.
    """
    i, j, k = (size // 2 for size in places.shape[:3])
    steps = [
        (places[-1, j, k] - places[0, j, k]) / (places.shape[0] - 1),
        (places[i, -1, k] - places[i, 0, k]) / (places.shape[1] - 1),
        (places[i, j, -1] - places[i, j, 0]) / (places.shape[2] - 1),
    ]
    offset: Tensor = torch.linalg.solve(torch.stack(steps, dim=1), middle - places[i, j, k])
    return offset + torch.tensor([i, j, k], dtype=offset.dtype)
