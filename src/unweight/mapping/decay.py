"""R2* and T2* from gradient echoes, T2 from spin echoes: an exponential through the echoes.

Late echoes end on the noise floor of magnitude images, which looks like a long T2 (`fit.noise_floor`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

import torch

from unweight.bids.collection import Collection, Unreadable
from unweight.bids.derivatives.description import DerivedImage
from unweight.bids.derivatives.provenance import provenance_of
from unweight.bids.names import image_stem, parse_stem
from unweight.bids.read import FoundSeries, Series
from unweight.bids.series.readout import Echoes, check_echoes
from unweight.core.acquisition import Acquisition, SignalKind
from unweight.core.errors import UsageError
from unweight.core.maps import ParameterMaps
from unweight.core.parameter import ParameterSpec
from unweight.fit.noise_level import noise_from_background
from unweight.fit.relaxation import RelaxationFit
from unweight.mapping.device import device_for
from unweight.mapping.inputs import FoundImages, SeriesInput
from unweight.mapping.output import OutputSet
from unweight.mapping.series import (
    Feedback,
    MappedSeries,
    MappingOptions,
    SeriesMapper,
    milliseconds,
    output_of,
    shape_of,
)
from unweight.prepare.computing_memory import check_memory
from unweight.registry import build, method
from unweight.signals.parameters import R2STAR, T2, T2STAR

FAMILY = "decay"
FEW = 2  # echoes, that say nothing of their noise


@final
@dataclass(frozen=True, kw_only=True)
class DecayKind:
    """One kind of decay.

    Attributes:
        command: Which maps it.
        suffix: Of its series.
        quantity: The first map.
        echoes: Which echoes decay so.
        otherwise: What to do with others.
    """

    command: str
    suffix: str
    quantity: ParameterSpec
    echoes: Echoes
    otherwise: str


GRADIENT_ECHOES = DecayKind(
    command="r2star",
    suffix="MEGRE",
    quantity=R2STAR,
    echoes=Echoes.GRADIENT,
    otherwise="Spin echoes decay with T2; use unweight t2.",
)
SPIN_ECHOES = DecayKind(
    command="t2",
    suffix="MESE",
    quantity=T2,
    echoes=Echoes.SPIN,
    otherwise="Gradient echoes decay with T2*; use unweight r2star.",
)


@final
@dataclass(frozen=True, kw_only=True)
class R2StarOptions(MappingOptions[FoundImages, Series]):
    """Options of `unweight r2star`.

    Attributes:
        images: Which series.
        method: Of the registry.
        noise_sd: Noise of one channel, where it is known.
        device: `auto`, `cpu` or `cuda`.
    """

    images: SeriesInput
    method: str = "log-linear"
    noise_sd: float | None = None
    device: str = "auto"

    def find(self) -> Sequence[tuple[str, FoundImages]]:
        """Return the series asked for."""
        return self.images.find((GRADIENT_ECHOES.suffix,))

    def mapper(self) -> "DecayMapper":
        """Return what maps them."""
        return DecayMapper(
            decay=GRADIENT_ECHOES,
            images=self.images,
            method=self.method,
            noise_sd=self.noise_sd,
            device=device_for(self.device),
        )


@final
@dataclass(frozen=True, kw_only=True)
class T2Options(MappingOptions[FoundImages, Series]):
    """Options of `unweight t2`.

    Attributes:
        images: Which series.
        method: Of the registry.
        skip_first: Earliest echoes left out.
        noise_sd: Noise of one channel, where it is known.
        device: `auto`, `cpu` or `cuda`.
    """

    images: SeriesInput
    method: str = "nonlinear"
    skip_first: int = 1
    noise_sd: float | None = None
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.skip_first < 0:
            raise UsageError(f"{self.skip_first} echoes left out", remedy="Give 0 or more.")

    def find(self) -> Sequence[tuple[str, FoundImages]]:
        """Return the series asked for."""
        return self.images.find((SPIN_ECHOES.suffix,))

    def mapper(self) -> "DecayMapper":
        """Return what maps them."""
        return DecayMapper(
            decay=SPIN_ECHOES,
            images=self.images,
            method=self.method,
            skip_first=self.skip_first,
            noise_sd=self.noise_sd,
            device=device_for(self.device),
        )


@final
@dataclass(frozen=True, kw_only=True)
class DecayMapper(SeriesMapper[FoundImages, Series]):
    """Maps a decay.

    Attributes:
        decay: Which.
        images: What the caller says about them.
        method: Of the registry.
        skip_first: Earliest echoes left out.
        noise_sd: Noise of one channel, where it is known.
        device: Where it computes.
    """

    decay: DecayKind
    images: SeriesInput
    method: str
    skip_first: int = 0
    noise_sd: float | None = None
    device: torch.device

    @property
    def fit(self) -> RelaxationFit:
        """The estimator."""
        return RelaxationFit(
            solver=build(method(self.method, FAMILY)),
            quantity=self.decay.quantity,
            skip_first=self.skip_first,
        )

    def read(self, images_found: FoundImages) -> Series:
        """Read one series, without its phase."""
        without_phase = (
            _without_phase(images_found) if isinstance(images_found, FoundSeries) else images_found
        )
        return self.images.read(without_phase, ("echo_time",))

    def output(self, read: Series) -> OutputSet:
        """Return what its maps are called."""
        return output_of(read, self.decay.quantity)

    def estimate(self, label: str, read: Series, feedback: Feedback) -> MappedSeries:
        """Map it."""
        check_memory(self.decay.command, read.acquisition.signal.shape, self.device)
        acquisition = read.acquisition.to(self.device)
        if acquisition.kind is SignalKind.COMPLEX:
            acquisition = replace(acquisition, signal=acquisition.signal.abs(), kind=SignalKind.MAGNITUDE)
        if self.noise_sd is not None:
            acquisition = replace(acquisition, noise_sd=self.noise_sd)
        if acquisition.noise_sd is None and acquisition.protocol.n_volumes == FEW:
            acquisition = _with_noise_of_background(acquisition)
        check_echoes(read.sidecars, read.suffix, self.decay.echoes, self.decay.otherwise)
        maps = self.fit.to(self.device)(acquisition, feedback.progress)
        record = method(self.method, FAMILY)
        settings = {
            "Method": record.name,
            "SkipFirst": self.skip_first,
            "NoiseFloor": maps.notes.get("noise_floor"),
        }
        provenance = provenance_of(
            read,
            algorithm=f"{self.decay.quantity.name} by {record.algorithm}",
            reference=record.reference,
            settings=settings,
        )
        times = milliseconds(acquisition.protocol.require("echo_time", "decay"))
        return MappedSeries(
            label=label,
            maps=maps,
            output=self.output(read),
            provenance=provenance,
            beside=_times(maps) if self.decay.quantity is R2STAR else (),
            heading=f"{shape_of(acquisition.voxels)} voxels, TE {times} ms, {record.algorithm}",
            remarks=read.notes,
            lines=(_floor_of(maps),),
            faults=read.faults,
        )


def _times(maps: ParameterMaps) -> tuple[DerivedImage, ...]:
    """Return T2* = 1/R2* with its standard deviation; NaN where R2* is not above 0."""
    rate, sd = maps.value("R2star"), maps.std[..., 0]
    positive = rate > 0
    nothing = torch.full_like(rate, torch.nan)
    return (
        DerivedImage(
            key="T2star",
            desc="",
            suffix=T2STAR.suffix,
            values=torch.where(positive, 1 / rate, nothing),
            description=f"{T2STAR.description}, 1/R2*; no value where R2* is not above 0",
            unit=T2STAR.unit,
        ),
        DerivedImage(
            key="T2star std",
            desc="std",
            suffix=T2STAR.suffix,
            values=torch.where(positive, sd / rate.square(), nothing),
            description="Standard deviation of T2star",
            unit=T2STAR.unit,
        ),
    )


def _floor_of(maps: ParameterMaps) -> str:
    """Return the noise floor in words."""
    level, source = maps.notes.get("noise_floor"), maps.notes["noise_floor_from"]
    return f"noise floor {source}" if level is None else f"noise floor {level:.4g}, from {source}"


def _with_noise_of_background(acquisition: Acquisition) -> Acquisition:
    """Take the noise from the background, where echoes are too few to leave residuals."""
    noise = noise_from_background(acquisition.signal.reshape(-1, acquisition.signal.shape[-1]))
    return replace(acquisition, noise_sd=noise) if math.isfinite(noise) else acquisition


def _without_phase(images_found: FoundSeries) -> FoundSeries:
    """Return the series to be read as magnitude, or as complex where only its two channels are there."""
    parts = _parts(images_found.origin)
    two_channels = {"real", "imag"} <= parts and not {"mag", ""} & parts
    kind = SignalKind.COMPLEX if two_channels else SignalKind.MAGNITUDE
    return replace(images_found, given=replace(images_found.given, kind=kind))


def _parts(origin: Collection | Unreadable | tuple[Path, ...] | Path) -> set[str]:
    """Return the parts that names tell of."""
    if isinstance(origin, Collection):
        return set(origin.files)
    if isinstance(origin, Path | Unreadable):
        return set()
    names = [parse_stem(image_stem(path) or "") for path in origin]
    return {"" if name is None else name.entities.get("part", "") for name in names}
