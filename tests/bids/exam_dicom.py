"""An exam as DICOM files in one folder, made with pydicom from headers as scanners write them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

SIZE, SLICES, PIXEL, SPACING = 24, 12, 8.0, 12.0  # a head of 192 x 192 x 144 mm
AXIAL, SAGITTAL = (1.0, 0, 0, 0, 1.0, 0), (0, 1.0, 0, 0, 0, -1.0)
ORIGINAL = ("ORIGINAL", "PRIMARY", "M", "ND")


@dataclass(frozen=True, kw_only=True)
class ExamSeries:
    """One series.

    Attributes:
        number: Of the series.
        description: In words.
        tags: Further elements by keyword; times in ms.
        planes: Orientation of each stack.
        slices: Of each stack.
        values: Signal of white matter, grey matter and CSF, from the outside in.
        volume: Voxels from left, back and foot (RAS) of an edge of `edge` mm, instead of the ball.
        edge: Of a voxel [mm].
    """

    number: int
    description: str
    tags: Mapping[str, object] = field(default_factory=dict)
    planes: Sequence[tuple[float, ...]] = (AXIAL,)
    slices: int = SLICES
    values: tuple[float, float, float] = (700.0, 500.0, 200.0)
    volume: np.ndarray | None = None
    edge: float = 0.0


def tags(
    codes: Sequence[str], tr: float, te: float, ti: float | None = None, **more: object
) -> dict[str, object]:
    """Return the elements of a sequence; times in ms."""
    timed = {} if ti is None else {"InversionTime": ti}
    return {"ScanningSequence": list(codes), "RepetitionTime": tr, "EchoTime": te, **timed, **more}


MPRAGE = ExamSeries(
    number=5,
    description="t1_mprage_sag_p2_iso",
    tags=tags(
        ("GR", "IR"), 2300.0, 2.98, 900.0, SequenceVariant=["SK", "SP", "MP"], SequenceName="*tfl3d1_16ns",
        MRAcquisitionType="3D", FlipAngle=9.0,
    ),
)  # fmt: skip
T2W = ExamSeries(
    number=7,
    description="t2_tse_tra",
    tags=tags(("SE",), 5000.0, 100.0, EchoTrainLength=15, FlipAngle=150.0, SequenceName="*tse2d1_15"),
    values=(400.0, 500.0, 900.0),
)
FLAIR = ExamSeries(
    number=9,
    description="t2_tirm_tra_dark-fluid",
    tags=tags(("SE", "IR"), 9000.0, 100.0, 2500.0, EchoTrainLength=16, FlipAngle=150.0),
    values=(400.0, 550.0, 60.0),
)
LOCALIZER = ExamSeries(
    number=1,
    description="localizer",
    tags=tags(("GR",), 8.6, 4.0, FlipAngle=20.0, SequenceName="*fl2d1"),
    planes=(AXIAL, SAGITTAL),
    slices=3,
)
DIFFUSION = ExamSeries(
    number=3, description="ep2d_tra", tags=tags(("EP", "SE"), 6000.0, 90.0, SequenceName="*ep_b1000")
)
SUSCEPTIBILITY = ExamSeries(
    number=11,
    description="swi3d_tra",
    tags=tags(("GR",), 28.0, 20.0, MRAcquisitionType="3D", FlipAngle=15.0),
)
PROJECTION = ExamSeries(
    number=12,
    description="thick slabs",
    tags={**tags(("GR", "IR"), 2300.0, 2.98, 900.0), "ImageType": ["DERIVED", "SECONDARY", "MPR"]},
)
SPINE = ExamSeries(
    number=13, description="t2_tse_sag", tags={**T2W.tags, "BodyPartExamined": "CSPINE"}, values=T2W.values
)
EXAM = (LOCALIZER, DIFFUSION, MPRAGE, T2W, FLAIR, SUSCEPTIBILITY, PROJECTION, SPINE)


def write_exam(folder: Path, series: Sequence[ExamSeries], study: str = "") -> Path:
    """Write the files of one exam into one folder, without endings."""
    folder.mkdir(parents=True, exist_ok=True)
    study = study or generate_uid()
    for item in series:
        uid, count = generate_uid(), 0
        for plane in item.planes:
            slices = item.slices if item.volume is None else item.volume.shape[2]
            for place in range(slices):
                count += 1
                image = _image(item, plane, place)
                image.StudyInstanceUID, image.SeriesInstanceUID, image.InstanceNumber = study, uid, count
                image.save_as(folder / f"IM{item.number:03d}{count:04d}", enforce_file_format=True)
    return folder


def _image(item: ExamSeries, plane: tuple[float, ...], place: int) -> Dataset:
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
    image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    image.Modality, image.Manufacturer, image.ImageType = "MR", "SIEMENS", list(ORIGINAL)
    image.StudyDate, image.StudyTime = "20200101", "100000"
    image.AcquisitionTime = f"10{item.number:02d}00"
    image.SeriesNumber, image.SeriesDescription, image.MagneticFieldStrength = (
        item.number,
        item.description,
        3.0,
    )
    image.Rows = image.Columns = SIZE
    image.PixelSpacing, image.SliceThickness, image.SpacingBetweenSlices = [PIXEL, PIXEL], SPACING, SPACING
    image.ImageOrientationPatient = list(plane)
    normal = np.cross(plane[:3], plane[3:])
    origin = -SIZE * PIXEL / 2 * (np.array(plane[:3]) + np.array(plane[3:]))
    image.ImagePositionPatient = [float(x) for x in origin + normal * SPACING * (place - item.slices / 2)]
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 12, 11, 0
    for keyword, value in item.tags.items():
        setattr(image, keyword, value)
    if item.volume is None:
        image.PixelData = _pixels(item, place).tobytes()
        return image
    pixels = item.volume[::-1, ::-1, place].T.round().astype("<u2")
    image.Rows, image.Columns = pixels.shape
    image.PixelSpacing = [item.edge, item.edge]
    image.SliceThickness = image.SpacingBetweenSlices = item.edge
    image.ImagePositionPatient = [
        -item.edge * pixels.shape[1] / 2,
        -item.edge * pixels.shape[0] / 2,
        item.edge * place,
    ]
    image.PixelData = pixels.tobytes()
    return image


def _pixels(item: ExamSeries, place: int) -> np.ndarray:
    """Return a slice of a ball of grey and white matter with CSF in its middle, in noisy air."""
    centre = (SIZE - 1) / 2
    y, x = np.mgrid[:SIZE, :SIZE]
    mm = np.sqrt(
        (PIXEL * (x - centre)) ** 2
        + (PIXEL * (y - centre)) ** 2
        + (SPACING * (place - item.slices / 2)) ** 2
    )
    white, grey, fluid = item.values
    values = np.select([mm < 20, mm < 50, mm < 70], [fluid, white, grey], 0.0)
    noise = np.random.default_rng(100 * item.number + place).normal(0, 3, values.shape)
    return np.abs(values + noise).round().astype("<u2")
