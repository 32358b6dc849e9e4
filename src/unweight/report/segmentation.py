"""The section of a page with segmentations: picture, volumes, and what the maps are in each structure.

A structure counts where a voxel of the maps can be used. Left and right are pooled in the values of maps,
and stand beside each other in the volumes.
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from jaxtyping import Int64
from torch import Tensor

from unweight.bids.derivatives.stored import (
    StoredSet,
    StoredSubject,
    labels_for,
    read_maps,
    read_table,
)
from unweight.bids.nifti.label_image import read_label_image
from unweight.core.errors import UnweightError
from unweight.core.maps import VoxelStatus
from unweight.metrics.brain_labels import BRAIN_LABELS, STRUCTURES, sides_of
from unweight.metrics.regions import RegionRow, region_table
from unweight.registry import quantity
from unweight.report.charts import number
from unweight.report.document import figure_of
from unweight.report.shown_set import unit_shown

WHOLE_BRAIN = "intracranial"
VOLUME_COLUMNS = ("structure", "left [ml]", "right [ml]", "difference")


def segmentations(subject: StoredSubject) -> list[Mapping[str, object]]:
    """Return what the page shows of each segmentation of a subject."""
    return [_shown(item, subject) for item in subject.segmentations]


def _shown(stored: StoredSet, subject: StoredSubject) -> Mapping[str, object]:
    entities = {key: label for key, label in stored.name.entities.items() if key != "sub"}
    problems = list(stored.faults)
    notes = stored.own.get("Notes")
    problems += [str(note) for note in notes] if isinstance(notes, list) else []
    columns, rows = _values(stored, subject, problems)
    return {
        "title": " ".join(f"{key}-{label}" for key, label in entities.items()),
        "picture": figure_of(stored.images[0].path, subject.label),
        "problems": problems,
        "columns": VOLUME_COLUMNS,
        "volumes": list(_volumes(stored)),
        "of_maps": columns,
        "means": rows,
        "algorithm": str(stored.own.get("Algorithm", "")),
    }


def _volumes(stored: StoredSet) -> Iterator[tuple[str, ...]]:
    """Give the volumes of the table beside the labels, left and right in one row."""
    table = stored.sidecar.with_name(stored.sidecar.name.replace("_dseg.json", "_volumes.tsv"))
    volumes = {row.get("name", ""): _number(row.get("volume_ml")) for row in read_table(table)}
    for structure, left, right, difference in sides_of(volumes):
        if difference is not None:
            yield (structure.replace("_", " "), number(left), number(right), f"{difference:+.1f} %")
    for name in ("csf", WHOLE_BRAIN):
        if name in volumes:
            yield (name, f"{number(volumes[name])} (both sides)", "", "")


def _values(
    stored: StoredSet, subject: StoredSubject, problems: list[str]
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return mean and standard deviation of each map in each structure, of the sets on this grid."""
    path = stored.images[0].path
    on_grid = [item for item in subject.sets if labels_for(item, subject) == path]
    columns, values = ["structure"], dict[str, list[str]]()
    if not on_grid:
        return (), []
    try:
        labels = _both_sides(path)
        for item in on_grid:
            for title, rows in _regions(item, labels):
                columns.append(title)
                for row in rows:
                    text = "–" if math.isnan(row.mean) else f"{number(row.mean)} ± {number(row.sd)}"
                    values.setdefault(row.name, []).append(text)
    except UnweightError as error:
        problems.append(f"{path.name}: {error}")
        return (), []
    table = [(name.replace("_", " "), *cells) for name, cells in values.items()]
    return tuple(columns), table if len(columns) > 1 else []


def _both_sides(path: Path) -> Int64[Tensor, "x y z"]:
    """Return the structure of each voxel, by place in `STRUCTURES` from 1."""
    labels = read_label_image(path).labels
    pooled = torch.zeros_like(labels)
    for label in BRAIN_LABELS:
        pooled[labels == label.index] = STRUCTURES.index(label.structure) + 1
    return pooled


def _regions(
    stored: StoredSet, labels: Int64[Tensor, "x y z"]
) -> Iterator[tuple[str, tuple[RegionRow, ...]]]:
    """Give each map of a set, with its unit, in each structure."""
    names = dict(enumerate(STRUCTURES, start=1))
    maps, status = read_maps(stored)
    usable = status == int(VoxelStatus.OK)
    rec = stored.name.entities.get("rec", "")
    for image, values in maps:
        title = " ".join(part for part in (quantity(image.name.suffix).symbol, rec) if part)
        unit = unit_shown(image.unit)
        yield f"{title} [{unit}]" if unit else title, region_table(values, labels, names, usable)


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan
