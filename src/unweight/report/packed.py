"""The volumes of a page, small enough for it: whole steps, coarser or sparser if they must be."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from unweight.files.compact import LIMIT, compact_labels, compact_values
from unweight.report.colours import linear_lut
from unweight.report.shown_set import Layer, ShownSet

NO_ROOM = "the volumes exceed the size limit of a report; figures and tables are complete"
Place = tuple[int, int]  # number of the set, and of the map in it
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
            parts.append(f"values are quantised {self.coarser} times more coarsely than stated elsewhere")
        if self.every > 1:
            parts.append(f"only one of {self.every} voxels along each axis is shown")
        return " and ".join(parts)


# What is left out step by step, and about which share of the bytes is left.
LEVELS = (
    (Level(), 1.0),
    (Level(coarser=2), 0.85),
    (Level(coarser=4), 0.7),
    (Level(coarser=4, every=2), 0.095),
    (Level(coarser=4, every=3), 0.03),
    (Level(coarser=10, every=5), 0.006),
)
LATER = 4.0  # how much more readily a map gives way that is not the first of its set


@final
@dataclass(frozen=True, kw_only=True)
class PackedMap:
    """The data of one map for the script of the viewer.

    Attributes:
        content: Its volumes in base64, their colours and names; nothing if there is no room for it.
        size: Bytes of the volumes.
        remark: What had to be left out; nothing if nothing had.
    """

    content: Mapping[str, object] | None
    size: int
    remark: str


def pack(map_set: Sequence[ShownSet], room: int) -> tuple[tuple[PackedMap, ...], ...]:
    """Pack all maps as finely as fits; the largest gives way first, the first map of a set last.

    Args:
        map_set: The sets.
        room: Bytes of the page that the volumes may take.
    """
    places = [(number, index) for number, item in enumerate(map_set) for index in range(len(item.maps))]
    levels = dict.fromkeys(places, 0)
    packed = {place: _packed(map_set[place[0]], place[1], LEVELS[0][0]) for place in places}
    while sum(value.size for value in packed.values()) > room:
        before = dict(levels)
        sizes = {place: packed[place].size / LEVELS[levels[place]][1] for place in places}
        if not _give_way(sizes, levels, room):
            packed = dict.fromkeys(places, PackedMap(content=None, size=0, remark=NO_ROOM))
            break
        for place in places:
            if levels[place] != before[place]:
                packed[place] = _packed(map_set[place[0]], place[1], LEVELS[levels[place]][0])
    _add_intervals(map_set, packed, levels, room)
    return tuple(
        tuple(packed[number, index] for index in range(len(item.maps)))
        for number, item in enumerate(map_set)
    )


def _add_intervals(
    map_set: Sequence[ShownSet], packed: dict[Place, PackedMap], levels: Mapping[Place, int], room: int
) -> None:
    """Add the ends of intervals where there is room, the first maps first; no map gives way to them."""
    left = room - sum(value.size for value in packed.values())
    for place, item in packed.items():
        chosen = map_set[place[0]].maps[place[1]]
        if item.content is None or chosen.interval is None:
            continue
        level = LEVELS[levels[place]][0]
        affine, step = _affine(map_set[place[0]], level), chosen.value.step * level.coarser
        volumes = [
            base64.b64encode(compact_values(_sparse(end, level).nan_to_num(0.0), affine, step)).decode()
            for end in (chosen.interval.lower, chosen.interval.upper)
        ]
        size = sum(map(len, volumes))
        if size <= left:
            left -= size
            ends = {"title": chosen.interval.title, "lower": volumes[0], "upper": volumes[1]}
            content = {**item.content, "interval": ends}
            packed[place] = PackedMap(content=content, size=item.size + size, remark=item.remark)


def _give_way(sizes: Mapping[Place, float], levels: dict[Place, int], room: int) -> bool:
    """Raise levels, one at least, until the maps should fit; return whether any could be raised.

    Args:
        sizes: Of the maps with nothing left out.
        levels: What is left out of each; changed.
        room: Bytes for all.
    """
    raised = False
    while not raised or sum(sizes[place] * LEVELS[level][1] for place, level in levels.items()) > room:
        able = [place for place, level in levels.items() if level + 1 < len(LEVELS)]
        if not able:
            return raised
        weights = {
            place: sizes[place] * LEVELS[levels[place]][1] * (LATER if place[1] else 1.0) for place in able
        }
        levels[max(able, key=lambda place: weights[place])] += 1
        raised = True
    return True


def _packed(map_set: ShownSet, index: int, level: Level) -> PackedMap:
    affine = _affine(map_set, level)
    status = compact_labels(_sparse(map_set.status, level) * STATUS_GAP, affine)
    layers = {"value": map_set.maps[index].value, "sd": map_set.maps[index].sd}
    layers["misfit"] = map_set.misfit if index == 0 else None
    content: dict[str, object] = {"slab": map_set.slab, "status": base64.b64encode(status).decode()}
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


def _affine(map_set: ShownSet, level: Level) -> Tensor:
    scale = torch.ones(4, dtype=torch.float64)
    scale[:3] = level.every
    return map_set.affine * scale
