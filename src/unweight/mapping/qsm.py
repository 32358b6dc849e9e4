"""Magnetic susceptibility from magnitude and phase of multi-echo gradient echo."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import final

import torch

from unweight.bids.derivatives.provenance import provenance_of
from unweight.bids.read import Series
from unweight.bids.series.readout import Echoes, check_echoes
from unweight.core.acquisition import SignalKind
from unweight.core.errors import UsageError
from unweight.fit.susceptibility import QUALITY_LIMIT, Reference, SusceptibilityFit
from unweight.mapping.brain import MaskOptions
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
from unweight.prepare.qsm_series import BACKGROUNDS, INVERSIONS, direction_of, map_susceptibility
from unweight.prepare.qsmxt import qsmxt_background, qsmxt_inversion
from unweight.registry import method
from unweight.signals.parameters import CHI
from unweight.susceptibility.background import BackgroundRemoval
from unweight.susceptibility.inversion import DipoleInversion

ALGORITHM = (
    "Susceptibility from multi-echo phase: exact unwrapping, MCPC-3D-S offset, weighted line through "
    "phase, {background} background removal, {inversion} dipole inversion"
)
REFERENCE = "QSM consensus, Magn Reson Med 91:1834, 2024"
SUFFIX = "MEGRE"
BIPOLAR = {"auto": None, "yes": True, "no": False}


@final
@dataclass(frozen=True, kw_only=True)
class QsmOptions(MappingOptions[FoundImages, Series]):
    """Options of `unweight qsm`.

    Attributes:
        images: Which series.
        background: Removal of background fields, of the registry.
        inversion: Dipole inversion, of the registry.
        reference: Which mean susceptibility is called 0: `mean`, `csf`, `none`.
        bipolar: Whether every other echo was read backwards: `auto`, `yes`, `no`.
        b0_direction: Of the static field in voxel axes.
        quality_limit: Residual of the phase above which a voxel is excluded [rad].
        qsmxt: Whether an installed qsmxt does background removal and inversion.
        device: `auto`, `cpu` or `cuda`.
        brain: How the brain is found, where there is no mask.
    """

    images: SeriesInput
    background: str = "vsharp"
    inversion: str = "wtv"
    reference: str = Reference.MEAN.value
    bipolar: str = "auto"
    b0_direction: tuple[float, float, float] | None = None
    quality_limit: float = QUALITY_LIMIT
    qsmxt: bool = False
    device: str = "auto"
    brain: MaskOptions = field(default_factory=MaskOptions)

    def __post_init__(self) -> None:
        self.brain.check(self.images.mask)
        if self.images.magnitude_images and not self.images.phase_images:
            raise UsageError("susceptibility needs the phase", remedy="Give --mag together with --phase.")
        if not self.quality_limit > 0:
            raise UsageError("the limit of the phase residual must be positive")

    @property
    def inversion_name(self) -> str:
        """The inversion asked for; where qsmxt has none of this name, its own takes its place."""
        chosen = method(self.inversion, "qsm", "inversion")
        return chosen.substitute if self.qsmxt and chosen.substitute else chosen.name

    def fit(self) -> SusceptibilityFit:
        """Return the estimator."""
        background: BackgroundRemoval = BACKGROUNDS[self.background]
        inversion: DipoleInversion = INVERSIONS[self.inversion]
        if self.qsmxt:
            background = partial(qsmxt_background, method=self.background)
            inversion = partial(qsmxt_inversion, method=self.inversion_name)
        return SusceptibilityFit(
            background=background,
            inversion=inversion,
            reference=Reference(self.reference),
            bipolar=BIPOLAR[self.bipolar],
            direction=self.b0_direction,
            quality_limit=self.quality_limit,
        )

    def find(self) -> Sequence[tuple[str, FoundImages]]:
        """Return the series asked for."""
        return self.images.find((SUFFIX,), SignalKind.COMPLEX)

    def mapper(self) -> "QsmMapper":
        """Return what maps them."""
        return QsmMapper(options=self, fit=self.fit(), device=device_for(self.device))


@final
@dataclass(frozen=True, kw_only=True)
class QsmMapper(SeriesMapper[FoundImages, Series]):
    """Maps susceptibility.

    Attributes:
        options: Of the caller.
        fit: The estimator.
        device: Where it computes.
    """

    options: QsmOptions
    fit: SusceptibilityFit
    device: torch.device

    def read(self, source: FoundImages) -> Series:
        """Read one series."""
        return self.options.images.read(source, ("echo_time", "field_strength"))

    def output(self, read: Series) -> OutputSet:
        """Return what its maps are called."""
        return output_of(read, CHI)

    def estimate(self, label: str, read: Series, feedback: Feedback) -> MappedSeries:
        """Map it."""
        check_memory("qsm", read.acquisition.signal.shape, self.device)
        check_echoes(
            read.sidecars,
            read.suffix,
            Echoes.GRADIENT,
            "The phase of spin echoes contains no field information.",
        )
        b0 = direction_of(read, self.fit.direction)
        fit = replace(self.fit, direction=b0.direction).to(self.device)
        series = replace(read, notes=(*read.notes, *b0.notes), acquisition=read.acquisition.to(self.device))
        result = map_susceptibility(series, fit, feedback.progress, self.options.brain.finder())
        names = {"background": self.options.background, "inversion": self.options.inversion_name}
        provenance = provenance_of(
            series, algorithm=ALGORITHM.format(**names), reference=REFERENCE, settings=result.settings
        )
        protocol = series.acquisition.protocol
        times = milliseconds(protocol.require("echo_time", "qsm"))
        shape = shape_of(series.acquisition.voxels)
        return MappedSeries(
            label=label,
            maps=result.maps,
            output=self.output(read),
            provenance=replace(provenance, notes=without_names(series, result.notes)),
            beside=result.beside,
            heading=f"{shape} voxels, {protocol.field_strength:g} T, TE {times} ms",
            remarks=result.notes,
            faults=series.faults,
        )


def without_names(series: Series, notes: tuple[str, ...]) -> tuple[str, ...]:
    """Return notes without the names of files outside a BIDS tree, which can be names of people."""
    if series.root is not None:
        return notes
    replaced = list(notes)
    for number, path in enumerate(series.files, start=1):
        replaced = [note.replace(path.name, f"image {number}") for note in replaced]
    return tuple(replaced)
