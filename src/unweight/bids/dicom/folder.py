"""The DICOM files of a folder: images that can be used, and files that should hold one and do not."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import pydicom

from unweight.bids.dicom.header import DicomImage, read_image, starts_like_dicom
from unweight.core.errors import InputError
from unweight.core.text import natural_key

LOOKED_AT = 200
DEPTH = 5
MOST_NAMED = 5
# Endings under which images are stored, beside those of the images that were found.
ENDINGS = {"", ".dcm", ".ima", ".dicom"}
# What media, viewers and repositories keep beside images without an ending.
KNOWN_OTHERS = {"DICOMDIR", "LOCKFILE", "VERSION", "README", "LICENSE", "CHANGES", "MAKEFILE"}


@final
@dataclass(frozen=True, kw_only=True)
class LeftFile:
    """A file that could not be used.

    Attributes:
        name: Its path within the folder.
        reason: Why not.
    """

    name: str
    reason: str


@final
@dataclass(frozen=True, kw_only=True)
class DicomFolder:
    """What lies in a folder.

    Attributes:
        path: The folder.
        images: That can be used, each once.
        left: Files that should hold an image, and cannot be used.
        n_copies: Files that are copies of others.
    """

    path: Path
    images: tuple[DicomImage, ...]
    left: tuple[LeftFile, ...]
    n_copies: int

    @property
    def faults(self) -> tuple[str, ...]:
        """Files that could not be used, in a sentence; nothing if there are none."""
        if not self.left:
            return ()
        total = len(self.images) + len(self.left)
        named = "; ".join(f"{item.name}, {item.reason}" for item in self.left[:MOST_NAMED])
        more = len(self.left) - MOST_NAMED
        rest = f"; and {more} more" if more > 0 else ""
        return (f"{len(self.left)} of {total} files could not be used: {named}{rest}",)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a careful reader should know."""
        return (f"{self.n_copies} files are copies of others; each is used once",) if self.n_copies else ()


def looks_like_dicom(folder: Path) -> bool:
    """Whether any of the first files in a folder, or below it, is DICOM."""
    for n_seen, path in enumerate(_walk(folder)):
        if n_seen >= LOOKED_AT:
            return False
        if starts_like_dicom(path):
            return True
    return False


def scan(folder: Path) -> DicomFolder:
    """Read the headers of all files in a folder and below."""
    images: list[DicomImage] = []
    failed: list[tuple[Path, str]] = []
    for path in _walk(folder):
        if path.name.startswith(".") or path.name.upper() in KNOWN_OTHERS:
            continue
        try:
            image = read_image(path)
        except InputError as error:
            failed.append((path, error.problem))
            continue
        if image is not None:
            images.append(image)
    endings = ENDINGS | {image.path.suffix.lower() for image in images}
    left = [(path, why) for path, why in failed if _should_hold_an_image(path, endings)]
    single, differing = _each_once(images)
    left += [(path, "another file has the same UID and different pixels") for path in differing]
    return DicomFolder(
        path=folder,
        images=tuple(single),
        left=tuple(LeftFile(name=path.relative_to(folder).as_posix(), reason=why) for path, why in left),
        n_copies=len(images) - len(single) - len(differing),
    )


def _walk(folder: Path, depth: int = DEPTH) -> Iterator[Path]:
    """Give the files of a folder, its own before those below; broken links and closed folders too."""
    try:
        content = sorted(folder.iterdir(), key=natural_key)
    except OSError:
        yield folder
        return
    yield from (path for path in content if path.is_file() or (path.is_symlink() and not path.exists()))
    if depth > 0:
        for path in content:
            if path.is_dir() and not path.is_symlink():
                yield from _walk(path, depth - 1)


def _should_hold_an_image(path: Path, endings: set[str]) -> bool:
    """Whether an unusable file was meant to be an image, as far as its start and its name say."""
    ending = path.suffix.lower()
    return (
        starts_like_dicom(path)
        or ending in endings
        or ending[1:].isdecimal()
        or not os.access(path, os.R_OK)
    )


def _each_once(images: Sequence[DicomImage]) -> tuple[list[DicomImage], list[Path]]:
    """Return each image once, and files that have the identity of another but other pixels."""
    first: dict[tuple[object, ...], DicomImage] = {}
    differing: list[Path] = []
    for image in images:
        identity = (
            image.instance, image.series, image.position, image.inversion_times, image.echo_times,
            image.part, image.acquired, image.instance_number,
        )  # fmt: skip
        known = first.setdefault(identity, image)
        if known is not image and not _same_pixels(known.path, image.path):
            differing.append(image.path)
    return list(first.values()), differing


def _same_pixels(path: Path, other: Path) -> bool:
    return bool(pydicom.dcmread(path).PixelData == pydicom.dcmread(other).PixelData)
