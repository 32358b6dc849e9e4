"""One subject to learn from: what a gradient echo shows, and the T1-weighted image it is to become.

Kept as one safetensors file: channels and target in half precision, cut to the brain, so that a training
reads what it needs of many subjects without holding them all.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch
from jaxtyping import Float16, UInt8
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from unweight.core.errors import InputError
from unweight.files.atomic import write_bytes_atomic
from unweight.files.text_files import parse_json

SUFFIX = ".safetensors"
TENSORS = ("channels", "target", "labels")
ABOUT = "about"


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Pair:
    """Channels and target on one grid.

    Attributes:
        channels: As `learn.mprage.echo_channels` makes them; the last is the mask.
        target: T1w, white matter at 1, 0 outside the mask.
        labels: Structures, in the order of `metrics.structures`; all 0 where they are not known.
        voxel_mm: Size of a voxel [mm].
        name: Of the subject.
        about: Age, sex and the like, as JSON values.
    """

    channels: Float16[Tensor, "7 x y z"]
    target: Float16[Tensor, "x y z"]
    labels: UInt8[Tensor, "x y z"]
    voxel_mm: tuple[float, float, float]
    name: str
    about: Mapping[str, object]

    def save(self, path: Path) -> None:
        """Write the file.

        Raises:
            OutputError: It cannot be written.
        """
        tensors = {name: getattr(self, name).contiguous() for name in TENSORS}
        told = {**self.about, "name": self.name, "voxel_mm": list(self.voxel_mm)}
        write_bytes_atomic(path, save(tensors, metadata={ABOUT: json.dumps(told)}))


def load_pair(path: Path) -> Pair:
    """Return a pair; its tensors stay on the disk until they are used.

    Raises:
        InputError: The file is no pair.
    """
    try:
        with safe_open(path, framework="pt") as file:
            about = parse_json(file.metadata()[ABOUT])
            tensors = {name: file.get_tensor(name) for name in TENSORS}
        x, y, z = (float(size) for size in about.pop("voxel_mm"))
        name = str(about.pop("name"))
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError("is no pair to learn from", remedy="Make it again.", path=path) from error
    return Pair(
        channels=tensors["channels"],
        target=tensors["target"],
        labels=tensors["labels"],
        voxel_mm=(x, y, z),
        name=name,
        about=about,
    )


def box_of(mask: Tensor, margin: int, least: int) -> tuple[slice, slice, slice]:
    """Return the voxels around a mask, so many along each axis at least as far as there are any."""
    parts = []
    for axis in range(3):
        others = [other for other in range(3) if other != axis]
        found = mask.any(others[1]).any(others[0]).nonzero()[:, 0]
        first, last = int(found[0]) - margin, int(found[-1]) + 1 + margin
        missing = max(0, least - (last - first))
        first, last = first - missing // 2, last + missing - missing // 2
        size = mask.shape[axis]
        if first < 0:
            first, last = 0, last - first
        if last > size:
            first, last = max(0, first - (last - size)), size
        parts.append(slice(first, last))
    return parts[0], parts[1], parts[2]


def half(values: Tensor) -> Float16[Tensor, "..."]:
    """Return values in half precision."""
    return values.to(torch.float16)
