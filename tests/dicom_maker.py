"""DICOM of two tissues as scanners of five makes write it, made with pydicom, the truth known everywhere.

The left half of the object has one T1 and R2*, the right half another; both rise from slice to slice, so
that a slice or a time in the wrong place is seen.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import ceil, sqrt
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

SHAPE = (12, 12, 4)
PIXEL, SPACING = 2.0, 3.0
LEFT, RISE = {"t1": (0.6, 1.2), "r2star": (20.0, 50.0)}, 0.1
BRIGHTEST, NOISE = 3000.0, 6.0
INVERSION_TIMES = (0.05, 0.15, 0.4, 0.8, 1.5, 2.8)
ECHO_TIMES = (0.004, 0.008, 0.014, 0.022, 0.03)
INVERSION_REPEAT, ECHO_REPEAT = 5.0, 0.05
CLASSIC, ENHANCED = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1"
STATION: Mapping[str, str] = {
    "PatientName": "X",
    "PatientID": "X",
    "StudyDate": "20200101",
    "StudyTime": "100000",
}


class Quantity(StrEnum):
    """What the series is made to measure."""

    T1 = "t1"
    R2STAR = "r2star"


class Storage(StrEnum):
    """How slices are put into files."""

    CLASSIC = "classic"
    ENHANCED = "enhanced"
    MOSAIC = "mosaic"


@dataclass(frozen=True, kw_only=True)
class Scales:
    """How a scanner stores one volume, and what it says of it.

    Attributes:
        scale: Stored number over signal; the scale slope SS of Philips.
        rescale: RS of what is displayed.
        intercept: RI of what is displayed.
        private: Whether the private elements of Philips are there.
    """

    scale: float
    rescale: float
    intercept: float = 0.0
    private: bool = True


@dataclass(frozen=True, kw_only=True)
class Order:
    """What to write.

    Attributes:
        quantity: T1 or R2*.
        storage: Of the slices.
        one_series: All times in one series, or each in its own.
        one_file: All times in one file (enhanced only).
        world_slopes: Real-world slope of each volume; none without.
        scales: Scaling of each volume; stored as measured without.
        tags: Elements by keyword that describe the scanner.
        private: Elements by number that do.
    """

    quantity: Quantity
    storage: Storage = Storage.CLASSIC
    one_series: bool = False
    one_file: bool = False
    world_slopes: Sequence[float] = ()
    scales: Sequence[Scales] = ()
    tags: Mapping[str, object] = field(default_factory=dict)
    private: Sequence[tuple[int, str, object]] = ()

    @property
    def times(self) -> tuple[float, ...]:
        return INVERSION_TIMES if self.quantity is Quantity.T1 else ECHO_TIMES


def truth(quantity: Quantity, lps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return T1 [s] or R2* [1/s] at positions in the patient's coordinates of DICOM, `(..., 3)`."""
    left, right = LEFT[quantity]
    return np.where(lps[..., 0] < 0, left, right) * (1 + RISE * np.rint(lps[..., 2] / SPACING))


def corner() -> tuple[float, float, float]:
    """Return where the first voxel is [mm]."""
    return -(SHAPE[0] - 1) / 2 * PIXEL, -(SHAPE[1] - 1) / 2 * PIXEL, 0.0


def signal(order: Order) -> list[NDArray[np.float64]]:
    """Return the volumes `(x, y, z)` with little noise, in one unit that fills 12 bits well."""
    unit = max((scales.scale for scales in order.scales), default=1.0)
    indices = np.stack(np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij"), -1)
    known = truth(order.quantity, corner() + indices * (PIXEL, PIXEL, SPACING))
    rng = np.random.default_rng(1)
    volumes = []
    for time in order.times:
        if order.quantity is Quantity.T1:
            value = 1 - 2 * np.exp(-time / known) + np.exp(-INVERSION_REPEAT / known)
        else:
            value = np.exp(-time * known)
        volumes.append(np.abs(BRIGHTEST * value + rng.normal(0, NOISE, SHAPE)) / unit)
    return volumes


def write_dicom(folder: Path, order: Order) -> Path:
    """Write the files of one examination."""
    folder.mkdir(parents=True, exist_ok=True)
    study = {"StudyInstanceUID": generate_uid(), "FrameOfReferenceUID": generate_uid()}
    shared = generate_uid()
    for number, (index, image) in enumerate(_images(order), start=1):
        image.update(study)
        image.SeriesTime, image.AcquisitionTime, image.ContentTime = "100000", *[f"100{index}00"] * 2
        together = order.one_series or order.one_file
        series = shared if together else UID(f"{shared[:60]}.{index}")
        _save(image, folder / f"{number:04d}", series, 1 if together else 1 + index, number)
    return folder


def _save(image: Dataset, path: Path, series: UID, series_number: int, number: int) -> None:
    image.update(STATION)
    image.SeriesInstanceUID, image.SeriesNumber, image.InstanceNumber = series, series_number, number
    image.SOPInstanceUID = generate_uid()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    image["PixelData"].VR = "OW"
    image.save_as(path, enforce_file_format=True)


def _stored(order: Order) -> list[NDArray[np.uint16]]:
    """Return the stored numbers of each volume."""
    volumes = signal(order)
    scales = order.scales or [Scales(scale=1.0, rescale=1.0)] * len(volumes)
    offsets = [one.intercept / one.rescale for one in scales]
    pairs = zip(volumes, scales, offsets, strict=True)
    stored = [np.rint(volume * one.scale - offset) for volume, one, offset in pairs]
    assert min(volume.min() for volume in stored) >= 0
    assert max(volume.max() for volume in stored) < 4095
    return [volume.astype("<u2") for volume in stored]


def _images(order: Order) -> Iterator[tuple[int, Dataset]]:
    """Give the images, each with the index of its volume."""
    stored = _stored(order)
    if order.one_file:
        yield (
            0,
            _enhanced(order, stored, [(index, z) for index in range(len(stored)) for z in range(SHAPE[2])]),
        )
        return
    for index, volume in enumerate(stored):
        if order.storage is Storage.ENHANCED:
            yield index, _enhanced(order, stored, [(index, z) for z in range(SHAPE[2])])
        elif order.storage is Storage.MOSAIC:
            yield index, _mosaic(order, volume, index)
        else:
            for z in range(SHAPE[2]):
                image = _plane(order, volume[:, :, z].T, index)
                image.ImagePositionPatient = _position(z)
                yield index, image


def _position(z: int) -> list[float]:
    x, y, bottom = corner()
    return [x, y, bottom + SPACING * z]


def _plane(order: Order, pixels: NDArray[np.uint16], index: int) -> Dataset:
    """Return a classic image of what may be one slice or a mosaic of them."""
    image = _describe(order, pixels)
    image.SOPClassUID, image.AcquisitionNumber = CLASSIC, index + 1
    recovery = order.quantity is Quantity.T1
    image.ScanningSequence = ["SE", "IR"] if recovery else "GR"
    image.RepetitionTime = 1000 * (INVERSION_REPEAT if recovery else ECHO_REPEAT)
    image.FlipAngle, image.EchoTrainLength = 90.0 if recovery else 20.0, 1
    image.EchoNumbers = 1 if recovery else index + 1
    image.EchoTime = 12.0 if recovery else 1000 * order.times[index]
    if recovery:
        image.InversionTime = 1000 * order.times[index]
    image.PixelSpacing, image.SliceThickness, image.SpacingBetweenSlices = [PIXEL, PIXEL], SPACING, SPACING
    image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    image.PixelData = pixels.tobytes()
    _scale(order, image, index)
    return image


def _describe(order: Order, pixels: NDArray[np.uint16]) -> Dataset:
    image = Dataset()
    image.Modality, image.ProtocolName, image.SeriesDescription = "MR", "made", "made"
    image.MRAcquisitionType, image.MagneticFieldStrength, image.PatientPosition = "2D", 3.0, "HFS"
    image.update(order.tags)
    image.Rows, image.Columns = pixels.shape[-2:]
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 12, 11, 0
    for tag, representation, value in order.private:
        image.add_new(tag, representation, value)
    return image


def _scale(order: Order, image: Dataset, index: int) -> None:
    """Write how stored numbers become values, into an image or into the item of a frame."""
    if order.world_slopes:
        image.RealWorldValueMappingSequence = _item(
            LUTLabel="made",
            RealWorldValueIntercept=order.scales[index].intercept if order.scales else 0.0,
            RealWorldValueSlope=order.world_slopes[index],
            RealWorldValueFirstValueMapped=0,
            RealWorldValueLastValueMapped=4095,
        )
    if not order.scales:
        return
    scales = order.scales[index]
    values = {
        "RescaleSlope": f"{scales.rescale:.8g}",
        "RescaleIntercept": f"{scales.intercept:.8g}",
        "RescaleType": "normalized",
    }
    private = Dataset()
    private.add_new(0x20050010, "LO", "Philips MR Imaging DD 001")
    private.add_new(0x2005100D, "FL", -scales.intercept / scales.rescale)
    private.add_new(0x2005100E, "FL", scales.scale)
    if order.storage is Storage.ENHANCED:
        image.PixelValueTransformationSequence = _item(**values)
        if scales.private:
            image.add_new(0x20050014, "LO", "Philips MR Imaging DD 005")
            image.add_new(0x2005140F, "SQ", Items([private]))
        return
    image.update(values)
    if scales.private:
        image.update(private)


def _item(**elements: object) -> Items:
    item = Dataset()
    item.update(elements)
    return Items([item])


def _enhanced(
    order: Order, stored: Sequence[NDArray[np.uint16]], pieces: Sequence[tuple[int, int]]
) -> Dataset:
    """Return one multi-frame image of slices of one or more volumes."""
    pixels = np.stack([stored[index][:, :, z].T for index, z in pieces])
    image = _describe(order, pixels)
    image.SOPClassUID, image.NumberOfFrames, image.AcquisitionNumber = (
        ENHANCED,
        len(pieces),
        pieces[0][0] + 1,
    )
    image.AcquisitionDateTime = f"20200101100{pieces[0][0]}00"
    recovery = order.quantity is Quantity.T1
    image.SharedFunctionalGroupsSequence = _item(
        PixelMeasuresSequence=_item(
            PixelSpacing=[PIXEL, PIXEL], SliceThickness=SPACING, SpacingBetweenSlices=SPACING
        ),
        PlaneOrientationSequence=_item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0]),
        MRTimingAndRelatedParametersSequence=_item(
            RepetitionTime=1000 * (INVERSION_REPEAT if recovery else ECHO_REPEAT),
            FlipAngle=90.0 if recovery else 20.0,
            EchoTrainLength=1,
        ),
    )
    time = (0x00189079, 0x00189115) if recovery else (0x00189082, 0x00189114)
    organisation = generate_uid()
    image.DimensionOrganizationSequence = _item(DimensionOrganizationUID=organisation)
    dimensions = ((0x00209056, 0x00209111), (0x00209057, 0x00209111), time)
    image.DimensionIndexSequence = Items(
        [
            _item(
                DimensionOrganizationUID=organisation,
                DimensionIndexPointer=pointer,
                FunctionalGroupPointer=group,
            )[0]
            for pointer, group in dimensions
        ]
    )
    image.PerFrameFunctionalGroupsSequence = Items([_frame(order, index, z) for index, z in pieces])
    image.PixelData = pixels.tobytes()
    return image


def _frame(order: Order, index: int, z: int) -> Dataset:
    recovery = order.quantity is Quantity.T1
    frame = Dataset()
    frame.FrameContentSequence = _item(
        StackID="1",
        InStackPositionNumber=z + 1,
        TemporalPositionIndex=1,
        DimensionIndexValues=[1, z + 1, index + 1],
        FrameAcquisitionDateTime=f"20200101100{index}0{z}",
        FrameReferenceDateTime=f"20200101100{index}0{z}",
    )
    frame.PlanePositionSequence = _item(ImagePositionPatient=_position(z))
    frame.MREchoSequence = _item(EffectiveEchoTime=12.0 if recovery else 1000 * order.times[index])
    frame.MRImageFrameTypeSequence = _item(ComplexImageComponent="MAGNITUDE")
    if recovery:
        frame.MRModifierSequence = _item(InversionRecovery="YES", InversionTimes=1000 * order.times[index])
    if not order.scales:
        frame.PixelValueTransformationSequence = _item(RescaleIntercept=0, RescaleSlope=1, RescaleType="US")
    _scale(order, frame, index)
    return frame


def _mosaic(order: Order, volume: NDArray[np.uint16], index: int) -> Dataset:
    """Return one image with the slices of a volume side by side, as Siemens or UIH write it."""
    x, y, n = volume.shape
    across = ceil(sqrt(n))
    pixels = np.zeros((across * y, across * x), "<u2")
    for z in range(n):
        row, column = divmod(z, across)
        pixels[y * row : y * (row + 1), x * column : x * (column + 1)] = volume[:, :, z].T
    image = _plane(order, pixels, index)
    image.AcquisitionMatrix = [x, 0, 0, y]
    if str(image.Manufacturer) == "UIH":
        image.ImagePositionPatient = _position(0)
        image.add_new(0x00650010, "LO", "Image Private Header")
        image.add_new(0x00651014, "DS", [0, 0, 1])
        image.add_new(0x00651050, "DS", str(n))
        slices = [
            _item(ImagePositionPatient=_position(z), ImageOrientationPatient=[1, 0, 0, 0, 1, 0])[0]
            for z in range(n)
        ]
        image.add_new(0x00651051, "SQ", Items(slices))
        return image
    # The position is that of the whole mosaic.
    half = (across - 1) / 2 * PIXEL
    first = _position(0)
    image.ImagePositionPatient = [first[0] - half * x, first[1] - half * y, first[2]]
    image.add_new(0x00190010, "LO", "SIEMENS MR HEADER")
    image.add_new(0x0019100A, "US", n)
    image.add_new(0x00290010, "LO", "SIEMENS CSA HEADER")
    image.add_new(0x00291010, "OB", _csa(n))
    return image


def _csa(n_slices: int) -> bytes:
    """Return the little of a Siemens CSA header that a mosaic needs."""
    items: tuple[tuple[str, str, Sequence[str]], ...] = (
        ("NumberOfImagesInMosaic", "US", [str(n_slices)]),
        ("SliceNormalVector", "FD", ["0.0", "0.0", "1.0"]),
        ("PhaseEncodingDirectionPositive", "IS", ["1"]),
        ("MosaicRefAcqTimes", "FD", ["0.0"] * n_slices),
    )
    content = b"SV10\x04\x03\x02\x01" + struct.pack("<II", len(items), 77)
    for name, representation, values in items:
        content += name.encode().ljust(64, b"\0") + struct.pack("<I", len(values))
        content += representation.encode().ljust(4, b"\0") + struct.pack("<III", 0, 6, 77)
        for index in range(6):
            value = values[index].encode() + b"\0" if index < len(values) else b""
            content += (
                struct.pack("<IIII", len(value), len(value), 77, len(value))
                + value
                + bytes(-len(value) % 4)
            )
    return content
