"""A folder of DICOM files, converted by dcm2niix to NIfTI and sidecars in a temporary folder.

dcm2niix is set to leave out names, dates and numbers of the person (`-ba y`). What is converted, in
which order, and what is left out is decided before, from the headers; what dcm2niix warns of is passed on.
"""

import logging
import math
import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import final

import dcm2niix
import pydicom
from nibabel.nifti1 import Nifti1Image
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from unweight.bids.dicom.folder import scan
from unweight.bids.dicom.header import NO_NUMBER, DicomImage
from unweight.bids.dicom.series import (
    DicomSeries,
    Portion,
    chosen_series,
    portions_of,
    series_of,
    without_lost_slices,
)
from unweight.core.errors import InputError
from unweight.core.memory import check_free
from unweight.core.text import natural_key

LOG = logging.getLogger(__name__)

LONGEST_SECONDS = 1800.0
COPIES = 2  # of decoded pixels that dcm2niix has in memory
# Exit codes of dcm2niix where a folder holds no DICOM image, and where some files were not converted.
NOTHING_CONVERTED, IN_PART = 2, 8
MESSAGE = re.compile(r"\b(Warning|Error): *(.+)")
# Messages of dcm2niix on files without a fault that matters for maps.
HARMLESS = re.compile(
    r"Patient Position|slice tim|autoBids|bvec|b-value|diffusion|anonymi|Check that 2D|mirror|"
    r"phase encoding|not specified|Siemens XA|Converted \d+ of|ambiguous|Saving uncompressed|"
    r"GE protocol data block|"
    r"0018,1310|reorient",
    re.IGNORECASE,
)


@final
@dataclass(frozen=True, kw_only=True)
class ConvertedImage:
    """One image that was converted.

    Attributes:
        path: NIfTI file; it lives as long as the conversion.
        portion: What it was made of.
    """

    path: Path
    portion: Portion


@final
@dataclass(frozen=True, kw_only=True)
class Conversion:
    """The outcome of a folder.

    Attributes:
        images: In the order of acquisition.
        series: All that are there, converted or not.
        faults: What is missing, sentence by sentence.
        notes: What a careful reader should know.
        n_lost: Volumes that were left out.
    """

    images: tuple[ConvertedImage, ...]
    series: tuple[DicomSeries, ...]
    faults: tuple[str, ...]
    notes: tuple[str, ...]
    n_lost: int


@contextmanager
def converted(
    folder: Path,
    *,
    numbers: Sequence[int] | None = None,
    by_hand: bool = False,
    keep: Callable[[DicomSeries], bool] | None = None,
    longest: float = LONGEST_SECONDS,
) -> Iterator[Conversion]:
    """Convert a folder of DICOM files; the images live as long as the context.

    Args:
        folder: DICOM files, in it or below.
        numbers: Of the series to convert; all, if none are given.
        by_hand: Whether times are given by the caller, so that the order of volumes matters.
        keep: Tells which of these series are converted; there may then be none. None for all.
        longest: Seconds after which a conversion is given up.

    Raises:
        InputError: Nothing could be converted. Errors about an image within the context are raised as
            errors of the folder, for the image is gone when they are read.
    """
    dicom_folder = scan(folder)
    series = series_of(dicom_folder.images)
    try:
        portions = [
            portion
            for dicom_series in chosen_series(series, numbers)
            if keep is None or keep(dicom_series)
            for portion in portions_of(dicom_series, by_hand=by_hand)
        ]
    except InputError as error:
        raise type(error)(error.problem, remedy=error.remedy, path=folder) from error
    portions, lost = without_lost_slices(portions)
    notes = list(dicom_folder.notes)
    with tempfile.TemporaryDirectory(prefix="unweight-") as temporary:
        images: list[ConvertedImage] = []
        for index, (name, portion) in enumerate(zip(_names(portions), portions, strict=True)):
            place = Path(temporary) / f"{index:04d}"
            result, remarks = _convert(folder, (name, portion), place, longest)
            text = "".join(f"; dcm2niix: {remark}" for remark in remarks)
            n_made = sum(_slices_in(item.path) for item in result)
            if n_made < _n_slices(portion):
                lost.append(
                    f"{portion.series.name} is excluded: {n_made} of {_n_slices(portion)} slices could be "
                    f"converted{text}"
                )
                continue
            images += result
            notes += [f"{name}{text}"] if text else []
        faults = (*dicom_folder.faults, *lost)
        if not images and (keep is None or portions or not series):
            raise _failed(
                folder, "; ".join(["no image could be converted from these DICOM files", *faults])
            )
        try:
            yield Conversion(
                images=tuple(images),
                series=series,
                faults=faults,
                notes=tuple(dict.fromkeys(notes)),
                n_lost=len(lost),
            )
        except InputError as error:
            if error.path is None or not error.path.is_relative_to(temporary):
                raise
            problem = f"{error.path.name}, converted from it, is invalid: {error.problem}"
            raise type(error)(problem, remedy=error.remedy, path=folder) from error


def _failed(folder: Path, problem: str) -> InputError:
    return InputError(problem, remedy="Check that they are MR images, and complete.", path=folder)


def _slices_in(path: Path) -> int:
    shape = Nifti1Image.from_filename(path).shape
    return math.prod(shape[2:])


def _n_slices(portion: Portion) -> int:
    """Return how many slices must come out of a conversion at least."""
    return sum(image.n_frames for image in portion.images)


def _names(portions: Sequence[Portion]) -> list[str]:
    """Return a name for each portion: of its series, and a count where a series has several."""
    counts = Counter(portion.series.number for portion in portions)
    known: Counter[int] = Counter()
    names = []
    for portion in portions:
        number = portion.series.number
        known[number] += 1
        name = "series" if number == NO_NUMBER else f"series-{number}"
        names.append(f"{name}_{known[number]}" if counts[number] > 1 else name)
    return names


def _convert(
    folder: Path, named: tuple[str, Portion], place: Path, longest: float
) -> tuple[list[ConvertedImage], list[str]]:
    """Convert one portion under a name; return its images and what dcm2niix warned of."""
    name, portion = named
    decoded = sum(image.n_bytes for image in portion.images)
    check_free(COPIES * decoded, f"the conversion of {name}", path=folder)
    source, target = place / "dicom", place / "images"
    source.mkdir(parents=True)
    target.mkdir()
    for number, image in enumerate(portion.images):
        _put(image, source / f"{number:06d}")
    output = _run(folder, source, (target, name), longest)
    remarks = [
        match[2].replace(f"{source}/", "").strip()
        for line in output.splitlines()
        if (match := MESSAGE.search(line)) and not HARMLESS.search(line)
    ]
    paths = sorted(target.glob("*.nii"), key=natural_key)
    return [ConvertedImage(path=path, portion=portion) for path in paths], list(dict.fromkeys(remarks))


def _put(image: DicomImage, path: Path) -> None:
    """Link a file to where it is converted; dcm2niix reads all transfer syntaxes but the deflated one."""
    if image.syntax != DeflatedExplicitVRLittleEndian:
        path.symlink_to(image.path.absolute())
        return
    dataset = pydicom.dcmread(image.path)
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.save_as(path, implicit_vr=False, little_endian=True)


def _run(folder: Path, source: Path, to: tuple[Path, str], longest: float) -> str:
    """Run the converter; finding nothing it can convert is no error here."""
    target, name = to
    call = [str(dcm2niix.bin), "-ba", "y", "-b", "y", "-z", "n", "-f", name]
    call += ["-o", str(target), str(source)]
    try:
        done = subprocess.run(call, capture_output=True, timeout=longest, check=False)
    except subprocess.TimeoutExpired as error:
        raise InputError(
            f"conversion by dcm2niix took more than {longest:g} s", remedy="Give fewer files.", path=folder
        ) from error
    except OSError as error:
        raise InputError(
            f"dcm2niix could not be started ({error.strerror})",
            remedy="Install the package dcm2niix again.",
            path=folder,
        ) from error
    output = (done.stdout + done.stderr).decode("utf-8", errors="replace")
    for line in output.splitlines():
        LOG.debug("dcm2niix: %s", line)
    if done.returncode not in (0, NOTHING_CONVERTED, IN_PART):
        last = [line.strip() for line in output.splitlines() if line.strip()][-1:]
        raise _failed(folder, f"dcm2niix failed with exit code {done.returncode}: {' '.join(last)}")
    return output
