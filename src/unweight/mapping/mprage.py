"""A T1w (MPRAGE) image synthesised from multi-echo gradient echo."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import final

import torch
from jaxtyping import Bool
from torch import Tensor

from unweight.bids.derivatives.description import DerivedImage, set_desc
from unweight.bids.derivatives.provenance import provenance_of
from unweight.bids.nifti.grid import check_same_grid
from unweight.bids.nifti.volume import open_volume
from unweight.bids.read import Series, source_of
from unweight.bids.series.readout import Echoes, check_echoes
from unweight.core.acquisition import Acquisition, SignalKind
from unweight.core.errors import InputError, MissingValuesError, ProtocolError, UsageError
from unweight.core.maps import ParameterMaps
from unweight.fit.susceptibility import SusceptibilityFit
from unweight.learn.mprage.estimator import T1W_IMAGE, EchoT1w
from unweight.learn.mprage.methods import load_synthesiser
from unweight.learn.mprage.synthesis import Synthesiser, seconds_ahead
from unweight.learn.pairs.echo_channels import Conditions
from unweight.learn.pairs.planes import Planes
from unweight.learn.pairs.scan_range import NEEDED, NEVERTHELESS, range_of_card
from unweight.learn.training.model_card import Card
from unweight.learn.training.weights import available, card_of
from unweight.mapping.brain import MaskOptions
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
from unweight.prepare.qsm_series import FieldDirection, brain_of_echoes, direction_of
from unweight.registry import method, methods
from unweight.registry.records import Method

FAMILY, AUTO = "mprage", "auto"
SUFFIX = "MEGRE"
COPIED = ("MagneticFieldStrength", "Manufacturer")
NOT_COMPARED = "the model card has no range of flip angle and TR; they were not checked"
R2STAR_CONDITION, CHI_CONDITION = "r2star", "chi"
GIVEN, COMPUTED, UNUSED = "given", "computed from the echoes", "not used"
OPTION = {"R2star": "--r2star", "Chi": "--chi"}


@final
@dataclass(frozen=True, kw_only=True)
class MprageOptions(MappingOptions[FoundImages, Series]):
    """Options of `unweight mprage`.

    Attributes:
        images: Which series.
        method: Of the registry, or `auto`.
        draws: Number of draws; None for that of the method.
        planes: Slices the network works on; None for those of the method.
        r2star: File of an R2* map [1/s] to use.
        chi_map: File of a susceptibility map [ppm] to use.
        dropped_conditions: `r2star`, `chi`: what the network is not given.
        no_phase: Whether magnitudes alone are used.
        any_scan: Whether scans outside the training are taken, with every voxel marked.
        b0_direction: Of the static field in voxel axes.
        seed: Of the draws.
        weights: Folder of weights; None for those of the package.
        device: `auto`, `cpu` or `cuda`.
        brain: How the brain is found, where there is no mask.
    """

    images: SeriesInput
    method: str = AUTO
    draws: int | None = None
    planes: str | None = None
    r2star: Path | None = None
    chi_map: Path | None = None
    dropped_conditions: tuple[str, ...] | None = None
    no_phase: bool = False
    any_scan: bool = False
    b0_direction: tuple[float, float, float] | None = None
    seed: int = 0
    weights: Path | None = None
    device: str = "auto"
    brain: MaskOptions = field(default_factory=MaskOptions)

    def __post_init__(self) -> None:
        self.brain.check(self.images.mask)
        if self.no_phase and self.images.phase_images:
            raise UsageError("--phase and --no-phase cannot be combined", remedy="Give one of them.")
        chosen = self.chosen
        if self.planes == Planes.ALTERNATE.value and not chosen.draws:
            raise UsageError(
                f"--planes alternate is not possible with {chosen.name}", remedy="Use axial or three."
            )
        if self.draws is not None and not chosen.draws:
            drawing = " or ".join(item.name for item in methods(FAMILY) if item.draws)
            raise UsageError(
                f"--draws does not apply to {chosen.name}", remedy=f"Omit it, or use --method {drawing}."
            )

    @property
    def chosen(self) -> Method:
        """The method; `auto` is `unet`, or another for samples or where its weights are absent."""
        if self.method != AUTO:
            return method(self.method, FAMILY)
        draws = self.draws is not None or self.planes == Planes.ALTERNATE.value
        suitable = [item for item in methods(FAMILY) if item.offered and (item.draws or not draws)]
        suitable.sort(key=lambda item: item.draws)  # the simplest first
        there = available(self.weights)
        return next((item for item in suitable if item.weights in there), suitable[0])

    @property
    def conditions(self) -> Conditions:
        """What the network is given beside the echoes."""
        dropped = self.dropped_conditions or ()
        return Conditions(r2star=R2STAR_CONDITION not in dropped, chi=CHI_CONDITION not in dropped)

    @property
    def map_files(self) -> dict[str, Path]:
        """Maps that are known already, by parameter name."""
        paths = {"R2star": self.r2star, "Chi": self.chi_map}
        return {name: path for name, path in paths.items() if path is not None}

    def find(self) -> Sequence[tuple[str, FoundImages]]:
        """Return the series asked for."""
        kind = SignalKind.MAGNITUDE if self.no_phase else SignalKind.COMPLEX
        all_series = self.images.find((SUFFIX,), kind)
        if len(all_series) > 1 and self.map_files:
            given = " and ".join(OPTION[name] for name in self.map_files)
            raise UsageError(
                f"{given} can be used with a single series only, and there are {len(all_series)}",
                remedy="Select one subject with --subjects, or give the files of one series.",
            )
        return all_series

    def mapper(self) -> "MprageMapper":
        """Return what makes the images, with its network."""
        device = device_for(self.device)
        synthesiser, card = load_synthesiser(
            self.chosen.weights,
            self.weights,
            device=device,
            planes=None if self.planes is None else Planes(self.planes),
            n_draws=self.draws,
            seed=self.seed,
        )
        return MprageMapper(options=self, synthesiser=synthesiser, card=card, device=device)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class MprageMapper(SeriesMapper[FoundImages, Series]):
    """Makes T1w images.

    Attributes:
        options: Of the caller.
        synthesiser: The network.
        card: Of its weights.
        device: Where it computes.
        known_maps: R2* and susceptibility that are given as arrays, by parameter name.
    """

    options: MprageOptions
    synthesiser: Synthesiser
    card: Card
    device: torch.device
    known_maps: dict[str, Tensor] = field(default_factory=dict)

    def read(self, source: FoundImages) -> Series:
        """Read one series."""
        scans = range_of_card(self.card.ranges)
        needs = () if self.options.any_scan else tuple(name for name in NEEDED if name in scans.ends)
        return self.options.images.read(source, ("echo_time", *needs))

    def output(self, read: Series) -> OutputSet:
        """Return what its image is called."""
        return output_of(read, T1W_IMAGE)

    def estimate(self, label: str, read: Series, feedback: Feedback) -> MappedSeries:
        """Make the image; if `auto` is not trained for the scan, by a method that is."""
        if self.options.method == AUTO and range_of_card(self.card.ranges).outside(read.acquisition):
            others = _methods_for(read.acquisition, self.options)
            if others:
                mapper = replace(self.options, method=others[0]).mapper()
                return replace(mapper, known_maps=self.known_maps).estimate(label, read, feedback)
        check_memory("mprage", read.acquisition.signal.shape, self.device)
        if read.faults:
            raise InputError(
                "; ".join(read.faults), remedy="Images are synthesised from complete series only."
            )
        check_echoes(
            read.sidecars, read.suffix, Echoes.GRADIENT, "The network was trained on gradient echoes only."
        )
        conditions = self.options.conditions
        known = self.known_maps or self._read_maps(read)
        direction = FieldDirection()
        if read.acquisition.kind is SignalKind.COMPLEX and conditions.chi and "Chi" not in known:
            direction = direction_of(read, self.options.b0_direction)
        acquisition, how = read.acquisition, "given"
        brain_remarks: tuple[str, ...] = ()
        if not self._has_mask(read):
            brain = brain_of_echoes(read.acquisition, self.options.brain.finder())
            acquisition = replace(read.acquisition, mask=brain.mask)
            how, brain_remarks = brain.how, brain.remarks
        notes = (*read.notes, *direction.notes, *brain_remarks)
        estimator = EchoT1w(
            synthesise=self.synthesiser,
            conditions=conditions,
            fit=SusceptibilityFit(direction=direction.direction),
            given=MappingProxyType(known),
            voxel_mm=self.card.ranges["voxel_mm"],
            scans=range_of_card(self.card.ranges),
            any_scan=self.options.any_scan,
        )
        self._accept(estimator, read.acquisition)
        doubts = estimator.doubts(read.acquisition)
        feedback.line(f"{label}: R2* and susceptibility")
        prepared = estimator.prepare(acquisition, estimator.fit if conditions.chi else None)
        ahead = seconds_ahead(self.synthesiser, prepared.channels())
        feedback.line(f"{label}: {self.card.name}, about {_duration(ahead)}")
        maps = estimator.make(prepared, read.acquisition.affine, feedback.progress, doubts=doubts)
        remarks = (
            *estimator.remarks(prepared, doubts),
            *((NOT_COMPARED,) * bool(estimator.scans.unknown)),
        )
        record = self.options.chosen
        used = ["echoes"]
        used += ["R2*"] * int(maps.notes["told_r2star"]) + ["susceptibility"] * int(maps.notes["told_chi"])
        provenance = provenance_of(
            read,
            algorithm=record.algorithm.format(inputs=", ".join(used)),
            reference=record.reference,
            settings={
                "Weights": self.card.name,
                "WeightsVersion": self.card.version,
                "WeightsSHA256": self.card.sha256,
                "TrainedOn": self.card.trained_on,
                "Seed": self.options.seed,
                "Draws": 0 if maps.draws is None else len(maps.draws),
                "BrainMask": how,
                "Given": self._sources_of_maps(),
                "Conditions": _origins(maps, known),
            },
        )
        provenance = replace(
            provenance,
            notes=(*notes, *remarks, self.card.limits),
            acquired={name: read.sidecar[name] for name in COPIED if name in read.sidecar},
            skull_stripped=True,
        )
        return MappedSeries(
            label=label,
            maps=maps,
            output=self.output(read),
            provenance=provenance,
            beside=made_beside(maps, prepared.mask),
            heading=f"{shape_of(read.acquisition.voxels)} voxels",
            remarks=(*notes, *remarks),
            faults=read.faults,
        )

    def _accept(self, estimator: EchoT1w, measured: Acquisition) -> None:
        """Return if the network was trained for such a scan.

        Raises:
            MissingValuesError: Flip angle or TR is not known.
            ProtocolError: It was not; the remedy names a method that was, if there is one.
        """
        try:
            estimator.accept(measured)
        except MissingValuesError:
            raise
        except ProtocolError as error:
            others = _methods_for(measured, self.options) if estimator.scans.outside(measured) else []
            if not others:
                raise
            names = " or ".join(f"--method {name}" for name in others)
            remedy = f"Use {names}, trained for such scans; {NEVERTHELESS}"
            raise ProtocolError(error.problem, remedy=remedy) from error

    def _has_mask(self, read: Series) -> bool:
        return self.options.images.mask is not None or (
            not read.files and read.acquisition.mask is not None
        )

    def _sources_of_maps(self) -> dict[str, str]:
        paths = dict(self.options.map_files)
        if self.options.images.mask is not None:
            paths["mask"] = self.options.images.mask
        return {name: source_of(path, None) for name, path in paths.items()}

    def _read_maps(self, read: Series) -> dict[str, Tensor]:
        """Return the maps given as files, on the grid of the echoes."""
        known = {}
        for name, path in self.options.map_files.items():
            volume = open_volume(path)
            check_same_grid([open_volume(read.files[0]).grid, volume.grid])
            if volume.data.ndim != 3:
                raise InputError(
                    f"has {volume.data.ndim} dimensions instead of 3",
                    remedy="Give a single 3D volume.",
                    path=path,
                )
            known[name] = volume.data.float()
        return known


def _methods_for(measured: Acquisition, options: MprageOptions) -> list[str]:
    """Return the other methods whose weights are there and were trained for such a scan."""
    there = available(options.weights)
    return [
        item.name
        for item in methods(FAMILY)
        if item.name != options.chosen.name
        and item.weights in there
        and (item.draws or options.draws is None)
        and not range_of_card(card_of(item.weights, options.weights).ranges).outside(measured)
    ]


def _origins(maps: ParameterMaps, known: Mapping[str, Tensor]) -> dict[str, str]:
    """Return whether R2* and susceptibility were given, computed from the echoes, or not used."""
    used = {"R2star": maps.notes["told_r2star"], "Chi": maps.notes["told_chi"]}
    origin = {name: GIVEN if name in known else COMPUTED for name in used}
    return {name: origin[name] if flag else UNUSED for name, flag in used.items()}


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.1f} min" if seconds >= 90 else f"{seconds:.0f} s"


def made_beside(maps: ParameterMaps, mask: Bool[Tensor, "x y z"]) -> tuple[DerivedImage, ...]:
    """Return the mask of the brain, and the draws if there are some.

    Args:
        maps: The image.
        mask: The brain it was made for.
    """
    spec = maps.specs[0]
    images = [
        DerivedImage(
            key="brain",
            desc=set_desc("brain", spec.suffix),
            suffix="mask",
            values=mask,
            description="Brain including CSF, computed from the echoes or given",
        )
    ]
    draws = () if maps.draws is None else maps.draws[..., 0].unbind(0)
    for number, draw in enumerate(draws, start=1):
        images.append(
            DerivedImage(
                key=f"draw {number}",
                desc=f"{spec.desc}{number}",
                suffix=spec.suffix,
                values=draw.nan_to_num(),
                description=f"Draw {number} of {len(draws)}: a posterior sample, not the mean",
                unit=spec.unit,
            )
        )
    return tuple(images)
