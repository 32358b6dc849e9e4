"""`unweight regions`: what maps say of each region of a label image on their grid."""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Int64
from torch import Tensor

from unweight.bids.grid import check_same_grid
from unweight.bids.inheritance import entry_beside
from unweight.bids.names import image_stem
from unweight.bids.sidecar import read_sidecar
from unweight.bids.stack import read_mask
from unweight.bids.table import ABSENT, write_table
from unweight.bids.volume import Volume, open_volume
from unweight.cli.terminal import console, table
from unweight.core.errors import InputError
from unweight.evaluate.regions import RegionRow, found_regions, region_table

COLUMNS = ("map", "region", "index", "voxels", "missing", "mean", "sd", "median", "unit")
LARGEST_LABEL = 2**24  # beyond it whole numbers are not exact in the single precision of a volume
LARGEST_TABLE = 16 * 2**20  # [byte]
MOST_DIGITS = 9
Row = tuple[str, str, int, int, int, float, float, float, str | None]


def run(arguments: argparse.Namespace) -> int:
    """Measure every map in every region, show the table and write it if asked to."""
    labelled = _one_volume(arguments.labels, "labels")
    labels = _whole_numbers(labelled, arguments.labels)
    mask = None if arguments.mask is None else read_mask(arguments.mask, labelled.grid)
    names = _names(arguments.labels, arguments.names, labels)
    rows: list[Row] = []
    for path, shown in zip(arguments.maps, _distinct_names(arguments.maps), strict=True):
        volume = _one_volume(path, "a map")
        check_same_grid([labelled.grid, volume.grid])
        unit = _unit(path)
        measured = region_table(volume.data, labels, names, mask, arguments.erode)
        rows += [_row(shown, one, unit) for one in measured]
    console(quiet=arguments.quiet).print(table(COLUMNS, [_shown(row) for row in rows]))
    if arguments.out is not None:
        write_table(arguments.out, rows, COLUMNS)
    return 0


def read_region_names(path: Path) -> dict[int, str] | None:
    """Read the names of label numbers; None if the file is about something else.

    Args:
        path: A `.tsv` file with the columns index and name, or JSON such as {"1": "caudate"}.

    Raises:
        InputError: It cannot be read, or is such a table with an unusable or repeated number.
    """
    return _names_of_json(path) if path.suffix == ".json" else _names_of_tsv(path)


def _names(labels: Path, given: Path | None, numbers: Int64[Tensor, "x y z"]) -> dict[int, str]:
    """Return the names given, or those in a file beside the labels; numbers stand for what has none."""
    named = _names_beside(labels) if given is None else read_region_names(given)
    if named is None and given is not None:
        raise InputError(
            "does not name regions",
            remedy='Give a .tsv file with the columns index and name, or JSON such as {"1": "caudate"}.',
            path=given,
        )
    unnamed = {index: str(index) for index in found_regions(numbers)}
    both = unnamed | (named or {})
    if not both:
        raise InputError("holds no region, only 0", remedy="Number the regions from 1.", path=labels)
    return dict(sorted(both.items()))


def _names_beside(labels: Path) -> dict[int, str] | None:
    stem = image_stem(labels)
    for ending in (".tsv", ".json"):
        beside = labels.with_name(f"{stem}{ending}")
        named = read_region_names(beside) if beside.is_file() else None
        if named is not None:
            return named
    return None


def _names_of_json(path: Path) -> dict[int, str] | None:
    fields = read_sidecar(path)
    if not fields or not all(_is_number(key) for key in fields):
        return None
    return _checked([(key, name if isinstance(name, str) else "") for key, name in fields.items()], path)


def _names_of_tsv(path: Path) -> dict[int, str] | None:
    try:
        if path.stat().st_size > LARGEST_TABLE:
            raise InputError("is too large for a table of regions", remedy="Check the path.", path=path)
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError("is not UTF-8 text", remedy="Save it as UTF-8.", path=path) from error
    except OSError as error:
        raise InputError(
            f"cannot be read ({error.strerror or error})", remedy="Check the path.", path=path
        ) from error
    rows = [[cell.strip() for cell in line.split("\t")] for line in lines if line.strip()]
    if len(rows) < 2 or not {"index", "name"} <= set(rows[0]):
        return None
    cells = [dict(zip(rows[0], row, strict=False)) for row in rows[1:]]
    return _checked([(row.get("index", ""), row.get("name", "")) for row in cells], path)


def _checked(pairs: Sequence[tuple[str, str]], path: Path) -> dict[int, str]:
    names: dict[int, str] = {}
    for key, name in pairs:
        if not _is_number(key):
            raise InputError(f"{key!r} is no label number", remedy="Write whole numbers from 0.", path=path)
        if not name or any(mark in name for mark in "\t\n\r"):
            raise InputError(f"label {key} has no usable name", remedy="Name it in one line.", path=path)
        if int(key) in names:
            raise InputError(f"names label {int(key)} twice", remedy="Keep one of the two.", path=path)
        names[int(key)] = name
    return names


def _is_number(key: str) -> bool:
    return key.isascii() and key.isdigit() and len(key) <= MOST_DIGITS


def _one_volume(path: Path, what: str) -> Volume:
    volume = open_volume(path)
    if volume.data.ndim != 3:
        raise InputError(
            f"is a series of {volume.data.shape[3]} volumes",
            remedy=f"Give {what} as one volume.",
            path=path,
        )
    return volume


def _whole_numbers(volume: Volume, path: Path) -> Int64[Tensor, "x y z"]:
    values = volume.data
    wrong = ~torch.isfinite(values) | (values != values.round()) | (values < 0) | (values > LARGEST_LABEL)
    if bool(wrong.any()):
        raise InputError(
            f"holds what is no label in {int(wrong.sum())} voxels, {float(values[wrong][0]):g} for one",
            remedy="Give whole numbers from 0, brought onto the grid without interpolation.",
            path=path,
        )
    return values.long()


def _distinct_names(paths: Sequence[Path]) -> list[str]:
    """Return the file names, or the paths if two maps have the same name."""
    names = [image_stem(path) or path.name for path in paths]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]


def _unit(path: Path) -> str | None:
    unit = entry_beside(path).sidecar.fields.get("Units")
    return " ".join(unit.split()) or None if isinstance(unit, str) else None


def _row(shown: str, region: RegionRow, unit: str | None) -> Row:
    counts = (region.index, region.n_voxels, region.n_missing)
    return (shown, region.name, *counts, region.mean, region.sd, region.median, unit)


def _shown(row: Row) -> tuple[str, ...]:
    return tuple(_text(cell) for cell in row)


def _text(cell: str | float | None) -> str:
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ABSENT
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)
