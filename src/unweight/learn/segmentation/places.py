"""What the network gets beside the image: where a voxel lies in the brain, and how far from its surface.

    position_i = (x_i − m_i) / (2.5 s_i),   0 along axes on which the field of view cuts the brain
    distance   = d / 20 mm, cut off at ± 1; negative inside

with m the centre of the brain mask and s its standard deviation along each axis, so that brains of all
sizes have about the same places. Both are given at half the resolution of the image.
"""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor
from torch.nn import functional as F

from unweight.learn.labelled_heads.images import over_percentile

SPREADS, FARTHEST_MM = 2.5, 20.0
N_GUIDES = 4
NO_AXIS = (True, True, True)
TOP, LARGEST = 0.95, 2.5
MARGIN = 2  # voxels
Volume = Float[Tensor, "x y z"]


def brain_normalised(image: Volume, brain: Bool[Tensor, "x y z"]) -> Volume:
    """Return an image over the 95th percentile of the brain in it, cut off at 2.5 times that."""
    return over_percentile(image, image[brain & (image > 0)], TOP, LARGEST)


def guide_channels(
    distance: Volume, unknown: tuple[bool, bool, bool], *, moved: tuple[float, float, float] = (0, 0, 0)
) -> Float[Tensor, "guides u v w"]:
    """Return position and distance at half the resolution of a grid, along the axes of the head.

    Args:
        distance: Signed distance to the surface of the brain, negative inside [mm]; even numbers of voxels.
        unknown: Along which axes the place is not known, since the field of view cuts the brain.
        moved: Added to the positions.
    """
    near = F.avg_pool3d(distance[None, None], 2)[0, 0]
    inside = (near < 0).float()
    channels = []
    for axis, size in enumerate(near.shape):
        others = [other for other in range(3) if other != axis]
        share = inside.sum(others) / inside.sum().clamp(min=1)
        along = torch.arange(size, dtype=torch.float32)
        middle = (share * along).sum()
        spread = (share * (along - middle) ** 2).sum().sqrt().clamp(min=0.5)
        place = (along - middle) / (SPREADS * spread) + moved[axis]
        values = torch.zeros(size) if unknown[axis] else place
        channels.append(values.reshape([size if at == axis else 1 for at in range(3)]).expand(*near.shape))
    return torch.stack([*channels, (near / FARTHEST_MM).clamp(-1, 1)])


@final
@dataclass(frozen=True, kw_only=True)
class BrainBox:
    """The part of a grid around a brain, of sizes that a network needs.

    Attributes:
        part: Of the grid.
        shape: Of the result; larger than the part where the grid ends before.
    """

    part: tuple[slice, slice, slice]
    shape: tuple[int, int, int]

    @classmethod
    def around(cls, brain: Bool[Tensor, "x y z"], multiple: int) -> "BrainBox":
        """Return the smallest box with two voxels around a brain that is not empty.

        Args:
            brain: The mask.
            multiple: Of what the sizes are.
        """
        rows = brain.nonzero()
        parts, shape = [], []
        for low, high, size in zip(rows.amin(0).tolist(), rows.amax(0).tolist(), brain.shape, strict=True):
            wanted = -(-(high - low + 1 + 2 * MARGIN) // multiple) * multiple
            first = max(0, min(low - MARGIN, size - wanted))
            parts.append(slice(first, min(size, first + wanted)))
            shape.append(wanted)
        return cls(part=(parts[0], parts[1], parts[2]), shape=(shape[0], shape[1], shape[2]))

    def cut(self, volume: Shaped[Tensor, "x y z"], outside: float) -> Shaped[Tensor, "u v w"]:
        """Return a volume in the box.

        Args:
            volume: On the grid.
            outside: Its value beyond the grid.
        """
        return padded(volume[self.part], self.shape, outside)

    def kept(self, volume: Float[Tensor, "x y z"]) -> Float[Tensor, "u v w"]:
        """Return what of the result lies on the grid."""
        x, y, z = (part.stop - part.start for part in self.part)
        return volume[..., :x, :y, :z]


def padded(
    volume: Shaped[Tensor, "x y z"], shape: tuple[int, ...], outside: float
) -> Shaped[Tensor, "u v w"]:
    """Return a volume in a larger one, at its beginning."""
    pads = [side for n, m in zip(shape[::-1], volume.shape[::-1], strict=True) for side in (0, n - m)]
    return F.pad(volume, pads, value=outside)
