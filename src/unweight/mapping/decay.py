"""R2* and T2* from gradient echoes, T2 from spin echoes: an exponential, or a train with stimulated echoes.

Late echoes end on the noise floor of magnitude images, which looks like a long T2 (`fit.noise_floor`).
Spin echoes whose times are those of one train are fitted with stimulated echoes (`fit.echo_train`), unless
another method is asked for.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import final

import torch
from torch import Tensor

from unweight.bids.collection import Collection, Unreadable
from unweight.bids.derivatives.description import DerivedImage
from unweight.bids.derivatives.provenance import provenance_of
from unweight.bids.names import image_stem, parse_stem
from unweight.bids.read import FoundSeries, Series
from unweight.bids.series.readout import Echoes, check_echoes
from unweight.core.acquisition import Acquisition, SignalKind
from unweight.core.errors import ProtocolError, UsageError
from unweight.core.maps import ParameterMaps
from unweight.core.parameter import ParameterSpec
from unweight.fit.echo_train import T1_HELD, EchoTrainFit, train_models
from unweight.fit.noise_level import noise_from_background
from unweight.fit.relaxation import RelaxationFit
from unweight.mapping.device import device_for
from unweight.mapping.inputs import FoundImages, SeriesInput
from unweight.mapping.known_maps import KnownMaps
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
from unweight.registry import build, method, offered
from unweight.registry.records import Method
from unweight.signals.epg import sinc_profile
from unweight.signals.parameters import B1, R2STAR, T1, T2, T2STAR

FAMILY, TRAINS = "decay", "t2"  # of methods: one exponential, and trains with stimulated echoes
AUTO, TRAIN_METHOD, EXPONENTIAL = "auto", "epg", "nonlinear"
FEW = 2  # echoes, that say nothing of their noise
PROFILES = ("auto", "uniform")  # of a slice, or a number
TRAIN_MAPS = (B1, T1)  # that the fit of a train takes


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
        method: Of the registry; `auto` for stimulated echoes where the echo times are those of a train.
        skip_first: Earliest echoes left out; None for one with an exponential, and none with `epg`.
        noise_sd: Noise of one channel, where it is known.
        device: `auto`, `cpu` or `cuda`.
        known: Maps of B1 or T1 on the grid of the images, by name.
        percent: Names of those in percent.
        fix: T1 or B1, and at what it is held [SI units].
        refocusing: Nominal refocusing angle, one for all pulses or one for each [degrees].
        slice_profile: `auto`, `uniform`, or the thickness of the refocusing slice over the excited one.
        arrays: Known maps in memory, by name.
    """

    images: SeriesInput
    method: str = AUTO
    skip_first: int | None = None
    noise_sd: float | None = None
    device: str = "auto"
    known: tuple[tuple[str, str], ...] = ()
    percent: tuple[str, ...] = ()
    fix: tuple[tuple[str, float], ...] = ()
    refocusing: tuple[float, ...] = (180.0,)
    slice_profile: str = "auto"
    arrays: Mapping[str, Tensor] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        if self.skip_first is not None and self.skip_first < 0:
            raise UsageError(f"--skip-first {self.skip_first} is not possible", remedy="Give 0 or more.")
        _ = self.train

    @property
    def train(self) -> "TrainChoice":
        """What is said of the train."""
        return TrainChoice(
            known=KnownMaps(files=self.known, percent=self.percent, arrays=self.arrays),
            fix=self.fix,
            refocusing=self.refocusing,
            slice_profile=self.slice_profile,
        )

    def find(self) -> Sequence[tuple[str, FoundImages]]:
        """Return the series asked for."""
        all_series = self.images.find((SPIN_ECHOES.suffix,))
        if len(all_series) > 1 and self.known:
            raise UsageError(
                f"known maps can be used with a single series only, and there are {len(all_series)}",
                remedy="Give the files of one series, or select one subject with --subjects.",
            )
        return all_series

    def mapper(self) -> "DecayMapper":
        """Return what maps them."""
        return DecayMapper(
            decay=SPIN_ECHOES,
            images=self.images,
            method=self.method,
            skip_first=self.skip_first,
            noise_sd=self.noise_sd,
            device=device_for(self.device),
            train=self.train,
        )


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class TrainChoice:
    """What a caller says of a spin-echo train.

    Attributes:
        known: Maps of B1 or T1.
        fix: T1 or B1, and at what it is held [SI units].
        refocusing: Nominal refocusing angle, one for all pulses or one for each [degrees].
        slice_profile: `auto`, `uniform`, or the thickness of the refocusing slice over the excited one.
    """

    known: KnownMaps = field(default_factory=KnownMaps)
    fix: tuple[tuple[str, float], ...] = ()
    refocusing: tuple[float, ...] = (180.0,)
    slice_profile: str = "auto"

    def __post_init__(self) -> None:
        _ = self.fit(0)

    @property
    def is_default(self) -> bool:
        """Whether nothing is said."""
        silent = not (self.known.names or self.fix)
        return silent and self.refocusing == (180.0,) and self.slice_profile == "auto"

    def fit(self, skip_first: int) -> EchoTrainFit:
        """Return the fit of such a train.

        Raises:
            UsageError: An angle, a profile or a value is impossible.
        """
        angles = tuple(math.radians(angle) for angle in self.refocusing)
        models = tuple(replace(model, refocusing=angles) for model in train_models())
        if self.slice_profile == "uniform":
            models = models[:1]
        elif self.slice_profile != "auto":
            profile = sinc_profile(_width(self.slice_profile))
            models = (replace(models[0], profile=profile),)
        return EchoTrainFit(models=models, fixed={**T1_HELD, **dict(self.fix)}, skip_first=skip_first)


def _width(text: str) -> float:
    """Return the width that a slice profile is named by.

    Raises:
        UsageError: It is none.
    """
    try:
        return float(text)
    except ValueError as error:
        raise UsageError(
            f"there is no slice profile {text}",
            remedy=f"Give {', '.join(PROFILES)}, or the ratio of refocusing to excitation slice thickness.",
        ) from error


@final
@dataclass(frozen=True, kw_only=True)
class DecayMapper(SeriesMapper[FoundImages, Series]):
    """Maps a decay.

    Attributes:
        decay: Which.
        images: What the caller says about them.
        method: Of the registry, or `auto`.
        skip_first: Earliest echoes left out; None for what the method needs.
        noise_sd: Noise of one channel, where it is known.
        device: Where it computes.
        train: What is said of a spin-echo train.
    """

    decay: DecayKind
    images: SeriesInput
    method: str
    skip_first: int | None = 0
    noise_sd: float | None = None
    device: torch.device
    train: TrainChoice = field(default_factory=TrainChoice)

    def read(self, images_found: FoundImages) -> Series:
        """Read one series, without its phase; known maps are among its sources."""
        without_phase = (
            _without_phase(images_found) if isinstance(images_found, FoundSeries) else images_found
        )
        series = self.images.read_masked(without_phase, ("echo_time",))
        self.train.known.check(series, TRAIN_MAPS, "t2")
        return replace(series, sources=(*series.sources, *self.train.known.sources(series.root)))

    def output(self, read: Series) -> OutputSet:
        """Return what its maps are called."""
        return output_of(read, self.decay.quantity)

    def estimate(self, label: str, read: Series, feedback: Feedback) -> MappedSeries:
        """Map it."""
        check_memory(self.decay.command, read.acquisition.signal.shape, self.device)
        acquisition = read.acquisition
        if acquisition.kind is SignalKind.COMPLEX:
            acquisition = replace(acquisition, signal=acquisition.signal.abs(), kind=SignalKind.MAGNITUDE)
        if self.noise_sd is not None:
            acquisition = replace(acquisition, noise_sd=self.noise_sd)
        if acquisition.noise_sd is None and acquisition.protocol.n_volumes == FEW:
            acquisition = _with_noise_of_background(acquisition)
        check_echoes(read.sidecars, read.suffix, self.decay.echoes, self.decay.otherwise)
        record, reason = self._method_for(acquisition)
        of_train = record.family == TRAINS
        skip = int(not of_train) if self.skip_first is None else self.skip_first
        fit: EchoTrainFit | RelaxationFit
        known_notes: tuple[str, ...] = ()
        if of_train:
            acquisition, known_notes = self.train.known.added_to(acquisition, TRAIN_MAPS, read)
            fit = self.train.fit(skip)
        else:
            fit = RelaxationFit(solver=build(record), quantity=self.decay.quantity, skip_first=skip)
        acquisition = acquisition.to(self.device)
        maps = fit.to(self.device)(acquisition, feedback.progress)
        settings: dict[str, object] = {
            "Method": record.name,
            "SkipFirst": skip,
            "NoiseFloor": maps.notes.get("noise_floor"),
        }
        if isinstance(fit, EchoTrainFit):
            held = {key: value for key, value in fit.fixed.items() if key not in acquisition.known}
            settings |= {
                "SliceProfile": maps.notes["slice_profile"],
                "RefocusingAngle": list(self.train.refocusing),
                "Known": sorted(acquisition.known),
                "Fixed": held,
            }
        provenance = provenance_of(
            read,
            algorithm=f"{self.decay.quantity.name} by {record.algorithm}",
            reference=record.reference,
            settings=settings,
        )
        times = milliseconds(acquisition.protocol.require("echo_time", "decay"))
        profile = maps.notes.get("slice_profile")
        return MappedSeries(
            label=label,
            maps=maps,
            output=self.output(read),
            provenance=replace(provenance, notes=(*provenance.notes, *known_notes)),
            beside=_times(maps) if self.decay.quantity is R2STAR else (),
            heading=f"{shape_of(acquisition.voxels)} voxels, TE {times} ms, {record.algorithm}",
            remarks=(*read.notes, *known_notes, *((reason,) if reason else ())),
            lines=(_floor_of(maps), *(() if profile is None else (f"slice profile {profile}",))),
            faults=read.faults,
        )

    def _method_for(self, acquisition: Acquisition) -> tuple[Method, str]:
        """Return the method, and why it is not the one with stimulated echoes, where that is worth a note.

        Raises:
            UsageError: What is said of the train does not go with the method.
        """
        chosen = self.method if self.method != AUTO else TRAIN_METHOD
        record = method(chosen, TRAINS if chosen in offered(TRAINS) else FAMILY)
        if record.family != TRAINS and not self.train.is_default:
            raise UsageError(
                f"{self.method} does not model stimulated echoes: --known, --fix, --refocusing and "
                "--slice-profile do not apply to it",
                remedy="Omit them, or use --method epg.",
            )
        if self.method != AUTO:
            return record, ""
        try:
            self.train.fit(self.skip_first or 0).accept(acquisition)
        except ProtocolError as error:
            if not self.train.is_default:
                raise
            return method(
                EXPONENTIAL, FAMILY
            ), f"one exponential, without stimulated echoes: {error.problem}"
        return record, ""


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
