"""Maps known beside a series that a signal model takes: B1, or a parameter that is then held."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from unweight.bids.field_maps import in_percent
from unweight.bids.nifti.grid import Grid, check_same_grid
from unweight.bids.nifti.volume import Volume, open_grid, open_volume
from unweight.bids.read import Series, source_of
from unweight.core.acquisition import Acquisition
from unweight.core.errors import InputError, UsageError
from unweight.core.parameter import ParameterSpec
from unweight.prepare.lattice import PlacedImage, VoxelGrid
from unweight.prepare.resample import resampled

PERCENT = 100.0
SMOOTH = ("B1", "B")  # fields that may lie on another grid than the images


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class KnownMaps:
    """Known maps, as files or as arrays.

    Attributes:
        files: By the name of the parameter.
        percent: Names of those in percent.
        arrays: Maps in memory, by name.
    """

    files: tuple[tuple[str, str], ...] = ()
    percent: tuple[str, ...] = ()
    arrays: Mapping[str, Tensor] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        unknown = set(self.percent) - set(self.names)
        if unknown:
            raise UsageError(
                f"--percent {min(unknown)}: no map of {min(unknown)} was given",
                remedy=f"Add --known {min(unknown)}=FILE.",
            )

    @property
    def names(self) -> tuple[str, ...]:
        """Of the maps."""
        return (*dict(self.files), *self.arrays)

    def sources(self, root: Path | None) -> tuple[str, ...]:
        """Return how derivatives name the files: by BIDS URI within the tree, else by content."""
        return tuple(source_of(Path(path), root) for path in dict(self.files).values())

    def check(self, series: Series, specs: Sequence[ParameterSpec], by: str = "this model") -> None:
        """Refuse maps that are of no use, not there, or on another grid.

        Args:
            series: On whose grid they must lie.
            specs: What is of use.
            by: What takes them.

        Raises:
            UsageError: There is no use for a map of a name.
            InputError: A map cannot be read, or one that is no smooth field lies on another grid.
        """
        useful = [spec.name for spec in specs]
        for name in self.names:
            if name not in useful:
                raise UsageError(
                    f"a map of {name} is not used by {by}",
                    remedy=f"It uses {', '.join(useful)}." if useful else "Omit it.",
                )
        for name, text in self.files:
            grid = open_grid(Path(text))
            if name not in SMOOTH:
                check_same_grid([open_grid(series.files[0]), grid])

    def added_to(
        self, acquisition: Acquisition, specs: Sequence[ParameterSpec], series: Series | None = None
    ) -> tuple[Acquisition, tuple[str, ...]]:
        """Return the acquisition with the maps, and what was resampled, in sentences.

        Voxels in which a map has no value are out of the mask. Smooth fields on another grid are resampled
        onto that of the images.

        Args:
            acquisition: Of the series.
            specs: What they can be, with the range that is believed.
            series: What was read, where maps are files.

        Raises:
            InputError: A map is unusable, or not of the unit it should have.
        """
        maps: dict[str, Tensor] = {}
        notes: list[str] = []
        grid = open_grid(series.files[0]) if series is not None and self.files else None
        for name, text in self.files:
            path = Path(text)
            volume = open_volume(path)
            if volume.data.ndim != 3:
                raise InputError(
                    f"has {volume.data.ndim} dimensions instead of 3",
                    remedy="Give a single 3D volume.",
                    path=path,
                )
            values = volume.data.real
            if grid is not None and not volume.grid.same_as(grid):
                values = _on_grid(volume, grid)
                notes.append(f"{name} ({path.name}) was resampled onto the grid of the images")
            percent = name in self.percent or (series is not None and in_percent(path, series.root))
            maps[name] = self._checked(name, values, acquisition, specs, percent, path)
        for name, values in self.arrays.items():
            maps[name] = self._checked(name, values, acquisition, specs, name in self.percent, None)
        mask = acquisition.inside
        for values in maps.values():
            mask = mask & torch.isfinite(values)
        return replace(acquisition, known=maps, mask=mask), tuple(notes)

    def _checked(
        self,
        name: str,
        data: Tensor,
        acquisition: Acquisition,
        specs: Sequence[ParameterSpec],
        percent: bool,
        path: Path | None,
    ) -> Tensor:
        values = data.to(acquisition.signal.real) / (PERCENT if percent else 1.0)
        if values.numel() != math.prod(acquisition.voxels):
            raise InputError(
                f"the map of {name} has shape {tuple(values.shape)}, the images "
                f"{tuple(acquisition.voxels)}",
                remedy="Resample all to one grid.",
                path=path,
            )
        values = values.reshape(acquisition.voxels)
        spec = next(spec for spec in specs if spec.name == name)
        _check_range(values[acquisition.inside], name, (spec.lower, spec.upper), path)
        return values


def _on_grid(volume: Volume, grid: Grid) -> Float[Tensor, "x y z"]:
    """Return a map of a smooth field at the voxels of images; NaN outside it.

    Raises:
        InputError: It covers no voxel of them.
    """
    x, y, z = grid.shape
    placed = PlacedImage(values=volume.data.real, affine=volume.grid.affine)
    values = resampled(placed, VoxelGrid(shape=(x, y, z), affine=grid.affine))
    if not bool(torch.isfinite(values).any()):
        raise InputError(
            f"does not overlap {grid.path.name}", remedy="Check its affine.", path=volume.grid.path
        )
    return values


def _check_range(
    values: Float[Tensor, " inside"], name: str, ends: tuple[float, float], path: Path | None
) -> None:
    """Refuse a map whose median is not possible: it has another unit."""
    middle = float(values.nanmedian()) if len(values) else math.nan
    if not ends[0] <= middle <= ends[1]:
        percent = ends[0] <= middle / PERCENT <= ends[1]
        raise InputError(
            f"the median of {name} is {middle:.4g}, outside the possible range {ends[0]:g} to {ends[1]:g}",
            remedy=f'If it is in percent, add --percent {name}, or "Units": "percent" to its sidecar.'
            if percent
            else "Check its unit.",
            path=path,
        )
