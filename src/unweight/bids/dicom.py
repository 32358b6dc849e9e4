"""A folder of DICOM files, converted by dcm2niix to NIfTI and sidecars in a temporary folder.

dcm2niix is told to leave out names, dates and numbers of the person (`-ba y`). Series whose inversion
times differ from image to image are taken apart first.
"""

import logging
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dcm2niix

from unweight.bids.dicom_header import MAGIC, PREAMBLE, DicomFacts, dicom_facts
from unweight.core.errors import InputError

LOG = logging.getLogger(__name__)

LOOKED_AT = 200
DEPTH = 5
LONGEST_SECONDS = 1800.0
# Exit code of dcm2niix where a folder holds no DICOM image.
NOTHING_CONVERTED = 2


def looks_like_dicom(folder: Path) -> bool:
    """Whether any of the first files in a folder, or below it, is DICOM."""
    for n_seen, path in enumerate(_files(folder)):
        if n_seen >= LOOKED_AT:
            return False
        if is_dicom(path):
            return True
    return False


def is_dicom(path: Path) -> bool:
    """Whether a file starts as DICOM files do."""
    try:
        with path.open("rb") as file:
            return file.read(PREAMBLE + len(MAGIC))[PREAMBLE:] == MAGIC
    except OSError:
        return False


def _files(folder: Path, depth: int = DEPTH) -> Iterator[Path]:
    """Give the regular files of a folder, its own before those of the folders below."""
    try:
        content = sorted(folder.iterdir())
    except OSError:
        return
    yield from (path for path in content if path.is_file())
    if depth > 0:
        for path in content:
            if path.is_dir() and not path.is_symlink():
                yield from _files(path, depth - 1)


@contextmanager
def converted(folder: Path, *, longest: float = LONGEST_SECONDS) -> Iterator[tuple[Path, ...]]:
    """Convert a folder of DICOM files; the images live as long as the context.

    Args:
        folder: DICOM files, in it or below.
        longest: Seconds after which the conversion is given up.

    Raises:
        InputError: Nothing could be converted. Errors about an image within the context are told as
            errors of the folder, for the image is gone when they are read.
    """
    with tempfile.TemporaryDirectory(prefix="unweight-") as temporary:
        target = Path(temporary) / "images"
        target.mkdir()
        groups = _taken_apart(folder)
        if groups is None:
            _convert(folder, folder, target, longest)
        else:
            for index, paths in enumerate(groups):
                apart = Path(temporary) / f"{index:04d}"
                apart.mkdir()
                for number, path in enumerate(paths):
                    (apart / f"{number:06d}").symlink_to(path.absolute())
                _convert(folder, apart, target, longest)
        images = tuple(sorted(target.glob("*.nii")))
        if not images:
            raise _failed(folder, "no image could be converted from these DICOM files")
        try:
            yield images
        except InputError as error:
            if error.path is None or not error.path.is_relative_to(target):
                raise
            problem = f"{error.path.name}, converted from it, is not usable: {error.problem}"
            raise type(error)(problem, remedy=error.remedy, path=folder) from error


def _taken_apart(folder: Path) -> list[list[Path]] | None:
    """Return the files in groups of one series and one inversion time; None if no series needs it."""
    times: dict[str, set[str]] = {}
    groups: dict[DicomFacts | None, list[Path]] = {}
    for path in _files(folder):
        facts = dicom_facts(path)
        groups.setdefault(facts, []).append(path)
        if facts is not None:
            times.setdefault(facts.series, set()).add(facts.inversion_time)
    needed = any(len(found) > 1 for found in times.values())
    return list(groups.values()) if needed else None


def _failed(folder: Path, problem: str) -> InputError:
    return InputError(problem, remedy="Check that they are MR images, and complete.", path=folder)


def _convert(folder: Path, source: Path, target: Path, longest: float) -> None:
    """Run the converter; finding nothing it can convert is no error here."""
    call = [str(dcm2niix.bin), "-ba", "y", "-b", "y", "-z", "n", "-d", str(DEPTH), "-f", "series-%s"]
    call += ["-o", str(target), str(source.absolute())]
    try:
        done = subprocess.run(call, capture_output=True, timeout=longest, check=False)
    except subprocess.TimeoutExpired as error:
        raise InputError(
            f"its conversion took more than {longest:g} s", remedy="Give fewer files.", path=folder
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
    if done.returncode not in (0, NOTHING_CONVERTED):
        last = [line.strip() for line in output.splitlines() if line.strip()][-1:]
        raise _failed(folder, f"dcm2niix failed with exit code {done.returncode}: {' '.join(last)}")
