"""The maximum-likelihood fit of any signal model of the registry to a series of images."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import final

import torch

from unweight.bids.derivatives.provenance import provenance_of
from unweight.bids.read import Series
from unweight.core.acquisition import Acquisition, SignalKind
from unweight.core.errors import UsageError
from unweight.core.parameter import ParameterSpec
from unweight.fit.least_squares import LeastSquaresFit
from unweight.fit.noise_level import noise_from_background, noise_from_neighbours
from unweight.mapping.device import device_for
from unweight.mapping.inputs import FoundImages, SeriesInput
from unweight.mapping.known_maps import KnownMaps
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
from unweight.registry import load, model, model_of_command
from unweight.registry.records import Model
from unweight.signals.model import SignalModel
from unweight.signals.parameters import B1, B

FIT = "fit"  # whose demand of memory is looked up
BESIDE = (B1, B)  # maps that models take beside their parameters


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
            raise UsageError("--signed and --complex cannot be combined", remedy="Give one of them.")
        if self.b1_map is not None and B1.name in dict(self.known):
            raise UsageError("B1 is given twice", remedy="Give either --b1-map or --known B1=FILE.")
        _ = self.known_maps

    @property
    def known_maps(self) -> KnownMaps:
        """The maps that are known."""
        b1 = () if self.b1_map is None else ((B1.name, str(self.b1_map)),)
        return KnownMaps(files=(*self.known, *b1), percent=self.percent)

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
        if len(all_series) > 1 and self.known_maps.names:
            raise UsageError(
                f"known maps can be used with a single series only, and there are {len(all_series)}",
                remedy="Give the files of one series, or select one subject with --subjects.",
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
        series = self.options.images.read_masked(images_found)
        known = self.options.known_maps
        known.check(series, _useful(self._fit(series).model))
        rec = self.options.rec
        return replace(
            series,
            sources=(*series.sources, *known.sources(series.root)),
            entities=series.entities if rec is None else {**series.entities, "rec": rec},
        )

    def output(self, read: Series) -> OutputSet:
        """Return what its maps are called."""
        return output_of(read, self._fit(read).parameters[0])

    def estimate(self, label: str, read: Series, feedback: Feedback) -> MappedSeries:
        """Fit it."""
        check_memory(FIT, read.acquisition.signal.shape, self.device)
        fit = self._fit(read)
        known = self.options.known_maps
        acquisition, known_notes = known.added_to(read.acquisition, _useful(fit.model), read)
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
                "Known": sorted(acquisition.known),
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
        raise UsageError(
            f"{record.name} is not a signal model", remedy="Correct the plug-in it comes from."
        )
    if is_dataclass(built) and "kind" in {field.name for field in fields(built)}:
        return replace(built, kind=kind)
    return built


def _useful(built: SignalModel) -> tuple[ParameterSpec, ...]:
    """Return what maps a model takes: those of its parameters, and others beside them."""
    own = {spec.name for spec in built.parameters}
    return (*(spec for spec in BESIDE if spec.name not in own), *built.parameters)


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
    note = f"noise {noise:.4g}, from the {source}, because as many volumes as parameters leave no residuals"
    return replace(acquisition, noise_sd=noise), note
