"""PNG pictures of at most 256 colours: one byte a pixel, the same bytes each time."""

import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIGNATURE = b"\x89PNG\r\n\x1a\n"
PALETTE_COLOUR = 3
LEVEL = 9


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
