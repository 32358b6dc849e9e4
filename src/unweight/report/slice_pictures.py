"""Still pictures of a layer: three planes of a whole volume, or a few slices of a slab.

Patient right is on the left of the page, front or top is up, and the front is left in sagittal planes.
"""

import struct
import zlib
from typing import Any

import numpy as np
from matplotlib.colors import Colormap
from numpy.typing import NDArray

from unweight.report.colours import ENTRIES
from unweight.report.shown_set import Layer, ShownSet

SLICES = 4
LEAST_HEIGHT = 150  # pixels of one tile; smaller ones are drawn larger
SAGITTAL, CORONAL, AXIAL = 0, 1, 2
AXES_ACROSS = {SAGITTAL: (1, 2), CORONAL: (0, 2), AXIAL: (0, 1)}
Pixels = NDArray[np.uint8]
SIGNATURE = b"\x89PNG\r\n\x1a\n"
PALETTE_COLOUR = 3
LEVEL = 9


def picture(map_set: ShownSet, layer: Layer) -> bytes:
    """Return the picture of a layer for its pane, as PNG: four tiles, or fewer."""
    return indexed_png(
        _joined([_tile(map_set, layer, *plane) for plane in planes(map_set)]), palette(layer.colours)
    )


def face(map_set: ShownSet, layer: Layer) -> bytes:
    """Return one slice that stands for the layer, as PNG."""
    axis = AXIAL if map_set.slab is None else map_set.slab
    index = _middle(map_set, axis, 0.55 if map_set.slab is None else 0.5)
    return indexed_png(_tile(map_set, layer, axis, index), palette(layer.colours))


def planes(map_set: ShownSet) -> list[tuple[int, int]]:
    """Return axis and index of the slices of the still picture."""
    if map_set.slab is None:
        return [
            (AXIAL, _middle(map_set, AXIAL, 0.55)),
            (CORONAL, _middle(map_set, CORONAL, 0.5)),
            (SAGITTAL, _middle(map_set, SAGITTAL, 0.47)),
            (AXIAL, _middle(map_set, AXIAL, 0.4)),
        ]
    size = map_set.status.shape[map_set.slab]
    if size <= SLICES:
        return [(map_set.slab, index) for index in range(size)]
    return [(map_set.slab, round((size - 1) * (number + 1) / (SLICES + 1))) for number in range(SLICES)]


def palette(colours: Colormap) -> NDArray[np.float64]:
    """Return the colours of a picture: black for no value, then the map."""
    table = np.asarray(colours(np.linspace(0.0, 1.0, ENTRIES)), dtype=np.float64)[:, :3]
    table[0] = 0.0
    return table


def _middle(map_set: ShownSet, axis: int, share: float) -> int:
    return min(map_set.status.shape[axis] - 1, int(share * map_set.status.shape[axis]))


def _tile(map_set: ShownSet, layer: Layer, axis: int, index: int) -> Pixels:
    """Return one slice as entries of the palette, with square pixels."""
    across, up = AXES_ACROSS[axis]
    image: NDArray[Any] = layer.values.select(axis, index).numpy()[::-1, ::-1].T
    entries = np.zeros(image.shape, np.uint8)
    valued = np.isfinite(image)
    places = np.ma.getdata(layer.norm(image[valued]))
    entries[valued] = 1 + np.rint(np.clip(places, 0, 1) * (ENTRIES - 2)).astype(np.uint8)
    size = map_set.affine[:3, :3].norm(dim=0)
    least = min(float(size[across]), float(size[up]))
    larger = max(1, -(-LEAST_HEIGHT // max(image.shape)))
    height = round(image.shape[0] * larger * float(size[up]) / least)
    width = round(image.shape[1] * larger * float(size[across]) / least)
    rows = np.arange(height) * image.shape[0] // height
    columns = np.arange(width) * image.shape[1] // width
    tile: Pixels = entries[rows][:, columns]
    return tile


def _joined(tiles: list[Pixels]) -> Pixels:
    """Return tiles side by side in up to two rows, each in the middle of its place."""
    columns = 1 if len(tiles) == 1 else 2
    rows = [tiles[start : start + columns] for start in range(0, len(tiles), columns)]
    heights = [max(tile.shape[0] for tile in row) for row in rows]
    widths = [max(row[place].shape[1] for row in rows if place < len(row)) for place in range(columns)]
    whole = np.zeros((sum(heights), sum(widths)), np.uint8)
    for number, row in enumerate(rows):
        for place, tile in enumerate(row):
            top = sum(heights[:number]) + (heights[number] - tile.shape[0]) // 2
            left = sum(widths[:place]) + (widths[place] - tile.shape[1]) // 2
            whole[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    return whole


def indexed_png(pixels: NDArray[np.uint8], palette: NDArray[np.floating[Any]]) -> bytes:
    """Return a picture as a file.

    Args:
        pixels: Entries of the palette, rows from the top.
        palette: Red, green and blue of each entry, 0 to 1.
    """
    height, width = pixels.shape
    colours = np.rint(np.clip(palette[:, :3], 0, 1) * 255).astype(np.uint8)
    rows = np.concatenate([np.zeros((height, 1), np.uint8), pixels], axis=1)  # 0: no filter
    return b"".join(
        (
            SIGNATURE,
            _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, PALETTE_COLOUR, 0, 0, 0)),
            _chunk(b"PLTE", colours.tobytes()),
            _chunk(b"IDAT", zlib.compress(rows.tobytes(), LEVEL)),
            _chunk(b"IEND", b""),
        )
    )


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
