"""Whether what a command computes fits into the memory that is free, looked at before it begins."""

import math
from collections.abc import Sequence

import torch

from unweight.core.memory import check_free
from unweight.run.cost import computing_bytes

PROCESSOR = torch.device("cpu")
REMEDY = (
    "Free some memory or raise the limit of the job, crop the images to the head, or give fewer volumes or "
    "larger voxels."
)


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
