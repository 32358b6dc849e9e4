"""The voxels of one NIfTI file, read in blocks: what is in memory at a time is what is kept, and one block.

The header is compared with the size of the file before memory is taken, and no more bytes are read or
decompressed than it accounts for. Where some of the voxels suffice, all of the file is read and judged
nevertheless, and every nth voxel of a slice is kept.
"""

import gzip
import math
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Bool, Complex, Float
from numpy.typing import NDArray
from torch import Tensor

from unweight.bids.nifti.grid import Placement, bad_header
from unweight.bids.nifti.stored_numbers import Scaling, at_ceiling, scaling_of
from unweight.bids.series.incoherent import SliceFacts, facts_from, rows_of
from unweight.core.errors import InputError
from unweight.core.memory import check_free

PADDING_ALLOWED = 4096
PIECE = 2**20
BLOCK = 2**20  # voxels
DEFLATE_LIMIT = 1032
LARGEST_VALUE = 1e18
Stream = BufferedReader | gzip.GzipFile


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Layout:
    """Where the voxels lie in the file, and what they mean.

    Attributes:
        shape: A fourth number counts volumes, if there are several.
        dtype: Of the stored numbers.
        offset: Of the first voxel in the file [byte].
        consumed: What has been read of the file [byte].
        slope: Of the scaling.
        intercept: Of the scaling.
        placement: Where the header places the voxels.
        notes: What a careful reader should know.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    offset: int
    consumed: int
    slope: float
    intercept: float
    placement: Placement
    notes: tuple[str, ...]

    @property
    def n_values(self) -> int:
        """How many numbers are stored."""
        return math.prod(self.shape)

    @property
    def n_bytes(self) -> int:
        """How many bytes they take in the file."""
        return self.n_values * self.dtype.itemsize

    @property
    def is_complex(self) -> bool:
        """Whether they are complex."""
        return self.dtype.kind == "c"

    @property
    def scaling(self) -> Scaling:
        """How they become values."""
        return scaling_of(self.dtype, self.slope, self.intercept)


@final
@dataclass(frozen=True, kw_only=True)
class Signs:
    """What the numbers of one volume are, all of them.

    Attributes:
        n_negative: How many are below 0.
        filled: Whether any is there that is not 0.
        lowest: The smallest number, 0 if none is below.
        highest: The largest finite number, 0 if none is above.
    """

    n_negative: int = 0
    filled: bool = False
    lowest: float = 0.0
    highest: float = 0.0

    def __add__(self, other: "Signs") -> "Signs":
        return Signs(
            n_negative=self.n_negative + other.n_negative,
            filled=self.filled or other.filled,
            lowest=min(self.lowest, other.lowest),
            highest=max(self.highest, other.highest),
        )


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Voxels:
    """The voxels that were kept.

    Attributes:
        data: The scaled values; a fourth axis holds volumes, if there are several.
        saturated: Voxels clipped by the stored number format; None where that cannot be known.
        signs: Of each volume, over all of its voxels.
        slices: Of each volume, over all of its voxels, where some of them are kept; nothing if a slice is
            larger than a block.
        notes: What a careful reader should know.
    """

    data: Float[Tensor, "x y z *volumes"] | Complex[Tensor, "x y z *volumes"]
    saturated: Bool[Tensor, "x y z *volumes"] | None
    signs: tuple[Signs, ...]
    slices: tuple[SliceFacts, ...]
    notes: tuple[str, ...]


def signs_of(values: NDArray[Any]) -> Signs:
    """Return what the numbers of a volume, or of a part of it, are."""
    filled = bool(((values != 0) & ~np.isnan(values)).any())
    if values.dtype.kind == "c":
        return Signs(filled=filled)
    return Signs(
        n_negative=int(np.count_nonzero(values < 0)),
        filled=filled,
        lowest=float(np.fmin.reduce(values, axis=None, initial=0)),
        highest=float(values.max(initial=0, where=np.isfinite(values))),
    )


def read_voxels(path: Path, stream: Stream, layout: Layout, every: int = 1) -> Voxels:
    """Read what the header accounts for, and make sure that it was the end.

    Args:
        path: The file.
        stream: The opened file, behind its header.
        layout: What the header says.
        every: Which voxels of a slice are kept; 1 for all. Of a slice with fewer, slices are left out.

    Raises:
        InputError: The file is too short or too long, has impossible values, or does not fit into memory.
    """
    most = path.stat().st_size * (DEFLATE_LIMIT if isinstance(stream, gzip.GzipFile) else 1)
    if layout.offset + layout.n_bytes > most:
        raise truncated(path)
    kept = _Kept(shape=layout.shape[:3], every=every)
    n_volumes = math.prod(layout.shape[3:])
    clipping = layout.dtype.kind in "iu"
    per_value = (8 if layout.is_complex else 4) + clipping
    check_free(
        kept.n_voxels * (per_value * n_volumes + clipping * layout.dtype.itemsize), "reading it", path
    )
    data = np.empty((*kept.size, n_volumes), np.complex64 if layout.is_complex else np.float32)
    saturated = np.zeros(data.shape, dtype=bool) if clipping else None
    stored = np.empty(kept.size, layout.dtype) if clipping else None
    n_lost, signs = 0, [Signs()] * n_volumes
    judged = every > 1 and math.prod(layout.shape[:2]) <= BLOCK
    # Taken once: small blocks that stay, between large ones that go, would let the heap grow with the file.
    rows = torch.empty(n_volumes, 3, layout.shape[2], dtype=torch.float64) if judged else None
    blocks = _blocks(path, stream, layout)
    for index in range(n_volumes):
        for where in _runs(layout.shape[:3]):
            block = next(blocks)
            values, lost = _scaled(path, block, layout)
            n_lost += lost
            signs[index] += signs_of(values)
            if rows is not None:
                rows[index, :, where[2]] = rows_of(torch.from_numpy(values))
            kept.put(data[..., index], where, values)
            if stored is not None:
                kept.put(stored, where, block)
        if stored is not None and saturated is not None:
            saturated[..., index] = at_ceiling(stored, zero=-layout.intercept / layout.slope)
    if len(stream.read(PADDING_ALLOWED + 1)) > PADDING_ALLOWED:
        raise bad_header(path, "the file contains more data than its header describes")
    if n_lost == layout.n_values:
        raise InputError("has no finite value", remedy="Check the program that wrote the file.", path=path)
    lost_note = f"{n_lost} of {layout.n_values} values are not finite; those voxels are masked"
    shape = (*kept.size, *layout.shape[3:])
    return Voxels(
        data=torch.from_numpy(data.reshape(shape)),
        saturated=None if saturated is None else torch.from_numpy(saturated.reshape(shape)),
        signs=tuple(signs),
        slices=()
        if rows is None
        else tuple(facts_from(part, math.prod(layout.shape[:2])) for part in rows),
        notes=(lost_note,) if n_lost else (),
    )


def truncated(path: Path) -> InputError:
    """Return the error about a file that ends too early."""
    return InputError(
        "is shorter than its header states, or its compression is damaged",
        remedy="Copy or convert the file again.",
        path=path,
    )


def thinned(values: NDArray[Any], every: int) -> NDArray[Any]:
    """Return those voxels of a whole volume that `read_voxels` keeps."""
    kept = _Kept(shape=values.shape, every=every)
    target = np.empty(kept.size, values.dtype)
    kept.put(target, (slice(0, None), slice(0, None), slice(0, None)), values)
    return target


_Run = tuple[slice, slice, slice]


@final
@dataclass(frozen=True, kw_only=True)
class _Kept:
    """Which voxels of a volume are kept."""

    shape: tuple[int, ...]
    every: int

    @property
    def steps(self) -> tuple[int, int]:
        """From one voxel of a slice to the next, and from one slice to the next.

        The first shares no divisor with the length of a row: kept voxels are spread over all columns.
        """
        row, plane = self.shape[0], self.shape[0] * self.shape[1]
        step = min(self.every, plane)
        while math.gcd(step, row) > 1 and 1 < step < plane:
            step += 1
        return step, max(1, math.ceil(self.every / plane))

    @property
    def size(self) -> tuple[int, int, int]:
        """Shape of what is kept; the voxels of a thinned slice are one row."""
        x, y, z = self.shape
        if self.every == 1:
            return x, y, z
        within, across = self.steps
        return math.ceil(x * y / within), 1, math.ceil(z / across)

    @property
    def n_voxels(self) -> int:
        return math.prod(self.size)

    def put(self, target: NDArray[Any], where: _Run, block: NDArray[Any]) -> None:
        """Put what is kept of a block where it belongs."""
        if self.every == 1:
            target[where] = block
            return
        within, across = self.steps
        start, top = where[0].start + self.shape[0] * where[1].start, where[2].start
        first, first_slice = -start % within, -top % across
        thinned = block.reshape(-1, block.shape[2], order="F")[first::within, first_slice::across]
        row, column = (start + first) // within, (top + first_slice) // across
        target[row : row + thinned.shape[0], 0, column : column + thinned.shape[1]] = thinned


def _runs(shape: tuple[int, ...]) -> Iterator[_Run]:
    """Give the parts of a volume that are read at a time, in the order of the file.

    They are whole slices, or whole rows of one slice, or a part of one row.
    """
    lengths = [1, 1, 1]
    left = BLOCK
    for axis, n in enumerate(shape):
        lengths[axis] = max(1, min(n, left))
        left = left // n
    parts = [
        [slice(at, min(at + length, n)) for at in range(0, n, length)]
        for n, length in zip(shape, lengths, strict=True)
    ]
    for z in parts[2]:
        for y in parts[1]:
            for x in parts[0]:
                yield x, y, z


def _blocks(path: Path, stream: Stream, layout: Layout) -> Iterator[NDArray[np.generic]]:
    """Give the stored numbers of each run of each volume; the array of one is reused for the next."""
    _fill(path, stream, memoryview(bytearray(PIECE)), layout.offset - layout.consumed)
    buffer = memoryview(bytearray(min(BLOCK, layout.n_values) * layout.dtype.itemsize))
    for _ in range(math.prod(layout.shape[3:])):
        for where in _runs(layout.shape[:3]):
            shape = tuple(part.stop - part.start for part in where)
            n_bytes = math.prod(shape) * layout.dtype.itemsize
            _fill(path, stream, buffer[:n_bytes], n_bytes)
            yield np.frombuffer(buffer[:n_bytes], dtype=layout.dtype).reshape(shape, order="F")


def _fill(path: Path, stream: Stream, buffer: memoryview, n_bytes: int) -> None:
    """Read so many bytes into a buffer, from its begin again when it is full."""
    done = 0
    while done < n_bytes:
        at = done % len(buffer)
        count = stream.readinto(buffer[at : min(len(buffer), at + PIECE, at + n_bytes - done)])
        if not count:
            raise truncated(path)
        done += count


def _scaled(path: Path, block: NDArray[np.generic], layout: Layout) -> tuple[NDArray[Any], int]:
    """Return the values, scaled in double and kept in single precision, and how many are not finite."""
    wide, single = (np.complex128, np.complex64) if layout.is_complex else (np.float64, np.float32)
    with np.errstate(all="ignore"):
        if (layout.slope, layout.intercept) != (1.0, 0.0):
            values: NDArray[Any] = block.astype(wide) * layout.slope + layout.intercept
        else:
            values = block.astype(block.dtype if block.dtype.kind in "fc" else wide, copy=False)
        finite = np.isfinite(values)
        if bool(((np.abs(values) > LARGEST_VALUE) & finite).any()):
            raise InputError(
                f"has values beyond {LARGEST_VALUE:g}",
                remedy="Check the program that wrote the file.",
                path=path,
            )
        return values.astype(single), int(finite.size - np.count_nonzero(finite))
