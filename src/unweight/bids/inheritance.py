"""The inheritance principle: sidecars higher in a BIDS tree apply to all files below that match.

A JSON file applies to an image if it lies in the image's folder or above, has the same suffix, and
has no entity that the image lacks or has otherwise. Nearer folders win; within one folder the file
with more entities wins, and equals must not contradict each other.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

from unweight.bids.folders import listed
from unweight.bids.names import BidsName, image_stem, parse_stem
from unweight.bids.series.part import Entry
from unweight.bids.sidecar import Part, Sidecar, part_of, read_sidecar
from unweight.core.errors import InputError

PARTS = {part.value: part for part in Part}
# What dcm2niix appends to the names of images that are not magnitude.
CONVERTER_ENDINGS = {"ph": Part.PHASE, "real": Part.REAL, "imaginary": Part.IMAGINARY}
CONVERTER_ENDING = re.compile(r".*_(ph|real|imaginary)[a-z]?")


def entry_beside(image: Path) -> Entry:
    """Return an image with the one JSON file beside it that has its name, if there is one."""
    stem = image_stem(image)
    beside = image.with_name(f"{stem}.json")
    if stem is None or not _is_there(beside):
        return _entry(image, Sidecar(image=image))
    fields = read_sidecar(beside)
    return _entry(image, Sidecar(image=image, fields=fields, origins=dict.fromkeys(fields, beside)))


def entry_in_tree(root: Path, image: Path) -> Entry:
    """Return an image of a BIDS tree with everything it inherits.

    Raises:
        InputError: A sidecar is unusable, or two of one rank contradict each other.
    """
    stem = image_stem(image)
    name = None if stem is None else parse_stem(stem)
    if name is None:
        return entry_beside(image)
    fields: dict[str, object] = {}
    origins: dict[str, Path] = {}
    for folder in _folders(root, image):
        ranks: dict[str, int] = {}
        for rank, path in applicable(folder, name):
            for key, value in _fields(path).items():
                if ranks.get(key) == rank and fields[key] != value:
                    raise InputError(
                        f"{key} contradicts {origins[key].name}, which applies to {image.name} as well",
                        remedy="Keep one of the two.",
                        path=path,
                    )
                fields[key], origins[key], ranks[key] = value, path, rank
    return _entry(image, Sidecar(image=image, fields=fields, origins=origins))


def _fields(path: Path) -> Mapping[str, object]:
    """Read a file that many images inherit: as long as it does not change it is in memory once."""
    try:
        status = path.stat()
    except OSError:
        return read_sidecar(path)  # which says what is wrong
    return _unchanged(path, (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))


@lru_cache(maxsize=4)
def _unchanged(path: Path, _: tuple[int, ...]) -> Mapping[str, object]:
    return MappingProxyType(read_sidecar(path))


def _is_there(path: Path) -> bool:
    """Whether something has this name, a link to nothing included; no file has an impossible name."""
    try:
        path.lstat()
    except (OSError, ValueError) as error:
        return isinstance(error, PermissionError)
    return True


def _folders(root: Path, image: Path) -> list[Path]:
    """Return the folders from the root down to that of the image."""
    folders = [root]
    for part in image.parent.relative_to(root).parts:
        folders.append(folders[-1] / part)
    return folders


def applicable(folder: Path, name: BidsName, ending: str = ".json") -> list[tuple[int, Path]]:
    """Return the files of one folder that apply to an image, by their number of entities, fewest first."""
    result: list[tuple[int, Path]] = []
    for path in listed(folder):
        if not path.name.endswith(f"{name.suffix}{ending}"):
            continue
        other = parse_stem(path.name.removesuffix(ending))
        if other is None or other.suffix != name.suffix:
            continue
        if all(name.entities.get(key) == label for key, label in other.entities.items()):
            result.append((len(other.entities), path))
    return sorted(result)


def _entry(image: Path, sidecar: Sidecar) -> Entry:
    """Decide which part the image holds: its name says it, or else its sidecar."""
    stem = image_stem(image) or image.name
    name = parse_stem(stem)
    named = None if name is None else PARTS.get(name.entities.get("part", ""))
    part = part_of(sidecar)
    ending = CONVERTER_ENDING.fullmatch(stem)
    return Entry(
        path=image,
        sidecar=sidecar,
        part=named or part or (CONVERTER_ENDINGS[ending[1]] if ending else None),
    )
