"""What the header of a DICOM file says that decides which files are converted together, and in which order.

pydicom reads the headers; voxels stay on disk. A file that cannot be used says why.
"""

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import pydicom
from pydicom.dataset import FileDataset
from pydicom.pixels.utils import get_expected_length

from unweight.bids.dicom.pixels import PIXELS, inflates_within, pixel_problem
from unweight.core.errors import InputError

PREAMBLE, MAGIC = 128, b"DICM"
# Groups with which a file begins that has no preamble, in little-endian order.
FIRST_GROUPS = (b"\x02\x00", b"\x08\x00")
DEFERRED = 4096  # bytes; longer values stay on disk until they are asked for
MOST_INFLATED = 2**28  # bytes; pydicom inflates a deflated file at once
LARGEST_TIME = 1e7  # [ms]; Philips pads inversion times with the largest double
IMAGE_CLASS = "Image Storage"
DIRECTORY = "1.2.840.10008.1.3.10"  # the class of a DICOMDIR
NO_NUMBER = -1
# ImageType of GE, (0043,102F), where the standard element says nothing.
GE_PARTS = {0: "M", 1: "P", 2: "R", 3: "I"}


@final
@dataclass(frozen=True, kw_only=True)
class DicomImage:
    """One file with an image that can be used.

    Attributes:
        path: The file.
        instance: SOP instance UID; copies of one image share it.
        series: UID of the series.
        number: Number of the series; -1 without one.
        description: Of the series.
        inversion_times: Of its frames, each once, in order [ms]; empty if none is given.
        echo_times: Likewise [ms].
        part: ImageType, with the vendor's own element where it says more.
        geometry: Rows, columns, orientation and spacing of pixels; images of one stack share it.
        position: Along the normal of the slice [mm]; None if unknown.
        acquired: Date and time, as digits that sort.
        instance_number: Within the series; -1 without one.
        n_frames: In the file.
        n_bytes: Of its pixels, decoded.
        syntax: UID of the transfer syntax.
    """

    path: Path
    instance: str
    series: str
    number: int
    description: str
    inversion_times: tuple[float, ...]
    echo_times: tuple[float, ...]
    part: tuple[str, ...]
    geometry: tuple[float, ...]
    position: float | None
    acquired: str
    instance_number: int
    n_frames: int
    n_bytes: int
    syntax: str


def starts_like_dicom(path: Path) -> bool:
    """Whether a file starts as DICOM files do."""
    try:
        with path.open("rb") as file:
            return file.read(PREAMBLE + len(MAGIC))[PREAMBLE:] == MAGIC
    except OSError:
        return False


def read_image(path: Path) -> DicomImage | None:
    """Return the facts of the image of a file, or None if it is DICOM without one, as reports are.

    Raises:
        InputError: The file is empty, damaged or cut short, or is not DICOM.
    """
    try:
        # pydicom meets damaged values with any error, and good but odd ones with warnings.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = _dataset(path)
            return _image(path, dataset)
    except InputError:
        raise
    except Exception as error:
        raise _unusable(path, f"its header cannot be read ({type(error).__name__})") from error


def header_elements(path: Path) -> dict[str, Any]:
    """Return the elements of a header by keyword: of the file, else the first of what its frames share.

    Sequences and voxels are left out.

    Raises:
        InputError: The header cannot be read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(path, stop_before_pixels=True, force=True)
            elements: dict[str, Any] = {}
            for element in _elements(dataset):
                if element.VR != "SQ" and element.keyword and element.value not in (None, ""):
                    elements.setdefault(element.keyword, element.value)
            return elements
    except Exception as error:
        raise _unusable(path, f"its header cannot be read ({type(error).__name__})") from error


def _elements(dataset: Any) -> Iterator[Any]:
    """Give the elements of a file, then those of what its frames share, and of the first frame."""
    yield from dataset
    for groups in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for frame in list(dataset.get(groups) or ())[:1]:
            for group in frame:
                if group.VR == "SQ":
                    for item in group.value:
                        yield from item


def _dataset(path: Path) -> FileDataset:
    if not path.exists():
        raise _unusable(path, "it is a broken link")
    if path.stat().st_size == 0:
        raise _unusable(path, "it is empty")
    with path.open("rb") as file:
        start = file.read(PREAMBLE + len(MAGIC))
    headless = start[:2] in FIRST_GROUPS
    if start[PREAMBLE:] != MAGIC and not headless:
        raise _unusable(path, "it is not DICOM, or its start is damaged")
    if not inflates_within(path, headless=headless, most=MOST_INFLATED):
        raise _unusable(path, f"it is deflated, and inflates to more than {MOST_INFLATED // 2**20} MiB")
    return pydicom.dcmread(path, defer_size=DEFERRED, force=headless)


def _image(path: Path, dataset: FileDataset) -> DicomImage | None:
    if PIXELS not in dataset:
        if _holds_no_image(dataset):
            return None
        raise _unusable(path, "it has no pixel data: the file is truncated")
    for name in ("SeriesInstanceUID", "SOPInstanceUID", "Rows", "Columns"):
        if not dataset.get(name):
            raise _unusable(path, f"its header does not give {name}")
    problem = pixel_problem(path, dataset)
    if problem is not None:
        raise _unusable(path, problem)
    orientation = [float(value) for value in _first(dataset, "ImageOrientationPatient") or ()]
    return DicomImage(
        path=path,
        instance=str(dataset.SOPInstanceUID),
        series=str(dataset.SeriesInstanceUID),
        number=_integer(dataset, "SeriesNumber"),
        description=str(dataset.get("SeriesDescription") or dataset.get("ProtocolName") or ""),
        inversion_times=_times(dataset, "InversionTime", "InversionTimes"),
        echo_times=_times(dataset, "EchoTime", "EffectiveEchoTime"),
        part=_part(dataset),
        geometry=_geometry(dataset, orientation),
        position=_position(dataset, orientation),
        acquired=_acquired(dataset),
        instance_number=_integer(dataset, "InstanceNumber"),
        n_frames=max(1, _integer(dataset, "NumberOfFrames")),
        n_bytes=get_expected_length(dataset, unit="bytes"),
        syntax=str(dataset.file_meta.get("TransferSyntaxUID", "")),
    )


def _holds_no_image(dataset: FileDataset) -> bool:
    """Whether the class of a file, given twice and in full, is one without pixel data."""
    stored = dataset.file_meta.get("MediaStorageSOPClassUID")
    if stored == DIRECTORY:
        return True
    return stored is not None and stored == dataset.get("SOPClassUID") and IMAGE_CLASS not in stored.name


def _unusable(path: Path, problem: str) -> InputError:
    return InputError(problem, remedy="Copy or export it again.", path=path)


def _integer(dataset: FileDataset, name: str) -> int:
    value = dataset.get(name)
    return NO_NUMBER if value is None or value == "" else int(value)


def _values(dataset: Any, name: str) -> Iterator[Any]:
    """Give each value of an element: of the file, of what its frames share, and of each frame."""
    if dataset.get(name) not in (None, ""):
        yield dataset[name].value
    for groups in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for frame in dataset.get(groups) or ():
            for element in frame:
                if element.VR == "SQ":
                    yield from (item[name].value for item in element.value if name in item)


def _first(dataset: FileDataset, name: str) -> Any:
    return next(_values(dataset, name), None)


def _times(dataset: FileDataset, *names: str) -> tuple[float, ...]:
    """Return the times of the first of the elements that gives any, each once."""
    for name in names:
        result: set[float] = set()
        for value in _values(dataset, name):
            listed = value if isinstance(value, list | pydicom.multival.MultiValue) else [value]
            result |= {round(float(item), 3) for item in listed if item not in (None, "")}
        usable = sorted(item for item in result if math.isfinite(item) and 0 <= item < LARGEST_TIME)
        if usable and usable != [0.0]:
            return tuple(usable)
    return ()


def _part(dataset: FileDataset) -> tuple[str, ...]:
    words = dataset.get("ImageType") or ()
    named = (words,) if isinstance(words, str) else tuple(str(word) for word in words)
    ge = dataset.get((0x0043, 0x102F))
    if ge is not None and isinstance(ge.value, int):
        return (*named, GE_PARTS.get(ge.value, ""))
    return named


def _geometry(dataset: FileDataset, orientation: list[float]) -> tuple[float, ...]:
    spacing = [float(value) for value in _first(dataset, "PixelSpacing") or ()]
    rounded = [round(value, 3) + 0.0 for value in (*orientation, *spacing)]
    return (float(dataset.Rows), float(dataset.Columns), *rounded)


def _position(dataset: FileDataset, orientation: list[float]) -> float | None:
    origin = _first(dataset, "ImagePositionPatient")
    if origin is None or len(orientation) != 6 or len(origin) != 3:
        return None
    normal = np.cross(orientation[:3], orientation[3:])
    return round(float(np.dot(normal, [float(value) for value in origin])), 2) + 0.0


def _acquired(dataset: FileDataset) -> str:
    both = dataset.get("AcquisitionDateTime")
    if both:
        return str(both)
    date = dataset.get("AcquisitionDate") or dataset.get("SeriesDate") or dataset.get("StudyDate") or ""
    time = dataset.get("AcquisitionTime") or dataset.get("ContentTime") or dataset.get("SeriesTime") or ""
    return f"{date}{time}"
