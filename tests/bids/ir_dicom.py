"""Inversion recovery as DICOM files, made with pydicom; T1 is 0.6 s in one half of a slice, else 1.2 s."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

TIMES = (0.05, 0.15, 0.4, 0.8, 1.5, 2.8)
REPETITION = 5.0
SIZE, SLICES = 20, 3
SHORT, LONG = 0.6, 1.2
Edit = Callable[[Dataset, int, int], None]


@dataclass(frozen=True, kw_only=True)
class Scan:
    """What is written.

    Attributes:
        times: Inversion time of each volume.
        numbers: Of the series of each volume; one number for all makes one series.
        with_times: Whether InversionTime is written.
        delay: How much later each slice is inverted than the one before [s].
        edit: Changes a dataset, given the volume and the slice.
    """

    times: Sequence[float] = TIMES
    numbers: Sequence[int] = tuple(range(8, 8 + len(TIMES)))
    with_times: bool = True
    delay: float = 0.0
    edit: Edit | None = None


def write(folder: Path, scan: Scan) -> Path:
    """Write one file a slice: `s008/000.dcm`, volumes of one series in one folder."""
    noise = np.random.default_rng(0)
    study, series = generate_uid(), {number: generate_uid() for number in scan.numbers}
    count = dict.fromkeys(scan.numbers, 0)
    for volume, (time, number) in enumerate(zip(scan.times, scan.numbers, strict=True)):
        for place in range(SLICES):
            count[number] += 1
            image = _image(scan, volume, place)
            image.StudyInstanceUID, image.SeriesInstanceUID = study, series[number]
            image.InstanceNumber, image.AcquisitionTime = count[number], f"1000{volume:02d}"
            pixels = _pixels(time + scan.delay * place, noise)
            image.PixelData = pixels.T.tobytes()
            if scan.edit is not None:
                scan.edit(image, volume, place)
            path = folder / f"s{number:03d}" / f"{count[number] - 1:03d}.dcm"
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save_as(path, enforce_file_format=True)
    return folder


def _pixels(time: float, noise: np.random.Generator) -> np.ndarray:
    t1 = np.full((SIZE, SIZE), SHORT)
    t1[SIZE // 2 :] = LONG
    signal = 1000 * (1 - 2 * np.exp(-time / t1) + np.exp(-REPETITION / t1))
    return np.abs(signal + noise.normal(0, 5, t1.shape)).round().astype("<u2")


def _image(scan: Scan, volume: int, place: int) -> Dataset:
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
    image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    image.Modality, image.Manufacturer = "MR", "SIEMENS"
    image.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]
    image.StudyDate, image.StudyTime = "20200101", "100000"
    image.SeriesNumber, image.SeriesDescription = scan.numbers[volume], f"ir_{1e3 * scan.times[volume]:g}"
    image.ScanningSequence, image.MRAcquisitionType = ["SE", "IR"], "2D"
    image.MagneticFieldStrength, image.RepetitionTime, image.EchoTime = 3.0, 1e3 * REPETITION, 12.0
    if scan.with_times:
        image.InversionTime = round(1e3 * (scan.times[volume] + scan.delay * place), 3)
    image.Rows = image.Columns = SIZE
    image.PixelSpacing, image.SliceThickness, image.SpacingBetweenSlices = [2.0, 2.0], 3.0, 3.0
    image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    image.ImagePositionPatient = [-20, -20, 3.0 * place]
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 12, 11, 0
    return image
