"""T1, PD and inversion efficiency from inversion recovery."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import final

import torch

from unweight.bids.derivatives.provenance import provenance_of
from unweight.bids.read import Series
from unweight.core.acquisition import Acquisition, SignalKind
from unweight.core.errors import UsageError
from unweight.core.maps import ParameterMaps
from unweight.core.protocol import Protocol
from unweight.learn.t1.posterior import PosteriorT1, posterior_doubts
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
from unweight.mapping.t1_method import AUTO, T1Choice, check_method, fitted_method, method_for
from unweight.prepare.computing_memory import check_memory
from unweight.signals.parameters import T1

SUFFIX = "IRT1"


@final
@dataclass(frozen=True, kw_only=True)
class T1Options(MappingOptions[FoundImages, Series]):
    """Options of `unweight t1`.

    Attributes:
        images: Which series.
        signed: Whether the images keep their sign.
        magnitude: Whether they are magnitudes.
        choice: Of the method.
        noise_sd: Noise of one channel, where it is known.
        device: `auto`, `cpu` or `cuda`.
    """

    images: SeriesInput
    signed: bool = False
    magnitude: bool = False
    choice: T1Choice = field(default_factory=T1Choice)
    noise_sd: float | None = None
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.signed and self.magnitude:
            raise UsageError("--signed and --magnitude cannot be combined", remedy="Give one of them.")

    @property
    def kind(self) -> SignalKind | None:
        """What the numbers of the images are; None to take what the files say."""
        if self.signed:
            return SignalKind.SIGNED
        return SignalKind.MAGNITUDE if self.magnitude else None

    def find(self) -> Sequence[tuple[str, FoundImages]]:
        """Return the series asked for."""
        return self.images.find((SUFFIX,), self.kind)

    def mapper(self) -> "T1Mapper":
        """Return what maps them; a wrong setting is an error before any file is read."""
        check_method(self.choice)
        device_for(self.device)
        return T1Mapper(options=self)


@final
@dataclass(frozen=True, kw_only=True)
class T1Mapper(SeriesMapper[FoundImages, Series]):
    """Maps T1."""

    options: T1Options

    def read(self, source: FoundImages) -> Series:
        """Read one series."""
        return self.options.images.read_masked(source, ("inversion_time", "repetition_time"))

    def output(self, read: Series) -> OutputSet:
        """Return what its maps are called."""
        return output_of(read, T1)

    def estimate(self, label: str, read: Series, feedback: Feedback) -> MappedSeries:
        """Map it; where the posterior is not to be trusted, `auto` takes the fit instead."""
        options = self.options
        acquisition = _prepared(read.acquisition, options)
        device = acquisition.signal.device
        method = method_for(acquisition, options.choice)
        check_memory("t1", acquisition.signal.shape, device, method.name)
        maps = method.estimator.to(device)(acquisition, feedback.progress)
        remarks: tuple[str, ...] = ()
        if isinstance(method.estimator, PosteriorT1):
            doubts = posterior_doubts(maps, method.estimator.protocols)
            remarks = doubts.remarks
            if doubts.fall_back and options.choice.method == AUTO:
                method = fitted_method(options.choice, doubts.fall_back)
                maps = method.estimator(acquisition, feedback.progress)
            elif doubts.fall_back:
                remarks = (*remarks, f"{doubts.fall_back}; use --method ml")
        provenance = provenance_of(
            read, algorithm=method.algorithm, reference=method.reference, settings=method.settings
        )
        protocol = read.acquisition.protocol
        inversions = protocol.require("inversion_time", "t1")
        times = f"{len(inversions)} TIs: {milliseconds(inversions)} ms"
        kind, shape = read.acquisition.kind.value, shape_of(maps.status.shape)
        because = f", because {method.reason}" if method.reason else ""
        return MappedSeries(
            label=label,
            maps=maps,
            output=self.output(read),
            provenance=replace(provenance, notes=remarks),
            heading=f"{kind} inversion recovery, {shape} voxels, {times}, {repetition_of(protocol)}",
            remarks=(*read.notes, *remarks),
            lines=(f"method {method.name}{because}", *_noise(maps)),
            faults=read.faults,
        )


def repetition_of(protocol: Protocol) -> str:
    """Return the repetition time of a protocol in words."""
    if protocol.repetition_time is None:
        return "TR unknown"
    shortest, longest = (f"{float(end):g}" for end in torch.aminmax(protocol.repetition_time))
    return f"TR {shortest} s" if shortest == longest else f"TR {shortest} to {longest} s"


def _noise(maps: ParameterMaps) -> tuple[str, ...]:
    if maps.noise_sd is None:
        return ()
    likelihood = maps.notes.get("likelihood")  # of a fit; the published networks have none
    how = "" if likelihood is None else f", {likelihood}"
    return (f"noise SD {maps.noise_sd:.4g} (unit of the input){how}",)


def _prepared(acquisition: Acquisition, options: T1Options) -> Acquisition:
    moved = acquisition.to(device_for(options.device))
    known = dict(moved.known)
    if options.choice.efficiency is not None:
        known["B"] = torch.full(moved.voxels, options.choice.efficiency, device=moved.signal.device)
    return replace(
        moved,
        known=MappingProxyType(known),
        noise_sd=options.noise_sd if options.noise_sd is not None else moved.noise_sd,
    )
