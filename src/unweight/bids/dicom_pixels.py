"""Whether the pixel data of a DICOM file are all there.

Native pixel data must have as many bytes as the header accounts for. Of encapsulated data every frame
must be there and end as it should; run-length encoded frames are decoded too. What is inside a JPEG
frame is seen when dcm2niix decodes it, for pydicom decodes JPEG with further packages only.
"""

from pathlib import Path

from pydicom.dataset import FileDataset
from pydicom.encaps import generate_frames
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import get_expected_length
from pydicom.uid import RLELossless

PIXELS = 0x7FE00010
UNDEFINED = 0xFFFFFFFF
DEFLATED = "1.2.840.10008.1.2.1.99"
END_OF_SEQUENCE = b"\xfe\xff\xdd\xe0"
# Start and end of a frame of JPEG, JPEG-LS and the code stream of JPEG 2000.
JPEG_START, JPEG_2000_START, JPEG_END = b"\xff\xd8", b"\xff\x4f", b"\xff\xd9"
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


def _encapsulated(dataset: FileDataset) -> str | None:
    """Return what is wrong with compressed pixel data."""
    n_frames = int(dataset.get("NumberOfFrames") or 1)
    frames = list(generate_frames(dataset.PixelData, number_of_frames=n_frames))
    if len(frames) != n_frames:
        return f"its pixel data have {len(frames)} of {n_frames} frames"
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    for number, frame in enumerate(frames, start=1):
        if syntax.startswith(JPEG_FAMILY) and not _whole_jpeg(frame):
            return f"frame {number} of its pixel data is damaged or cut short"
    if syntax == RLELossless:
        return _undecoded(dataset, n_frames)
    return None


def _whole_jpeg(frame: bytes) -> bool:
    starts = frame.startswith((JPEG_START, JPEG_2000_START)) or frame[4:8] == b"jP  "
    return starts and frame.rstrip(b"\0").endswith(JPEG_END)


def _undecoded(dataset: FileDataset, n_frames: int) -> str | None:
    """Return which frame cannot be decoded, if one cannot."""
    decoder = get_decoder(RLELossless)
    for index in range(n_frames):
        try:
            decoder.as_array(dataset, index=index, raw=True)
        except Exception as error:  # a decoder meets damaged data with any error
            return f"frame {index + 1} of its pixel data cannot be decoded ({type(error).__name__})"
    return None
