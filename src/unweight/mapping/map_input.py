"""Maps of T1, T2 and PD as input: a set that `unweight maps` wrote, files named one by one, or arrays."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import final

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from unweight.bids.derivatives.read import read_maps
from unweight.bids.inheritance import entry_beside
from unweight.bids.nifti.grid import Grid, Placement, check_same_grid
from unweight.bids.nifti.volume import open_grid, open_volume
from unweight.bids.read import KEPT_ENTITIES, entities_of, source_of
from unweight.bids.series.mask import read_mask
from unweight.core.errors import InputError
from unweight.core.maps import ParameterMaps, VoxelStatus, assemble_maps, failed_voxels
from unweight.mapping.arrays import digest_of
from unweight.mapping.series import MappedSeries
from unweight.signals.parameters import PD, T1, T2
from unweight.synth.protocols.contrast import Contrast

SPECS = (T1, T2, PD)


@final
@dataclass(frozen=True, kw_only=True)
class MapSource:
    """Maps on disk, and one image that is made of them.

    Attributes:
        contrast: Of the image.
        sidecar: Of a set that `unweight maps` wrote; None if files are named one by one.
        values: Files of T1, T2 and PD, by name.
        deviations: Files of their standard deviations; all, or none.
    """

    contrast: Contrast
    sidecar: Path | None = None
    values: Mapping[str, Path] = field(default_factory=lambda: MappingProxyType({}))
    deviations: Mapping[str, Path] = field(default_factory=lambda: MappingProxyType({}))


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class ReadMaps:
    """Maps in memory, and one image that is made of them.

    Attributes:
        contrast: Of the image.
        maps: T1, T2 and PD.
        entities: BIDS entities of the maps.
        sources: How derivatives name the maps.
        placement: Of their voxels.
        acquired: Fields of the sidecar of the T1 map.
        how: The maps were made: `EstimationAlgorithm`.
        skull_stripped: Whether they show the brain only.
        has_deviation: Whether their standard deviations are known.
    """

    contrast: Contrast
    maps: ParameterMaps
    entities: Mapping[str, str]
    sources: tuple[str, ...]
    placement: Placement | None = None
    acquired: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    how: str = ""
    skull_stripped: bool = False
    has_deviation: bool = True


def read_in_memory(contrast: Contrast, mapped: MappedSeries) -> ReadMaps:
    """Return maps that `unweight.map_weighted` gave as maps that were read.

    Raises:
        UsageError: They are not T1, T2 and PD.
    """
    parts = [(mapped.value(spec.name), mapped.std(spec.name)) for spec in SPECS]
    return ReadMaps(
        contrast=contrast,
        maps=replace(
            mapped.maps,
            specs=SPECS,
            values=torch.stack([value for value, _ in parts], dim=-1),
            std=torch.stack([deviation for _, deviation in parts], dim=-1),
            lower=None,
            upper=None,
            draws=None,
        ),
        entities=mapped.output.entities,
        sources=tuple(digest_of(value) for value, _ in parts),
        placement=mapped.provenance.placement,
        acquired=mapped.provenance.acquired,
        how=mapped.provenance.algorithm,
        skull_stripped=True,
    )


def read_set(contrast: Contrast, folder: Path, sidecar: Path) -> ReadMaps:
    """Return a set that `unweight maps` wrote.

    Args:
        contrast: Of the image that is made of it.
        folder: Root of the derivatives.
        sidecar: Of the T1 map.

    Raises:
        InputError: The set is unfinished, incomplete or was changed.
    """
    stored = read_maps(folder, sidecar, SPECS)
    stem = sidecar.name.removesuffix(f"{T1.suffix}.json")
    paths = [stored.folder / f"{stem}{spec.suffix}.nii.gz" for spec in SPECS]
    fields = entry_beside(paths[0]).sidecar.fields
    return ReadMaps(
        contrast=contrast,
        maps=stored.maps,
        entities={key: stored.entities[key] for key in KEPT_ENTITIES if key in stored.entities},
        sources=tuple(source_of(path, None) for path in paths),
        placement=open_grid(paths[0]).placement,
        acquired=fields,
        how=str(fields.get("EstimationAlgorithm", "")),
        skull_stripped=True,
    )


def read_files(source: MapSource, mask: Path | None, subject: str | None) -> ReadMaps:
    """Return maps that are named one by one.

    Args:
        source: The files.
        mask: A file on their grid, not 0 where to compute; None for everywhere.
        subject: What their subject is called; None for what their names tell.

    Raises:
        InputError: A file is unusable, or on another grid, or not in seconds.
    """
    paths = [source.values[spec.name] for spec in SPECS]
    spreads = [source.deviations[spec.name] for spec in SPECS] if source.deviations else []
    grids, images = [], []
    for path in (*paths, *spreads):
        volume = open_volume(path)
        if volume.data.ndim != 3 or volume.data.is_complex():
            raise InputError(
                "is complex or does not have three dimensions",
                remedy="Give a map that is a single 3D volume of real numbers.",
                path=path,
            )
        grids.append(volume.grid)
        images.append(volume.data.float())
    check_same_grid(grids)
    values = torch.stack(images[: len(SPECS)], dim=-1)
    std = torch.stack(images[len(SPECS) :], dim=-1) if spreads else torch.full_like(values, math.nan)
    status = _status_of(values, mask, grids[0])
    _check_seconds(values, status, paths)
    entities = entities_of(paths) if subject is None else {"sub": subject}
    fields = entry_beside(paths[0]).sidecar.fields
    return ReadMaps(
        contrast=source.contrast,
        maps=assemble_maps(SPECS, values, std, status, like=values, affine=grids[0].affine),
        entities=entities,
        sources=tuple(source_of(path, None) for path in paths),
        placement=grids[0].placement,
        acquired=fields,
        skull_stripped=fields.get("SkullStripped") is True,
        has_deviation=bool(spreads),
    )


def _status_of(values: Float[Tensor, "x y z 3"], mask: Path | None, grid: Grid) -> UInt8[Tensor, "x y z"]:
    """Return where maps have a value; 0 in T1 or T2 and NaN stand for none, and no map is negative."""
    status = torch.full(values.shape[:-1], int(VoxelStatus.OK), dtype=torch.uint8)
    status[(values < 0).any(dim=-1)] = int(VoxelStatus.OUT_OF_RANGE)
    empty: Bool[Tensor, "x y z"] = ~values.isfinite().all(dim=-1) | (values[..., :2] == 0).any(dim=-1)
    status[empty if mask is None else empty | ~read_mask(mask, grid)] = int(VoxelStatus.MASKED)
    return status


def _check_seconds(values: Float[Tensor, "x y z 3"], status: Tensor, paths: Sequence[Path]) -> None:
    """Refuse maps of T1 and T2 that are in milliseconds."""
    inside = values[~failed_voxels(status)]
    for index, spec in enumerate((T1, T2)):
        if len(inside) and float(inside[:, index].median()) > spec.upper:
            raise InputError(
                f"has a median {spec.name} of {float(inside[:, index].median()):g} s, which looks like "
                "milliseconds",
                remedy="Give maps in seconds; units are not converted.",
                path=paths[index],
            )
