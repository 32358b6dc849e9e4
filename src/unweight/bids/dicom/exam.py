"""The weighted images of an exam in a folder of DICOM: sorted by headers, then converted by dcm2niix.

The header of one image of each series decides whether it can be a T1w, T2w or FLAIR of the head; only such
series are converted, and what dcm2niix wrote about them decides which are mapped.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

from unweight.bids.dicom.convert import ConvertedImage, converted
from unweight.bids.dicom.header import NO_NUMBER, header_elements
from unweight.bids.dicom.selection import entry_of_converted
from unweight.bids.dicom.series import DicomSeries
from unweight.bids.exam.choice import Candidate, UnusedImage
from unweight.bids.exam.kind import ImageKind, kind_of, kind_of_entry
from unweight.bids.series.part import Entry
from unweight.bids.sidecar import Sidecar
from unweight.core.errors import InputError

# Elements of a header that tell what an image is; dcm2niix gives them the same names, times apart.
WORDS = (
    "SeriesDescription",
    "ProtocolName",
    "SequenceName",
    "PulseSequenceName",
    "MRAcquisitionType",
    "BodyPartExamined",
    "ContrastBolusAgent",
    "Manufacturer",
)
LISTS = ("ScanningSequence", "SequenceVariant")
MILLISECONDS = {
    "RepetitionTime": "RepetitionTime",
    "EchoTime": "EchoTime",
    "EffectiveEchoTime": "EchoTime",
    "InversionTime": "InversionTime",
}
NUMBERS = ("EchoTrainLength", "FlipAngle")
B_VALUE = "DiffusionBValue"
FEWEST_SLICES = 3
STUDY = "StudyInstanceUID"


@final
@dataclass(frozen=True, kw_only=True)
class DicomExam:
    """The images of an exam that can be mapped, and the series that cannot.

    Attributes:
        candidates: Converted; their files live as long as the context.
        left_out: Series that are none by their headers.
        faults: What is missing, sentence by sentence.
        notes: What a careful reader should know.
    """

    candidates: tuple[Candidate, ...]
    left_out: tuple[UnusedImage, ...]
    faults: tuple[str, ...]
    notes: tuple[str, ...]


@contextmanager
def exam_of_dicom(folder: Path, numbers: Sequence[int] | None = None) -> Iterator[DicomExam]:
    """Sort the series of an exam and convert those that can be T1w, T2w or FLAIR.

    Args:
        folder: DICOM files, in it or below.
        numbers: Of the series to look at; None for all.

    Raises:
        InputError: The folder holds images of several exams, or nothing could be converted.
    """
    headers: dict[str, Sidecar] = {}
    studies: dict[str, str] = {}
    left: list[UnusedImage] = []

    def keep(series: DicomSeries) -> bool:
        elements = header_elements(series.images[0].path)
        key = series.images[0].series
        headers[key] = Sidecar(image=folder, fields=fields_of_header(elements))
        kind = kind_of_series(series, headers[key])
        if kind.contrast:
            studies[key] = str(elements.get(STUDY, ""))
        else:
            left.append(_left(series, kind))
        return bool(kind.contrast)

    with converted(folder, numbers=numbers, keep=keep) as conversion:
        if len(set(studies.values())) > 1:
            raise InputError(
                f"holds images of {len(set(studies.values()))} exams",
                remedy="Give the folder of one exam, or choose its series with --series.",
                path=folder,
            )
        candidates = tuple(
            _candidate(image, headers[image.portion.images[0].series], place)
            for place, image in enumerate(conversion.images)
        )
        yield DicomExam(
            candidates=candidates,
            left_out=tuple(left),
            faults=conversion.faults,
            notes=conversion.notes,
        )


def kind_of_series(series: DicomSeries, header: Sidecar) -> ImageKind:
    """Return what a series of DICOM images is, by the header of one and the geometry of all.

    Args:
        series: With the geometry of its images.
        header: Of one image, with fields as `fields_of_header` returns them.
    """
    kind = kind_of(header)
    planes = {image.geometry for image in series.images}
    frames = sum(image.n_frames for image in series.images)
    if kind.contrast and len(planes) > 1:
        return replace(
            kind, contrast="", excluded=f"it holds {len(planes)} orientations, as a localizer does"
        )
    if kind.contrast and frames < FEWEST_SLICES:
        return replace(kind, contrast="", excluded=f"it holds {frames} slices only")
    return kind


def fields_of_header(elements: Mapping[str, Any]) -> dict[str, object]:
    """Return the elements of a DICOM header that tell what an image is, as dcm2niix writes them.

    Args:
        elements: By keyword; times in ms, as DICOM has them.

    Returns:
        Fields of a sidecar; times in seconds.
    """
    fields: dict[str, object] = {}
    fields.update({name: str(elements[name]) for name in WORDS if elements.get(name)})
    fields.update({name: "\\".join(_words(elements[name])) for name in LISTS if elements.get(name)})
    for keyword, name in MILLISECONDS.items():
        value = _number(elements.get(keyword))
        if value is not None and value > 0:
            fields.setdefault(name, round(value / 1e3, 7))
    for name in NUMBERS:
        value = _number(elements.get(name))
        if value is not None:
            fields[name] = value
    types = _words(elements.get("ImageType"))
    if _number(elements.get(B_VALUE)):
        types = [*types, "DIFFUSION"]
    if types:
        fields["ImageType"] = types
    return fields


def _candidate(image: ConvertedImage, header: Sidecar, place: int) -> Candidate:
    """Return a converted image; what dcm2niix wrote goes before the header."""
    entry = entry_of_converted(image)
    both = entry.sidecar.with_fields({**header.fields, **entry.sidecar.fields})
    merged = Entry(path=entry.path, sidecar=both, part=entry.part, scan=entry.scan)
    series = image.portion.series
    return Candidate(
        label=_number_of(series),
        nameless=_number_of(series),
        entry=merged,
        kind=kind_of_entry(merged),
        order=(place,),
        description=series.description,
    )


def _left(series: DicomSeries, kind: ImageKind) -> UnusedImage:
    return UnusedImage(
        label=_number_of(series),
        nameless=_number_of(series),
        reason=kind.excluded,
        description=series.description,
        sequence=kind.sequence,
    )


def _number_of(series: DicomSeries) -> str:
    return "series without number" if series.number == NO_NUMBER else f"series {series.number}"


def _words(value: Any) -> list[str]:
    if value is None or value == "":
        return []
    listed = [value] if isinstance(value, str) else list(value)
    return [str(word) for word in listed]


def _number(value: Any) -> float | None:
    try:
        return None if value is None or value == "" else float(value)
    except (TypeError, ValueError):
        return None
