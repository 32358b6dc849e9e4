"""`unweight regions`: statistics of maps in each region of a label image."""

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from jaxtyping import Bool
from torch import Tensor

from unweight.bids.inheritance import entry_beside
from unweight.bids.names import image_stem
from unweight.bids.nifti.label_image import LabelImage, one_volume, read_label_image
from unweight.bids.series.mask import read_mask
from unweight.cli.each import each
from unweight.cli.options import Verbosity, options_of
from unweight.cli.terminal import console, table
from unweight.core.errors import InputError, UsageError
from unweight.files.text_files import ABSENT, write_table
from unweight.metrics.regions import RegionRow, region_table
from unweight.prepare.labels_on_grid import RESAMPLED, labels_on_grid

COLUMNS = ("map", "region", "index", "voxels", "missing", "mean", "sd", "median", "unit")
Row = tuple[str, str, int, int, int, float, float, float, str | None]


@final
@dataclass(frozen=True, kw_only=True)
class RegionsOptions:
    """Options of `unweight regions`.

    Attributes:
        maps: NIfTI files of one volume.
        labels: Label image; on another grid, in the space of the scanner.
        names: Names of the labels.
        mask: Not 0 inside.
        erode: Voxels to take off each region.
        out: File of the table.
        verbosity: What is printed.
    """

    maps: tuple[Path, ...]
    labels: Path
    names: Path | None
    mask: Path | None
    erode: int
    out: Path | None
    verbosity: Verbosity


def run(arguments: argparse.Namespace) -> int:
    """Measure every map in every region, show the table and write it; a map that fails stops no other."""
    options = options_of(RegionsOptions, arguments)
    debug = options.verbosity.debug
    if options.erode < 0:
        raise UsageError(f"a region cannot be eroded {options.erode} times", remedy="Give 0 or more.")
    labelled = read_label_image(options.labels, options.names)
    rows: list[Row] = []
    screen = console(quiet=options.verbosity.quiet)

    def work(displayed: str, path: Path) -> None:
        volume = one_volume(path, "a map")
        on_maps = labels_on_grid(labelled, volume.grid)
        if on_maps is not labelled:
            screen.print(f"note: {displayed}: {RESAMPLED}")
        mask = _mask(options, on_maps)
        unit = _unit(path)
        measured = region_table(volume.data, on_maps.labels, on_maps.names, mask, options.erode)
        if all(item.n_voxels == item.n_missing for item in measured):
            raise InputError("has no value in any region", remedy="Erode less, or check both.", path=path)
        rows.extend(_row(displayed, item, unit) for item in measured)

    names = _distinct_names(options.maps)
    code = each(list(zip(names, options.maps, strict=True)), work, debug=debug, what="maps")
    if rows:
        screen.print(table(COLUMNS, [_shown(row) for row in rows]))
    if rows and options.out is not None:
        write_table(options.out, rows, COLUMNS)
    return code


def _mask(options: RegionsOptions, labelled: LabelImage) -> Bool[Tensor, "x y z"] | None:
    """Read the mask on the grid of a map."""
    if options.mask is None:
        return None
    mask = read_mask(options.mask, labelled.grid)
    if not bool((mask & (labelled.labels != 0)).any()):
        raise InputError(
            "the mask does not overlap any region of the label image",
            remedy="Give the brain mask of the same subject and session.",
            path=options.mask,
        )
    return mask


def _distinct_names(paths: Sequence[Path]) -> list[str]:
    """Return the file names, or the paths if two maps have the same name."""
    names = [image_stem(path) or path.name for path in paths]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]


def _unit(path: Path) -> str | None:
    unit = entry_beside(path).sidecar.fields.get("Units")
    return " ".join(unit.split()) or None if isinstance(unit, str) else None


def _row(displayed: str, region: RegionRow, unit: str | None) -> Row:
    counts = (region.index, region.n_voxels, region.n_missing)
    return (displayed, region.name, *counts, region.mean, region.sd, region.median, unit)


def _shown(row: Row) -> tuple[str, ...]:
    return tuple(_text(cell) for cell in row)


def _text(cell: str | float | None) -> str:
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ABSENT
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)
