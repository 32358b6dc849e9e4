"""The volumes of a page, small enough for it: whole steps, coarser or sparser if they must be."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from unweight.bids.compact import LIMIT, compact_labels, compact_values
from unweight.report.colours import linear_lut
from unweight.report.shown_set import Layer, ShownSet

NO_ROOM = "there is no room on one page for the volumes; the pictures and tables are complete"
STATUS_GAP = 28  # between two statuses in the volume of a viewer, whose look-up table may blend neighbours


@final
@dataclass(frozen=True, kw_only=True)
class Level:
    """How much is left out.

    Attributes:
        coarser: Steps that become one.
        every: Voxels along each axis of which one is kept.
    """

    coarser: int = 1
    every: int = 1

    @property
    def remark(self) -> str:
        """What the reader must know; nothing if nothing is left out."""
        parts = []
        if self.coarser > 1:
            parts.append(f"values are rounded {self.coarser} times as coarsely as told elsewhere")
        if self.every > 1:
            parts.append(f"only one voxel of {self.every} along each axis is in the viewer")
        return " and ".join(parts)


LEVELS = (
    Level(),
    Level(coarser=2),
    Level(coarser=4),
    Level(coarser=4, every=2),
    Level(coarser=4, every=3),
    Level(coarser=10, every=5),
)


@final
@dataclass(frozen=True, kw_only=True)
class PackedMap:
    """What the script of the viewer is told of one map.

    Attributes:
        content: Its volumes in base64, their colours and names; nothing if there is no room for it.
        size: Bytes of the volumes.
        remark: What had to be left out; nothing if nothing had.
    """

    content: Mapping[str, object] | None
    size: int
    remark: str


def pack(shown: Sequence[ShownSet], room: int) -> tuple[tuple[PackedMap, ...], ...]:
    """Pack all maps of all sets as finely as fits; first maps give way last, and the largest before others.

    Args:
        shown: The sets.
        room: Bytes of the page that the volumes may take.
    """
    places = [(number, index) for number, one in enumerate(shown) for index in range(len(one.maps))]
    levels = dict.fromkeys(places, 0)
    packed = {place: _packed(shown[place[0]], place[1], LEVELS[0]) for place in places}
    while sum(one.size for one in packed.values()) > room:
        able = [place for place in places if levels[place] + 1 < len(LEVELS)]
        if not able:
            packed = dict.fromkeys(places, PackedMap(content=None, size=0, remark=NO_ROOM))
            break
        able = [place for place in able if place[1] > 0] or able
        largest = max(able, key=lambda place: packed[place].size)
        levels[largest] += 1
        packed[largest] = _packed(shown[largest[0]], largest[1], LEVELS[levels[largest]])
    return tuple(
        tuple(packed[number, index] for index in range(len(one.maps))) for number, one in enumerate(shown)
    )


def _packed(shown: ShownSet, index: int, level: Level) -> PackedMap:
    affine = _affine(shown, level)
    status = compact_labels(_sparse(shown.status, level) * STATUS_GAP, affine)
    layers = {"value": shown.maps[index].value, "sd": shown.maps[index].sd}
    layers["misfit"] = shown.misfit if index == 0 else None
    content: dict[str, object] = {"slab": shown.slab, "status": base64.b64encode(status).decode()}
    size = len(str(content["status"]))
    for name, layer in layers.items():
        if layer is None:
            continue
        step = layer.step * level.coarser
        values = _sparse(layer.values, level).nan_to_num(0.0)
        volume = base64.b64encode(compact_values(values, affine, step)).decode()
        content[name] = _told(layer, step) | {"volume": volume}
        size += len(volume)
    return PackedMap(content=content, size=size, remark=level.remark)


def _told(layer: Layer, step: float) -> dict[str, object]:
    low, high = layer.window
    table = np.rint(255 * linear_lut(layer.colours, layer.norm)).astype(int)
    return {
        "title": layer.title,
        "unit": layer.unit,
        "digits": layer.digits,
        "low": low,
        "high": high,
        "limit": LIMIT * step,
        "lut": [table[:, channel].tolist() for channel in range(3)],
    }


def _sparse(values: Tensor, level: Level) -> Tensor:
    every = level.every
    return values[::every, ::every, ::every].contiguous()


def _affine(shown: ShownSet, level: Level) -> Tensor:
    scale = torch.ones(4, dtype=torch.float64)
    scale[:3] = level.every
    return shown.affine * scale
