"""The position in the brain as an input: millimetres from its centre along the axes of the head.

    channel_i = (p_i − m_i) / 64 mm,   0 along axes on which m is not known

A patch alone does not show where in the brain it lies, nor which side is the right one.
"""

import torch
from jaxtyping import Float
from torch import Tensor

SCALE_MM = 64.0
NO_AXIS = (True, True, True)


def position_channels(
    shape: tuple[int, ...] | torch.Size,
    middle: Float[Tensor, "3"],
    grid_mm: float,
    unknown: tuple[bool, bool, bool],
) -> Float[Tensor, "3 x y z"]:
    """Return the position of each voxel of a grid along the axes of the head.

    Args:
        shape: Of the grid: to the right, front and top.
        middle: The centre of the brain, as an index of the grid.
        grid_mm: Size of a voxel [mm].
        unknown: Along which axes the centre is not known, since the field of view cuts the brain.
    """
    channels = []
    for axis, size in enumerate(shape):
        along = (torch.arange(size) - float(middle[axis])) * (grid_mm / SCALE_MM)
        wanted = [size if at == axis else 1 for at in range(3)]
        values = torch.zeros(size) if unknown[axis] else along
        channels.append(values.reshape(wanted).expand(*shape))
    return torch.stack(channels)


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
