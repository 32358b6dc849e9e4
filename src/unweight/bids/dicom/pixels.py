"""Whether the pixel data of a DICOM file are all there, and take no more memory than such a file may.

Native pixel data must have as many bytes as the header accounts for. Of encapsulated data every frame
must be there and end as it should; run-length encoded frames are decoded too. What is inside a JPEG
frame is seen when dcm2niix decodes it, for pydicom decodes JPEG with further packages only.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydicom.dataset import FileDataset
from pydicom.encaps import generate_frames
from pydicom.filereader import read_dataset, read_preamble
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import get_expected_length
from pydicom.tag import BaseTag
from pydicom.uid import RLELossless

PIXELS = 0x7FE00010
UNDEFINED = 0xFFFFFFFF
DEFLATED = "1.2.840.10008.1.2.1.99"
# Start and end of a frame of JPEG, JPEG-LS and the code stream of JPEG 2000.
JPEG_START, JPEG_2000_START, JPEG_END = b"\xff\xd8", b"\xff\x4f", b"\xff\xd9"
RLE_HEADER = 64
RLE_MOST = 64  # bytes that one byte of a segment stands for at most: two give up to 128
LARGEST_FRAME = 2**28  # bytes of a decoded frame
PIECE = 2**20
PADDING = 1  # byte that may follow a segment
JPEG_FAMILY = "1.2.840.10008.1.2.4."


def pixel_problem(path: Path, dataset: FileDataset) -> str | None:
    """Return what is wrong with the pixel data, or None if they are whole."""
    element = dataset.get_item(PIXELS, keep_deferred=True)
    length, start = getattr(element, "length", UNDEFINED), getattr(element, "value_tell", 0)
    if length == UNDEFINED:
        return _encapsulated(dataset)
    expected = get_expected_length(dataset, unit="bytes")
    there = length
    if dataset.file_meta.get("TransferSyntaxUID") != DEFLATED:  # places in such a file are not known
        there = min(length, max(0, path.stat().st_size - start))
    if there < length or length not in (expected, expected + expected % 2):
        return f"its pixel data have {there:,} bytes, not {expected:,}"
    return None


def inflates_within(path: Path, *, headless: bool, most: int) -> bool:
    """Whether a file is of another transfer syntax than the deflated one, or inflates to few bytes.

    Args:
        path: The file.
        headless: Whether it has no preamble.
        most: Bytes.
    """
    with path.open("rb") as file:
        read_preamble(file, force=headless)
        meta = read_dataset(file, is_implicit_VR=False, is_little_endian=True, stop_when=_after_meta)
        if meta.get("TransferSyntaxUID") != DEFLATED:
            return True
        inflater, n_bytes = zlib.decompressobj(-zlib.MAX_WBITS), 0
        while n_bytes <= most and not inflater.eof:
            piece = inflater.unconsumed_tail or file.read(PIECE)
            if not piece:
                break
            n_bytes += len(inflater.decompress(piece, PIECE))
    return n_bytes <= most


def _after_meta(tag: BaseTag, _: str | None, __: int) -> bool:
    return tag.group != 2


def _encapsulated(dataset: FileDataset) -> str | None:
    """Return what is wrong with compressed pixel data."""
    n_frames = int(dataset.get("NumberOfFrames") or 1)
    n_bytes = get_expected_length(dataset, unit="bytes") // max(1, n_frames)
    if n_bytes > LARGEST_FRAME:
        return (
            f"a frame has {n_bytes / 2**30:.3g} GiB, more than the limit of {LARGEST_FRAME / 2**30:.3g} GiB"
        )
    frames = list(generate_frames(dataset.PixelData, number_of_frames=n_frames))
    if len(frames) != n_frames:
        return f"its pixel data have {len(frames)} of {n_frames} frames"
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    for number, frame in enumerate(frames, start=1):
        if syntax.startswith(JPEG_FAMILY) and not _whole_jpeg(frame):
            return f"frame {number} of its pixel data is damaged or truncated"
    if syntax == RLELossless:
        return _undecoded(dataset, frames, n_bytes)
    return None


def _whole_jpeg(frame: bytes) -> bool:
    starts = frame.startswith((JPEG_START, JPEG_2000_START)) or frame[4:8] == b"jP  "
    return starts and frame.rstrip(b"\0").endswith(JPEG_END)


def _undecoded(dataset: FileDataset, frames: Sequence[bytes], n_bytes: int) -> str | None:
    """Return which frame cannot be decoded, if one cannot."""
    decoder = get_decoder(RLELossless)
    size = int(dataset.Rows) * int(dataset.Columns)
    for index, frame in enumerate(frames):
        if n_bytes > RLE_MOST * len(frame):  # seen before memory is taken for it
            return f"frame {index + 1} of its pixel data does not have {size:,} pixels once decoded"
        try:
            decoder.as_array(dataset, index=index, raw=True)
            whole = all(size <= _unpacked(segment) <= size + PADDING for segment in _segments(frame))
        except Exception as error:  # a decoder meets damaged data with any error
            return f"frame {index + 1} of its pixel data cannot be decoded ({type(error).__name__})"
        if not whole:
            return f"frame {index + 1} of its pixel data does not have {size:,} pixels once decoded"
    return None


def _segments(frame: bytes) -> Iterator[bytes]:
    """Give the run-length encoded segments of a frame (DICOM PS3.5, annex G)."""
    count, *places = struct.unpack_from(f"<{RLE_HEADER // 4}I", frame)
    ends = [*places[1:count], len(frame)]
    yield from (frame[start:end] for start, end in zip(places[:count], ends, strict=True))


def _unpacked(segment: bytes) -> int:
    """Return how many bytes a segment holds once it is decoded; pydicom passes over too many."""
    length, place = 0, 0
    while place < len(segment):
        head = segment[place]
        if head < 128:
            length += min(head + 1, len(segment) - place - 1)
            place += head + 2
        else:
            length += 257 - head if head > 128 else 0
            place += 2 if head > 128 else 1
    return length
