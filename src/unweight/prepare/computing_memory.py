"""Whether what a command computes fits into the memory that is free, looked at before it begins.

What it takes at the most beside its images, from reading to writing, grows with voxels and images:
b = b_0 + n_voxels (b_voxel + b_value n_volumes), measured on cubes of 64 to 128 voxels and heads of 1 mm
(`benchmarks/computing_memory.py`).
"""

import math
from collections.abc import Sequence

import torch

from unweight.core.memory import check_free
from unweight.registry import methods, pipeline
from unweight.registry.records import FIT_DEMAND

PROCESSOR = torch.device("cpu")
REMEDY = (
    "Free some memory or raise the limit of the job, crop the images to the head, or give fewer volumes or "
    "larger voxels."
)


def computing_bytes(command: str, voxels: int, volumes: int, method: str = "") -> float:
    """Return about how much memory a command takes beside the images that it has read [byte]."""
    if command == "fit":
        return FIT_DEMAND.bytes(voxels, volumes)
    chosen = pipeline(command)
    own = {item.name: item.demand for item in methods(chosen.family)}
    return (own.get(method) or chosen.demand).bytes(voxels, volumes)


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
    plural = "" if volumes == 1 else "s"
    check_free(needed, f"{command} of {volumes} volume{plural} of {size} voxels", remedy=REMEDY)
