"""The maximum-likelihood fit of any signal model of the registry to a series of images."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from unweight.bids.derivatives.provenance import provenance_of
from unweight.bids.field_maps import in_percent
from unweight.bids.nifti.grid import Grid, check_same_grid
from unweight.bids.nifti.volume import Volume, open_grid, open_volume
from unweight.bids.read import Series, source_of
from unweight.core.acquisition import Acquisition, SignalKind
from unweight.core.errors import InputError, UsageError
from unweight.fit.least_squares import LeastSquaresFit
from unweight.fit.noise_level import noise_from_background, noise_from_neighbours
from unweight.mapping.device import device_for
from unweight.mapping.inputs import FoundImages, SeriesInput
from unweight.mapping.output import OutputSet
from unweight.mapping.series import (
    Feedback,
    MappedSeries,
    MappingOptions,
    SeriesMapper,
    output_of,
    shape_of,
)
from unweight.prepare.computing_memory import check_memory
from unweight.prepare.lattice import PlacedImage, VoxelGrid
from unweight.prepare.resample import resampled
from unweight.registry import load, model, model_of_command
from unweight.registry.records import Model
from unweight.signals.model import SignalModel
from unweight.signals.parameters import B1, B

FIT = "fit"  # whose demand of memory is looked up
KNOWN = {spec.name: spec for spec in (B1, B)}  # maps that models take beside their parameters
PERCENT = 100.0


@final
@dataclass(frozen=True, kw_only=True)
class ModelOptions(MappingOptions[FoundImages, Series]):
    """Options of `unweight fit`, and of the command of one model.

    Attributes:
        images: Which series.
        model: Of the registry; empty for that of the command.
        command: The command.
        signed: Whether the images keep their sign.
        complex: Whether magnitude and phase are fitted together.
        known: Known maps by name of the parameter.
        b1_map: The same for B1 alone.
        percent: Names of those in percent; sidecars may say it of others.
        fix: Parameters that are held, and at what [SI units].
        noise_sd: Noise of one channel, where it is known.
        rec: Label of `rec` in the names of the maps.
        device: `auto`, `cpu` or `cuda`.
    """

    images: SeriesInput
    model: str = ""
    command: str = ""
    signed: bool = False
    complex: bool = False
    known: tuple[tuple[str, str], ...] = ()
    b1_map: Path | None = None
    percent: tuple[str, ...] = ()
    fix: tuple[tuple[str, float], ...] = ()
    noise_sd: float | None = None
    rec: str | None = None
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.signed and self.complex:
            raise UsageError("--signed and --complex exclude each other")
        if self.b1_map is not None and B1.name in dict(self.known):
            raise UsageError("two maps of B1", remedy="Give --b1-map or --known B1=FILE.")
        unknown = set(self.percent) - self.maps.keys()
        if unknown:
            raise UsageError(f"--percent {min(unknown)} is of no known map", remedy="Give it with --known.")

    @property
    def maps(self) -> dict[str, Path]:
        """The known maps, by name of the parameter."""
        b1 = {} if self.b1_map is None else {B1.name: self.b1_map}
        return {name: Path(text) for name, text in self.known} | b1

    @property
    def record(self) -> Model:
        """The model."""
        return model(self.model) if self.model else model_of_command(self.command)

    @property
    def kind(self) -> SignalKind:
        """What the numbers of the images are."""
        if self.complex:
            return SignalKind.COMPLEX
        return SignalKind.SIGNED if self.signed else SignalKind.MAGNITUDE

    def find(self) -> Sequence[tuple[str, FoundImages]]:
        """Return the series asked for."""
        all_series = self.images.find(self.record.suffixes, self.kind)
        if len(all_series) > 1 and self.maps:
            raise UsageError(
                f"known maps are of one series, and {len(all_series)} were found",
                remedy="Give the files of one series, or one subject with --subjects.",
            )
        return all_series

    def mapper(self) -> "ModelMapper":
        """Return what fits them."""
        return ModelMapper(options=self, record=self.record, device=device_for(self.device))


@final
@dataclass(frozen=True, kw_only=True)
class ModelMapper(SeriesMapper[FoundImages, Series]):
    """Fits a model.

    Attributes:
        options: Of the caller.
        record: The model.
        device: Where it computes.
    """

    options: ModelOptions
    record: Model
    device: torch.device

    def read(self, images_found: FoundImages) -> Series:
        """Read one series; known maps are among its sources."""
        series = self.options.images.read(images_found)
        _check_known(series, self._fit(series).model, self.options)
        maps = (_source(path, series.root) for path in self.options.maps.values())
        rec = self.options.rec
        return replace(
            series,
            sources=(*series.sources, *maps),
            entities=series.entities if rec is None else {**series.entities, "rec": rec},
        )

    def output(self, read: Series) -> OutputSet:
        """Return what its maps are called."""
        return output_of(read, self._fit(read).parameters[0])

    def estimate(self, label: str, read: Series, feedback: Feedback) -> MappedSeries:
        """Fit it."""
        check_memory(FIT, read.acquisition.signal.shape, self.device)
        fit = self._fit(read)
        known, known_notes = _known_maps(read, fit.model, self.options)
        mask = read.acquisition.inside
        for values in known.values():
            mask = mask & torch.isfinite(values)
        acquisition = replace(read.acquisition, known=known, mask=mask)
        acquisition, noise_note = _with_noise(acquisition, fit, self.options.noise_sd)
        acquisition = acquisition.to(self.device)
        fit.accept(acquisition)
        maps = fit.to(self.device)(acquisition, feedback.progress)
        names = " and ".join(spec.name for spec in fit.parameters)
        provenance = provenance_of(
            read,
            algorithm=f"{names} by least squares of the signal model {self.record.name} "
            f"({maps.notes['likelihood']} likelihood)",
            reference=self.record.reference,
            settings={
                "Model": self.record.name,
                "Known": sorted(known),
                "Fixed": dict(self.options.fix),
            },
        )
        volumes = acquisition.protocol.n_volumes
        return MappedSeries(
            label=label,
            maps=maps,
            output=self.output(read),
            provenance=replace(provenance, notes=(*provenance.notes, *known_notes)),
            heading=f"{shape_of(acquisition.voxels)} voxels, {volumes} volumes, {self.record.name}",
            remarks=(*read.notes, *known_notes, *((noise_note,) if noise_note else ())),
            faults=read.faults,
        )

    def _fit(self, read: Series) -> LeastSquaresFit:
        return LeastSquaresFit(
            model=model_of(self.record, read.acquisition.kind), fixed=dict(self.options.fix)
        )


def model_of(record: Model, kind: SignalKind) -> SignalModel:
    """Return a signal model for signals of a kind, if it comes in several."""
    target = load(record.target)
    built = target() if isinstance(target, type) else target
    if not isinstance(built, SignalModel):
        raise UsageError(f"{record.name} is no signal model", remedy="Correct the plug-in it comes from.")
    if is_dataclass(built) and "kind" in {field.name for field in fields(built)}:
        return replace(built, kind=kind)
    return built


def _source(path: Path, root: Path | None) -> str:
    """Return how derivatives name a map: by BIDS URI within the tree of the series, else by content."""
    inside = root is not None and path.absolute().is_relative_to(root)
    return source_of(path, root if inside else None)


def _check_known(series: Series, built: SignalModel, options: ModelOptions) -> None:
    """Refuse known maps that are of no use, not there, or of parameters on another grid.

    Raises:
        UsageError: The model takes no map of a name.
        InputError: A map cannot be read, or one of a parameter lies on another grid.
    """
    names = [*KNOWN, *(spec.name for spec in built.parameters)]
    for name, path in options.maps.items():
        if name not in names:
            raise UsageError(
                f"a map of {name} is of no use to this model", remedy=f"It takes {', '.join(names)}."
            )
        grid = open_grid(path)
        if name not in KNOWN:
            check_same_grid([open_grid(series.files[0]), grid])


def _known_maps(
    series: Series, built: SignalModel, options: ModelOptions
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Read the maps that are known, and note which were resampled onto the grid of the images.

    Raises:
        InputError: A map is unusable, or not of the unit it should have.
    """
    specs = KNOWN | {spec.name: spec for spec in built.parameters}
    maps: dict[str, Tensor] = {}
    notes: list[str] = []
    grid = open_grid(series.files[0])
    for name, path in options.maps.items():
        volume = open_volume(path)
        if volume.data.ndim != 3:
            raise InputError("is not one volume", remedy="Give one volume.", path=path)
        values = volume.data.real
        if not volume.grid.same_as(grid):
            values = _on_grid(volume, grid)
            notes.append(f"{name} is resampled onto the grid of the images from {path.name}")
        percent = name in options.percent or in_percent(path, series.root)
        values = values.to(series.acquisition.signal.real) / (PERCENT if percent else 1.0)
        _check_range(values[series.acquisition.inside], name, (specs[name].lower, specs[name].upper), path)
        maps[name] = values.reshape(series.acquisition.voxels)
    return maps, tuple(notes)


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
            f"covers no voxel of {grid.path.name}", remedy="Check where it lies.", path=volume.grid.path
        )
    return values


def _check_range(
    values: Float[Tensor, " inside"], name: str, ends: tuple[float, float], path: Path
) -> None:
    """Refuse a map whose median is not possible: it has another unit."""
    middle = float(values.nanmedian()) if len(values) else math.nan
    if not ends[0] <= middle <= ends[1]:
        percent = ends[0] <= middle / PERCENT <= ends[1]
        raise InputError(
            f"the median of {name} is {middle:.4g}, and it lies between {ends[0]:g} and {ends[1]:g}",
            remedy=f'If it is in percent, add --percent {name}, or "Units": "percent" to its sidecar.'
            if percent
            else "Check its unit.",
            path=path,
        )


def _with_noise(
    acquisition: Acquisition, fit: LeastSquaresFit, given: float | None
) -> tuple[Acquisition, str]:
    """Give the noise where volumes are too few to leave residuals, and say where it is from."""
    if given is not None:
        return replace(acquisition, noise_sd=given), ""
    held = {*fit.fixed, *acquisition.known}
    n_free = sum(spec.name not in held for spec in fit.parameters)
    channels = 2 if acquisition.kind is SignalKind.COMPLEX else 1
    if channels * acquisition.protocol.n_volumes > n_free:
        return acquisition, ""
    signal = acquisition.signal
    noise, source = math.nan, "background"
    if acquisition.kind is SignalKind.MAGNITUDE:
        lit = torch.where(torch.isfinite(signal), signal, 0.0)
        noise = noise_from_background(lit.reshape(-1, signal.shape[-1]))
    if not noise > 0 and acquisition.kind is not SignalKind.COMPLEX and signal.ndim == 4:
        noise, source = (
            noise_from_neighbours(signal, acquisition.inside),
            "differences of neighbouring voxels",
        )
    if not noise > 0:
        return acquisition, ""
    note = f"noise {noise:.4g}, from the {source}, for as many volumes as parameters leave no residuals"
    return replace(acquisition, noise_sd=noise), note
