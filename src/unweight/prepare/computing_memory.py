"""Whether what a command computes fits into the memory that is free, looked at before it begins.

What it takes at the most beside its images, from reading to writing, grows with voxels and images:
b = b_0 + n_voxels (b_voxel + b_value n_volumes), measured on cubes of 64 to 128 voxels and heads of 1 mm
(`benchmarks/computing_memory.py`).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import final

import torch

from unweight.core.memory import check_free

PROCESSOR = torch.device("cpu")
REMEDY = (
    "Free some memory or raise the limit of the job, crop the images to the head, or give fewer volumes or "
    "larger voxels."
)


@final
@dataclass(frozen=True, kw_only=True)
class Demand:
    """Memory that a command takes at the most while it computes.

    Attributes:
        voxel: Of each voxel of the grid [byte].
        value: Of each voxel of each image [byte].
        least: Of any series [byte].
    """

    voxel: float
    value: float = 0.0
    least: float = 48 * 2**20

    def bytes(self, voxels: int, volumes: int) -> float:
        """Return it for a grid and a number of images."""
        return self.least + voxels * (self.voxel + self.value * volumes)


# By command, and by command and method where that takes another amount.
DEMANDS: Mapping[str, Demand] = MappingProxyType(
    {
        "t1": Demand(voxel=800.0, value=80.0, least=2**28),
        "t1 ml": Demand(voxel=430.0),
        "maps": Demand(voxel=275.0),
        "r2star": Demand(voxel=110.0),
        "t2": Demand(voxel=110.0),
        "qsm": Demand(voxel=330.0),
        "mprage": Demand(voxel=230.0, value=28.0),
    }
)


def computing_bytes(command: str, voxels: int, volumes: int, method: str = "") -> float:
    """Return about how much memory a command takes beside the images that it has read [byte]."""
    demand = DEMANDS.get(f"{command} {method}", DEMANDS[command])
    return demand.bytes(voxels, volumes)


def check_memory(
    command: str, shape: Sequence[int], device: torch.device = PROCESSOR, method: str = ""
) -> None:
    """Refuse a series whose maps would take more memory than is free.

    Args:
        command: What maps it.
        shape: Of its images: voxels, and volumes last.
        device: Where it is computed; nothing is known of the memory of a GPU.
        method: Of the command, where methods differ much.

    Raises:
        TooLargeError: There is less.
    """
    if device.type != "cpu":
        return
    *voxels, volumes = shape
    needed = computing_bytes(command, math.prod(voxels), volumes, method)
    size = " x ".join(str(count) for count in voxels)
    check_free(needed, f"{command} of {volumes} volumes of {size} voxels", remedy=REMEDY)
