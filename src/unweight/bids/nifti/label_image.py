"""A label image and the names of its regions: NIfTI or FreeSurfer's format, and a table of names."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch
from jaxtyping import Int64
from torch import Tensor

from unweight.bids.derivatives.dataset import DESCRIPTION
from unweight.bids.inheritance import applicable
from unweight.bids.names import image_stem, parse_stem
from unweight.bids.nifti.grid import Grid
from unweight.bids.nifti.mgh import is_mgh, open_mgh
from unweight.bids.nifti.volume import Volume, open_volume
from unweight.bids.sidecar import read_sidecar
from unweight.core.errors import InputError
from unweight.files.text_files import lines_of, read_content

LARGEST_LABEL = 2**24  # beyond it whole numbers are not exact in the single precision of a volume
LARGEST_TABLE = 16 * 2**20  # [byte]
MOST_DIGITS = 9
COLUMNS = (("index", "name"), ("ID", "LabelName"))
BACKGROUND = ("0", "Background")  # in the table of FastSurfer
COLOUR_TABLE = ".txt"
COLOUR_ROW = ("number", "name", "R", "G", "B", "A")
LEVELS = 5  # folders that a dataset is deep


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class LabelImage:
    """Regions on a grid.

    Attributes:
        labels: Number of the region of each voxel; 0 is none.
        names: Of the regions, by number in order; a number without a name is its own.
        grid: Where the voxels are.
    """

    labels: Int64[Tensor, "x y z"]
    names: dict[int, str]
    grid: Grid


def read_label_image(path: Path, given: Path | None = None) -> LabelImage:
    """Read a label image, with the names given or those in a file beside it.

    Args:
        path: A NIfTI file of whole numbers.
        given: A `.tsv` or JSON file of names; None for the one of the same name.

    Raises:
        InputError: A file is unusable, or there is no region.
    """
    volume = one_volume(path, "labels")
    labels = _whole_numbers(volume, path)
    return LabelImage(labels=labels, names=_names(path, given, labels), grid=volume.grid)


def one_volume(path: Path, what: str) -> Volume:
    """Read an image of one volume.

    Args:
        path: A NIfTI file.
        what: It is, in the plural or with its article.

    Raises:
        InputError: It is unusable, or holds several volumes.
    """
    volume = open_mgh(path) if is_mgh(path) else open_volume(path)
    if volume.data.ndim != 3:
        raise InputError(
            f"is a series of {volume.data.shape[3]} volumes",
            remedy=f"Give {what} as one volume.",
            path=path,
        )
    return volume


def read_region_names(path: Path) -> dict[int, str] | None:
    """Read the names of label numbers; None if the file is about something else.

    Args:
        path: A `.tsv` file with the columns index and name, or ID and LabelName as of FastSurfer; JSON
            such as {"1": "caudate"}; or a `.txt` file as FreeSurferColorLUT.txt.

    Raises:
        InputError: It cannot be read, or is such a table with an unusable or repeated number.
    """
    if path.suffix == ".json":
        return _names_of_json(path)
    lines = _lines(path)
    return _names_of_colours(lines, path) if path.suffix == COLOUR_TABLE else _names_of_tsv(lines, path)


def _names(labels: Path, given: Path | None, numbers: Int64[Tensor, "x y z"]) -> dict[int, str]:
    """Return the names given, or those in a file beside the labels; numbers stand for what has none."""
    there = _found(numbers)
    named = _names_beside(labels, there) if given is None else read_region_names(given)
    if named is None and given is not None:
        raise InputError(
            "does not name regions",
            remedy='Give a .tsv file with the columns index and name, or JSON such as {"1": "caudate"}.',
            path=given,
        )
    if not there:
        raise InputError("contains no regions, only 0", remedy="Number the regions from 1.", path=labels)
    regions = sorted({*(named or ())} - {0})
    if regions and not {*there} & {*regions}:
        raise InputError(
            f"none of its labels has a name: they are {there[0]} …, and the names are of {regions[0]} …",
            remedy="Give the names of these labels.",
            path=given or labels,
        )
    if given is not None and given.suffix == COLOUR_TABLE:  # of all structures there can be
        named = {index: name for index, name in (named or {}).items() if index in there}
    both = {index: str(index) for index in there} | (named or {})
    return dict(sorted(both.items()))


def _found(labels: Int64[Tensor, "x y z"]) -> list[int]:
    return [int(index) for index in torch.unique(labels).tolist() if index != 0]


def _names_beside(labels: Path, there: Sequence[int]) -> dict[int, str] | None:
    """Return the names in a file of the same name, else those of the dataset that the image lies in."""
    stem = image_stem(labels)
    for ending in (".tsv", ".json"):
        beside = labels.with_name(f"{stem}{ending}")
        named = read_region_names(beside) if beside.is_file() else None
        if named is not None:
            return named
    for table in _inherited(labels, stem or ""):
        named = read_region_names(table)
        if named is not None:  # a table of many datasets: regions that are not there are left out
            return {index: named[index] for index in there if index in named} or None
    return None


def _inherited(labels: Path, stem: str) -> Iterator[Path]:
    """Give the tables of names that apply to an image by the inheritance principle, the nearest first.

    Such as `desc-aseg_dseg.tsv` at the root of a dataset: its entities are among those of the image.
    """
    own = parse_stem(stem)
    if own is None:
        return
    for folder in list(labels.absolute().parents)[:LEVELS]:
        yield from (path for _, path in reversed(applicable(folder, own, ".tsv")))
        if (folder / DESCRIPTION).is_file():
            return


def _names_of_json(path: Path) -> dict[int, str] | None:
    fields = read_sidecar(path)
    if not fields or not all(_is_number(key) for key in fields):
        return None
    return _checked([(key, name if isinstance(name, str) else "") for key, name in fields.items()], path)


def _lines(path: Path) -> list[str]:
    try:
        return lines_of(read_content(path, LARGEST_TABLE))
    except UnicodeDecodeError as error:
        raise InputError("is not text", remedy="Save it as UTF-8.", path=path) from error


def _names_of_tsv(lines: Sequence[str], path: Path) -> dict[int, str] | None:
    rows = [[_unquoted(cell) for cell in line.split("\t")] for line in lines]
    head = next((pair for pair in COLUMNS if rows and {*pair} <= {*rows[0]}), None)
    if head is None or len(rows) < 2:
        return None
    cells = [dict(zip(rows[0], row, strict=False)) for row in rows[1:]]
    pairs = [(row.get(head[0], ""), row.get(head[1], "")) for row in cells]
    return _checked([pair for pair in pairs if pair != BACKGROUND], path)


def _names_of_colours(lines: Sequence[str], path: Path) -> dict[int, str] | None:
    """Read `number name R G B A` in each line; `#` begins a comment."""
    rows = [line.partition("#")[0].split() for line in lines]
    rows = [row for row in rows if row]
    if not rows or any(len(row) != len(COLOUR_ROW) for row in rows):
        return None
    return _checked([(row[0], row[1]) for row in rows], path)


def _unquoted(cell: str) -> str:
    """Return a cell without the quotation marks that some programs put around words."""
    text = cell.strip()
    quoted = len(text) > 1 and text[0] == text[-1] == '"'
    return text[1:-1].strip() if quoted else text


def _checked(pairs: Sequence[tuple[str, str]], path: Path) -> dict[int, str]:
    names: dict[int, str] = {}
    for key, name in pairs:
        if not _is_number(key):
            raise InputError(
                f"{key!r} is not a label number", remedy="Write whole numbers from 0.", path=path
            )
        if not name or any(mark in name for mark in "\t\n\r"):
            raise InputError(f"label {key} has no usable name", remedy="Name it in one line.", path=path)
        if int(key) in names:
            raise InputError(f"names label {int(key)} twice", remedy="Keep one of the two.", path=path)
        names[int(key)] = name
    return names


def _is_number(key: str) -> bool:
    return key.isascii() and key.isdigit() and len(key) <= MOST_DIGITS


def _whole_numbers(volume: Volume, path: Path) -> Int64[Tensor, "x y z"]:
    values = volume.data
    wrong = ~torch.isfinite(values) | (values != values.round()) | (values < 0) | (values > LARGEST_LABEL)
    if bool(wrong.any()):
        raise InputError(
            f"contains invalid labels in {int(wrong.sum())} voxels, such as {float(values[wrong][0]):g}",
            remedy="Give whole numbers from 0, resampled to the grid without interpolation.",
            path=path,
        )
    return values.long()
