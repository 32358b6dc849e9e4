"""A small file must not take much memory, whatever it says that it holds."""

import io
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, RLELossless

from tests.dicom_maker import Order, Quantity, write_dicom
from unweight.bids.dicom import convert
from unweight.bids.dicom.folder import scan
from unweight.bids.dicom.header import MOST_INFLATED, read_image
from unweight.core import memory
from unweight.core.errors import InputError, TooLargeError

MOST_BYTES = 32 * 2**20
RUN_OF_ZEROS = b"\x81\x00"  # 128 of them, run-length encoded


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_dicom(tmp_path / "dicom", Order(quantity=Quantity.T1))


def first_of(folder: Path) -> Path:
    return sorted(folder.iterdir())[0]


def parts_of(image: Dataset) -> tuple[bytes, bytes]:
    """Return a file up to its data set, and the data set."""
    content = io.BytesIO()
    image.save_as(content, enforce_file_format=True)
    length = 144 + int.from_bytes(content.getvalue()[140:144], "little")
    return content.getvalue()[:length], content.getvalue()[length:]


def deflated_zeros(path: Path, side: int) -> None:
    """Make the image of a file one of zeros, deflated; equal pieces are compressed once."""
    image = pydicom.dcmread(path)
    image.Rows = image.Columns = side
    image.PixelData, n_bytes = b"", 2 * side**2
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    _, described = parts_of(image)
    image.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    head, _ = parts_of(image)
    described = described[: described.index(b"\xe0\x7f\x10\x00OW") + 8] + n_bytes.to_bytes(4, "little")
    piece, left = bytes(2**24), n_bytes % 2**24
    start, middle, end = (zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS) for _ in range(3))
    repeated = middle.compress(piece) + middle.flush(zlib.Z_FULL_FLUSH)
    path.write_bytes(
        head
        + start.compress(described)
        + start.flush(zlib.Z_FULL_FLUSH)
        + repeated * (n_bytes // 2**24)
        + end.compress(piece[:left])
        + end.flush()
    )


def encapsulated(path: Path, syntax: str, side: int, frame: bytes) -> None:
    """Give a file a compressed frame, whatever the size in its header."""
    image = pydicom.dcmread(path)
    image.Rows = image.Columns = side
    image.file_meta.TransferSyntaxUID = syntax
    image.PixelData = encapsulate([frame])
    image["PixelData"].VR = "OB"
    image.save_as(path)


def refusal(path: Path) -> str:
    """Return why a file is not used, having seen that it took little memory."""
    tracemalloc.start()
    try:
        with pytest.raises(InputError) as caught:
            read_image(path)
        assert tracemalloc.get_traced_memory()[1] < MOST_BYTES
    finally:
        tracemalloc.stop()
    return caught.value.problem


def test_a_deflated_file_is_read_up_to_a_limit(folder: Path) -> None:
    path = first_of(folder)
    deflated_zeros(path, 512)
    image = read_image(path)
    assert image is not None and image.n_bytes == 2 * 512**2
    deflated_zeros(path, 12_000)
    assert path.stat().st_size < 2**20
    assert f"more than {MOST_INFLATED // 2**20} MiB" in refusal(path)
    assert [left.name for left in scan(folder).left] == [path.name]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            lambda path: encapsulated(path, RLELossless, 65_000, rle(RUN_OF_ZEROS * 100)),
            "a frame has 7.87 GiB",
        ),
        (lambda path: encapsulated(path, RLELossless, 11_000, rle(RUN_OF_ZEROS * 100)), "once decoded"),
        (lambda path: encapsulated(path, JPEG2000, 65_000, b"\xff\x4f\xff\xd9"), "a frame has 7.87 GiB"),
    ],
)
def test_a_frame_that_is_said_to_be_huge_is_refused(
    folder: Path, change: Callable[[Path], None], problem: str
) -> None:
    path = first_of(folder)
    change(path)
    assert problem in refusal(path)


def rle(segment: bytes) -> bytes:
    """Return a frame of two equal segments."""
    places = [2, 64, 64 + len(segment), *[0] * 13]
    return b"".join(place.to_bytes(4, "little") for place in places) + 2 * segment


def test_a_series_is_converted_if_its_pixels_fit_into_memory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda: 100)
    with (
        pytest.raises(TooLargeError, match="the conversion of series") as caught,
        convert.converted(folder),
    ):
        pass
    assert caught.value.path == folder
