"""One NIfTI file, opened safely: whatever is wrong with it becomes one InputError.

The header is judged before any voxel is read. Stored numbers become `slope · stored + intercept` where the
slope is not 0, as NIfTI defines it; a slope or intercept that is no number (NaN) counts as 0, as in the
reference library.
"""

import gzip
import math
import stat
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
from jaxtyping import Bool, Complex, Float
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from torch import Tensor

from unweight.bids.derivatives.whole_set import check_finished
from unweight.bids.folders import unreadable
from unweight.bids.nifti.grid import UNREADABLE, Grid, Header, bad_header, placement_of
from unweight.bids.nifti.stored_numbers import AS_STORED, Scaling
from unweight.bids.nifti.voxels import Layout, Signs, Stream, read_voxels, truncated
from unweight.bids.series.incoherent import SliceFacts
from unweight.core.errors import InputError

LARGEST_BYTES = 8 * 2**30
LONGEST_EXTENSION = 64 * 2**20
LARGEST_SERIES = 2**16  # volumes of one file
GZIP_MAGIC = b"\x1f\x8b"
HEADERS: dict[int, Header] = {348: Nifti1Header, 540: Nifti2Header}
MAGICS = {348: b"n+1\0", 540: b"n+2\0"}
PAIRS = (b"ni1\0", b"ni2\0")


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Volume:
    """One image file in memory.

    Attributes:
        data: The scaled values; a fourth axis holds volumes, if there are several.
        grid: Where the voxels are, and which file this is.
        saturated: Voxels clipped by the stored number format; None where that cannot be known.
        scaling: Of the stored numbers, from the header.
        signs: Of each volume, over all of its voxels; nothing if they were not counted.
        slices: Of each volume, over all of its voxels, where some of them were kept.
        notes: What a careful reader should know about the file.
    """

    data: Float[Tensor, "x y z *volumes"] | Complex[Tensor, "x y z *volumes"]
    grid: Grid
    saturated: Bool[Tensor, "x y z *volumes"] | None
    scaling: Scaling = AS_STORED
    signs: tuple[Signs, ...] = ()
    slices: tuple[SliceFacts, ...] = ()
    notes: tuple[str, ...] = ()


def open_volume(
    path: Path, *, complex_wanted: bool = False, largest: int = LARGEST_BYTES, every: int = 1
) -> Volume:
    """Read one NIfTI file.

    Args:
        path: A `.nii` or `.nii.gz` file, or a link to one.
        complex_wanted: Whether complex numbers are expected; they are refused otherwise.
        largest: Bytes of voxel data that are read at most.
        every: Which voxels of a slice are kept; all are read and judged. Those kept of a slice are one row.

    Raises:
        InputError: The file is missing, damaged, too large, of an unfinished set, or not an image this
            package can use.
    """
    check_finished(path)
    with _opened(path) as stream:
        layout = _read_layout(path, stream, largest)
        if layout.is_complex and not complex_wanted:
            raise InputError(
                "contains complex numbers, which are not supported here",
                remedy="Give magnitude or real-part images.",
                path=path,
            )
        voxels = read_voxels(path, stream, layout, every)
    return Volume(
        data=voxels.data,
        grid=_grid(path, layout),
        saturated=voxels.saturated,
        scaling=layout.scaling,
        signs=voxels.signs,
        slices=voxels.slices,
        notes=layout.notes + voxels.notes,
    )


def open_grid(path: Path) -> Grid:
    """Read where the voxels of one NIfTI file are, without reading them.

    Raises:
        InputError: The header is missing, damaged, or not of an image this package can use.
    """
    with _opened(path) as stream:
        return _grid(path, _read_layout(path, stream, LARGEST_BYTES))


def count_values(path: Path) -> int:
    """Return how many numbers one NIfTI file announces, voxels times volumes.

    Raises:
        InputError: As `open_grid`.
    """
    with _opened(path) as stream:
        return _read_layout(path, stream, LARGEST_BYTES).n_values


def count_volumes(path: Path) -> int:
    """Return how many volumes one NIfTI file announces.

    Raises:
        InputError: As `open_grid`.
    """
    with _opened(path) as stream:
        layout = _read_layout(path, stream, LARGEST_BYTES)
    return layout.n_values // max(1, math.prod(layout.shape[:3]))


def _grid(path: Path, layout: Layout) -> Grid:
    return Grid(shape=layout.shape[:3], path=path, placement=layout.placement)


@contextmanager
def _opened(path: Path) -> Iterator[Stream]:
    """Open a file, compressed or not, and turn what goes wrong while it is read into one error."""
    _check_file(path)
    try:
        with path.open("rb") as file:
            compressed = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
            file.seek(0)
            yield gzip.GzipFile(fileobj=file) if compressed else file
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise truncated(path) from error
    except OSError as error:
        raise InputError(
            f"cannot be read ({error.strerror or error})", remedy="Check the file.", path=path
        ) from error


def _check_file(path: Path) -> None:
    try:
        status = path.stat()
    except PermissionError as error:
        raise unreadable(path, error) from error
    except (OSError, ValueError) as error:
        raise InputError("there is no such file", remedy="Check the path.", path=path) from error
    if not stat.S_ISREG(status.st_mode):
        raise InputError("is not a file", remedy="Give a .nii or .nii.gz file.", path=path)
    if status.st_size == 0:
        raise InputError(
            "is empty (0 bytes)", remedy="Fetch the data (git annex, datalad) or copy it again.", path=path
        )


def _read_header(path: Path, stream: Stream) -> tuple[Header, int]:
    """Read the header of NIfTI-1 or NIfTI-2, in either byte order, and return it with its size."""
    block = stream.read(348)
    if len(block) < 348:
        raise _not_nifti(path)
    sizes = {order: struct.unpack(f"{order}i", block[:4])[0] for order in "<>"}
    order = next((order for order, size in sizes.items() if size in HEADERS), None)
    if order is None:
        raise _not_nifti(path)
    size = sizes[order]
    block += stream.read(size - 348)
    if len(block) < size:
        raise truncated(path)
    magic = block[344:348] if size == 348 else block[4:8]
    if magic in PAIRS:
        raise InputError(
            "is half of a .hdr/.img pair", remedy="Convert the pair to one .nii file.", path=path
        )
    if magic != MAGICS[size]:
        raise _not_nifti(path)
    return HEADERS[size](block, endianness=order, check=False), size


def _read_layout(path: Path, stream: Stream, largest: int) -> Layout:
    """Read and judge the header."""
    header, size = _read_header(path, stream)
    placement, notes = placement_of(path, header)
    slope, intercept = _scaling(path, header)
    layout = Layout(
        shape=_shape(path, header),
        dtype=_stored_type(path, header),
        offset=_offset(path, header, size),
        consumed=size,
        slope=slope,
        intercept=intercept,
        placement=placement,
        notes=notes,
    )
    n_voxels = math.prod(layout.shape)
    needed = max(layout.n_bytes, n_voxels * (8 if layout.dtype.kind == "c" else 4))
    if needed > largest:
        raise InputError(
            f"the header claims {'x'.join(map(str, layout.shape))} voxels, {needed / 2**30:.3g} GiB, "
            f"more than the limit of {largest / 2**30:.3g} GiB",
            remedy="Check the header, or crop or split the image.",
            path=path,
        )
    return layout


def _stored_type(path: Path, header: Header) -> np.dtype[np.generic]:
    try:
        dtype: np.dtype[np.generic] = np.dtype(header.get_data_dtype())
    except UNREADABLE as error:
        raise bad_header(path, f"its data type is unknown ({error})") from error
    if dtype.kind not in "iufc":
        raise InputError(
            "contains colours (RGB) or another non-numeric type",
            remedy="Give a scalar image.",
            path=path,
        )
    return dtype


def _not_nifti(path: Path) -> InputError:
    return InputError("is not a NIfTI file", remedy="Give a .nii or .nii.gz file.", path=path)


def _shape(path: Path, header: Header) -> tuple[int, ...]:
    dimensions = [int(n) for n in header["dim"]]
    if not 1 <= dimensions[0] <= 7:
        raise bad_header(path, f"it claims {dimensions[0]} dimensions")
    shape = dimensions[1 : dimensions[0] + 1]
    if min(shape) < 1:
        raise bad_header(path, f"its size is {'x'.join(map(str, shape))}")
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    if len(shape) > 4:
        raise InputError(
            f"has {len(shape)} dimensions ({'x'.join(map(str, shape))})",
            remedy="Give three-dimensional volumes, or a series along the fourth dimension.",
            path=path,
        )
    if len(shape) == 4 and shape[3] > LARGEST_SERIES:
        raise bad_header(path, f"it claims {shape[3]} volumes")
    return tuple(shape + [1] * (3 - len(shape)))


def _offset(path: Path, header: Header, size: int) -> int:
    offset = float(header["vox_offset"])
    if not math.isfinite(offset) or offset != int(offset):
        raise bad_header(path, f"vox_offset is {offset}")
    if not size + 4 <= offset <= size + LONGEST_EXTENSION:
        raise bad_header(path, f"vox_offset is {offset:g}")
    return int(offset)


def _scaling(path: Path, header: Header) -> tuple[float, float]:
    stored = (float(header[name]) for name in ("scl_slope", "scl_inter"))
    slope, intercept = (0.0 if math.isnan(number) else number for number in stored)
    if not (math.isfinite(slope) and math.isfinite(intercept)):
        raise InputError(
            f"its scaling is not finite (scl_slope {slope}, scl_inter {intercept})",
            remedy="Write the file again with scl_slope 1 and scl_inter 0, if its values are final.",
            path=path,
        )
    return (1.0, 0.0) if slope == 0 else (slope, intercept)
