"""BrainWeb's crisp heads, from MINC files to labels in the order of `MATERIALS`.

The twenty normal anatomies are C. A. Cocosco, V. Kollokian, R. K.-S. Kwan, A. C. Evans, NeuroImage 5
(1997) S425 and B. Aubert-Broche, M. Griffin, G. B. Pike, A. C. Evans, D. L. Collins, IEEE Trans. Med.
Imaging 25 (2006) 1410. Users download them themselves; nothing of them is kept here.
"""

import gzip
import io
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.fileholders import FileHolder
from nibabel.minc1 import Minc1Image
from numpy.typing import NDArray

from unweight.core.errors import InputError
from unweight.core.memory import check_free
from unweight.heads.labels import upright_anatomy
from unweight.synth.anatomy.labels import Anatomy
from unweight.synth.tissue.materials import INDEX

MINC: Any = Minc1Image  # nibabel's images carry no types
# BrainWeb's labels in its own order; its "around fat" is taken as connective tissue.
BRAINWEB = (
    "background",
    "csf",
    "grey_matter",
    "white_matter",
    "fat",
    "muscle",
    "skin",
    "skull",
    "vessel",
    "connective",
    "dura",
    "marrow",
)
BRAINWEB_NAME = re.compile(r"subject(\d+)_crisp_v\.mnc(\.gz)?")
LARGEST_BYTES = 2**29
FARTHEST_MM, SMALLEST_MM3 = 1e4, 1e-6
NETCDF = b"CDF"
HDF5 = b"\x89HDF"
UNREADABLE = (ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError, EOFError)


def find_brainweb(folder: Path) -> tuple[Path, ...]:
    """Return the crisp heads of a folder, by number.

    Raises:
        InputError: There is none.
    """
    paths = (
        [path for path in folder.iterdir() if BRAINWEB_NAME.fullmatch(path.name)] if folder.is_dir() else []
    )
    if not paths:
        raise InputError(
            "contains no BrainWeb head (subjectNN_crisp_v.mnc.gz)",
            remedy="Download them from BrainWeb (20 normal anatomical models, discrete).",
            path=folder,
        )
    return tuple(sorted(paths, key=lambda path: (int(subject_of(path)), path.name)))


def subject_of(path: Path) -> str:
    """Return the number of the subject in a BrainWeb file name.

    Raises:
        InputError: It is not such a name.
    """
    match = BRAINWEB_NAME.fullmatch(path.name)
    if match is None:
        raise InputError("is not named subjectNN_crisp_v.mnc.gz", path=path)
    return match[1]


def read_brainweb(path: Path) -> Anatomy:
    """Read one BrainWeb crisp head, axes to the right, front and top; about two seconds.

    Raises:
        InputError: The file is missing, damaged, or not a BrainWeb crisp head.
    """
    subject = f"brainweb{subject_of(path)}"
    stored, affine = _read_minc(path)
    return upright_anatomy(_translated(stored, path), affine, subject=subject, path=path)


def _read_minc(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Read the labels as they are stored, and their affine."""
    content = _content(path)
    if content.startswith(HDF5):
        raise InputError("is a MINC 2 file", remedy="Convert it with mincconvert to MINC 1.", path=path)
    if not content.startswith(NETCDF):
        raise InputError("is not a MINC file", remedy="Download it from BrainWeb again.", path=path)
    try:
        with np.errstate(all="ignore"):
            image = MINC.from_file_map({"image": FileHolder(fileobj=io.BytesIO(content))})
            if len(image.shape) != 3 or np.prod(image.shape, dtype=np.float64) > LARGEST_BYTES:
                raise InputError(f"has {image.shape} voxels; a head has three axes", path=path)
            check_free(np.prod(image.shape, dtype=np.float64), "reading it", path)
            labels = _whole(image, path)
            affine = np.asarray(image.affine, dtype=np.float64)
    except UNREADABLE as error:
        raise InputError(
            f"is a damaged MINC file ({error})", remedy="Download it again.", path=path
        ) from error
    # Not a number fails the first; voxels of no size, and axes along one another, the second.
    if not (np.abs(affine) < FARTHEST_MM).all() or abs(np.linalg.det(affine[:3, :3])) < SMALLEST_MM3:
        raise InputError(
            "does not give the positions of its voxels", remedy="Download it again.", path=path
        )
    return labels, affine


def _whole(image: Any, path: Path) -> NDArray[np.uint8]:
    """Return labels as small integers, one slice at a time, if that is what they are."""
    labels = np.empty(image.shape, dtype=np.uint8)
    for index in range(image.shape[0]):
        plane = np.asanyarray(image.dataobj[index])
        whole = np.rint(plane)
        # Not a number fails both.
        if not ((np.abs(plane - whole) < 1e-3) & (whole >= 0) & (whole <= 255)).all():
            raise InputError(
                "contains values that are not labels", remedy="Give the crisp model.", path=path
            )
        labels[index] = whole
    return labels


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            stream = gzip.GzipFile(fileobj=file) if packed else file
            content = stream.read(LARGEST_BYTES + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError("is cut short or damaged", remedy="Download it again.", path=path) from error
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror or error})", path=path) from error
    if len(content) > LARGEST_BYTES:
        raise InputError("is larger than any BrainWeb head", remedy="Check what it is.", path=path)
    return content


def _translated(labels: NDArray[np.uint8], path: Path) -> NDArray[np.uint8]:
    """Translate BrainWeb's labels to the order of `MATERIALS`."""
    if int(labels.max()) >= len(BRAINWEB):
        raise InputError(
            f"holds label {int(labels.max())}; the crisp model ends at {len(BRAINWEB) - 1}",
            remedy="Give the crisp model.",
            path=path,
        )
    table = np.array([INDEX[name] for name in BRAINWEB], dtype=np.uint8)
    translated: NDArray[np.uint8] = table[labels]
    return translated
