"""Weighted images computed from maps of T1, T2 and PD, so that a study can be shown with one protocol.

    S = signal equation of the contrast (T1, T2, PD; TR, TE, TI, α),
    SD² = Σ_θ (∂S/∂θ · SD(θ))²,   θ = T1, T2, PD

The equations are those of `signals.weighted`, by which `unweight maps` explains the images it is given. The
SD is first order and treats the errors of the three maps as independent. No receive field is applied, and no
noise is added: the unit is that of the PD map.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unweight.bids.derivatives.provenance import Provenance
from unweight.bids.derivatives.read import find_maps, read_maps
from unweight.bids.derivatives.whole_set import images_of
from unweight.bids.folders import is_folder
from unweight.bids.inheritance import entry_beside
from unweight.bids.names import check_label
from unweight.bids.nifti.grid import Grid, Placement, check_same_grid
from unweight.bids.nifti.volume import open_grid, open_volume
from unweight.bids.read import KEPT_ENTITIES, UNNAMED, entities_of, source_of
from unweight.bids.series.mask import read_mask
from unweight.core.errors import InputError, UsageError
from unweight.core.maps import ParameterMaps, VoxelStatus, assemble_maps, failed_voxels
from unweight.core.parameter import ParameterSpec
from unweight.core.weighting import Readout, Weighting, completed
from unweight.fit.blocks import ExecutionContext, each_block, one_thread_per_operation
from unweight.mapping.arrays import digest_of
from unweight.mapping.device import device_for
from unweight.mapping.output import OutputSet
from unweight.mapping.series import (
    Feedback,
    MappedSeries,
    MappingOptions,
    SeriesMapper,
    map_found,
    map_read,
    shape_of,
)
from unweight.signals.parameters import PD, T1, T2
from unweight.signals.weighted import EFFICIENCY, signal_with_deviation
from unweight.synth.protocols.standard import Scan, mprage, routine_contrasts

SPECS = (T1, T2, PD)
IN_MEMORY = Path("maps")  # stands where options name a folder
ContrastSettings = Mapping[str, float] | bool | None
SHORT_NAMES = {
    "tr": "repetition_time",
    "te": "echo_time",
    "ti": "inversion_time",
    "flip": "flip_angle",
    "readout_time": "readout_time",
}
DESC = "synth"
RIGHT_ANGLE = 90.0
COPIED = ("MagneticFieldStrength",)
NO_DEVIATION = "no standard deviations of the maps were given, so the image has none: its SD is NaN"
ALGORITHM = "Signal equation of {readout}{inverted}, evaluated on maps of T1, T2 and PD"
REFERENCE = "Bernstein MA, King KF, Zhou XJ. Handbook of MRI Pulse Sequences. Elsevier (2004)"
MPRAGE_REFERENCE = "Marques JP, et al. NeuroImage 49:1271 (2010), doi 10.1016/j.neuroimage.2009.10.002"
INDEPENDENT = "first order, errors of T1, T2 and PD treated as independent"


class Contrast(StrEnum):
    """What can be synthesised; a value is the name of the option and of the argument."""

    T1W = "t1w"
    T2W = "t2w"
    FLAIR = "flair"
    MPRAGE = "mprage"

    @property
    def title(self) -> str:
        """As people write it."""
        return {"t1w": "T1w", "t2w": "T2w", "flair": "FLAIR", "mprage": "MPRAGE"}[self]

    @property
    def spec(self) -> ParameterSpec:
        """What the image is."""
        return ParameterSpec(
            name=self.title,
            unit="arbitrary",
            lower=0.0,
            upper=math.inf,
            suffix="T1w" if self is Contrast.MPRAGE else self.title,
            description=f"{self.title} image computed from maps of T1, T2 and PD, not measured",
            desc=DESC,
        )

    def preset(self) -> Weighting:
        """Return the protocol of `synth.protocols.standard`, of a clinical examination at 3 T."""
        t1w, t2w, flair = routine_contrasts()
        scan: Scan = {"t1w": t1w, "t2w": t2w, "flair": flair, "mprage": mprage()}[self]
        readout = Readout.SPIN_ECHO if scan.train is None else Readout.TURBO_SPIN_ECHO
        return Weighting(
            readout=Readout.MPRAGE if self is Contrast.MPRAGE else readout,
            protocol=replace(scan.protocol, field_strength=None),
        )


@final
@dataclass(frozen=True, kw_only=True)
class ContrastTimes:
    """Timings that take the place of those of a preset; None for the preset.

    Attributes:
        repetition_time: TR, of an MPRAGE from inversion to inversion [s].
        echo_time: TE [s].
        inversion_time: TI, of an MPRAGE to the centre of k-space [s].
        flip_angle: Of the excitation [degrees].
        readout_time: From excitation to the last echo of a train of refocusing pulses [s].
    """

    repetition_time: float | None = None
    echo_time: float | None = None
    inversion_time: float | None = None
    flip_angle: float | None = None
    readout_time: float | None = None

    def given(self) -> dict[str, float]:
        """Return the timings that are given."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {name: value for name, value in values.items() if value is not None}

    def weighting(self, contrast: Contrast) -> tuple[Weighting, tuple[str, ...]]:
        """Return how an image is weighted, complete, and a sentence for each thing assumed.

        Args:
            contrast: Whose preset holds for what is not given.

        Raises:
            UsageError: A timing is missing that cannot come from the preset, or has no place in the signal.
            ProtocolError: Timings are impossible, or do not fit each other.
        """
        preset, given = contrast.preset(), self.given()
        self._check(contrast, preset)
        values: dict[str, Tensor | None] = {
            name: torch.tensor([math.radians(value) if name == "flip_angle" else value]).double()
            for name, value in given.items()
        }
        if contrast is Contrast.MPRAGE:
            if {"repetition_time", "inversion_time"} & set(given):
                values |= {"train_length": None, "centre_index": None}  # as many as fit
            if 2 * given.get("echo_time", 0.0) > (preset.time("echo_spacing") or math.inf):
                values |= {"echo_spacing": None, "train_length": None, "centre_index": None}
        elif "echo_time" in given:
            values.setdefault("readout_time", None)
        readout = Readout.TURBO_SPIN_ECHO if "readout_time" in given else preset.readout
        protocol = replace(preset.protocol, **values)  # type: ignore[arg-type]  # by name, from a dictionary
        return completed(Weighting(readout=readout, protocol=protocol))

    def _check(self, contrast: Contrast, preset: Weighting) -> None:
        """Refuse timings that the signal of this contrast cannot do without, or has no place for."""
        if preset.inverts and self.repetition_time is not None and self.inversion_time is None:
            raise UsageError(
                f"{contrast.title} with TR {self.repetition_time:g} s needs its inversion time, for that of "
                f"the preset belongs to TR {preset.time('repetition_time'):g} s",
                remedy="Give the inversion time (--ti, in seconds) as well, or leave both to the preset.",
            )
        if contrast is Contrast.MPRAGE and self.readout_time is not None:
            raise UsageError(
                "an MPRAGE has no refocusing train, so no readout time", remedy="Leave --readout-time out."
            )
        if self.flip_angle is None:
            return
        if contrast is not Contrast.MPRAGE and (preset.inverts or self.inversion_time is not None):
            raise UsageError(
                f"the signal of {contrast.title} after an inversion is that of a 90° excitation",
                remedy="Leave --flip out.",
            )
        if not 0 < self.flip_angle <= RIGHT_ANGLE:
            raise UsageError(
                f"a flip angle of {self.flip_angle:g} degrees is no excitation",
                remedy="Give 0 to 90 degrees; scanners often write the refocusing angle of a spin echo.",
            )


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


@final
@dataclass(frozen=True, kw_only=True)
class ContrastOptions(MappingOptions[MapSource, ReadMaps]):
    """Options of `unweight contrast`.

    Attributes:
        inputs: A folder that `unweight maps` wrote.
        t1_map: Instead, files of T1 [s], T2 [s] and PD.
        t2_map: Likewise.
        pd_map: Likewise.
        t1_sd: Files of their standard deviations.
        t2_sd: Likewise.
        pd_sd: Likewise.
        t1w: Whether this image is made; this and the next three.
        t2w: Likewise.
        flair: Likewise.
        mprage: Likewise.
        repetition_time: Of the one image that is made; None for that of its preset [s].
        echo_time: Likewise [s].
        inversion_time: Likewise [s].
        flip_angle: Likewise [degrees].
        readout_time: Likewise [s].
        acq: Label that the names of the images carry.
        mask: A file on the grid of the maps; not 0 where to compute.
        subjects: Of a folder, without `sub-`; None for all.
        subject: What the subject of maps named one by one is called.
        device: `auto`, `cpu` or `cuda`.
    """

    inputs: tuple[Path, ...] = ()
    t1_map: Path | None = None
    t2_map: Path | None = None
    pd_map: Path | None = None
    t1_sd: Path | None = None
    t2_sd: Path | None = None
    pd_sd: Path | None = None
    t1w: bool = False
    t2w: bool = False
    flair: bool = False
    mprage: bool = False
    repetition_time: tuple[float, ...] | None = None
    echo_time: tuple[float, ...] | None = None
    inversion_time: tuple[float, ...] | None = None
    flip_angle: tuple[float, ...] | None = None
    readout_time: tuple[float, ...] | None = None
    acq: str | None = None
    mask: Path | None = None
    subjects: tuple[str, ...] | None = None
    subject: str | None = None
    device: str = "auto"

    def __post_init__(self) -> None:
        if not self.contrasts:
            raise UsageError(
                "no contrast is chosen", remedy="Give one or several of --t1w, --t2w, --flair and --mprage."
            )
        for text, what in ((self.acq, "acq"), (self.subject, "a subject")):
            if text is not None:
                check_label(text, what)
        self._check_maps()
        if len(self.contrasts) > 1 and self.times.given():
            raise UsageError(
                "times belong to one contrast, and there are "
                + ", ".join(contrast.title for contrast in self.contrasts),
                remedy="Call the command once for each, or leave the times to the presets.",
            )
        for contrast in self.contrasts:
            self.times.weighting(contrast)

    @property
    def contrasts(self) -> tuple[Contrast, ...]:
        """The images that are made."""
        return tuple(contrast for contrast in Contrast if getattr(self, contrast))

    @property
    def times(self) -> ContrastTimes:
        """The timings given.

        Raises:
            UsageError: Several of one kind.
        """
        lists = {name: getattr(self, name) for name in ContrastTimes.__dataclass_fields__}
        for name, values in lists.items():
            if values is not None and len(values) != 1:
                raise UsageError(
                    f"{name.replace('_', ' ')} has {len(values)} values, and an image has one",
                    remedy="Call the command once for each image.",
                )
        return ContrastTimes(
            **{name: None if values is None else values[0] for name, values in lists.items()}
        )

    @property
    def files(self) -> dict[str, Path]:
        """Maps named one by one."""
        return _named({"T1": self.t1_map, "T2": self.t2_map, "PD": self.pd_map})

    @property
    def deviations(self) -> dict[str, Path]:
        """Their standard deviations."""
        return _named({"T1": self.t1_sd, "T2": self.t2_sd, "PD": self.pd_sd})

    def find(self) -> Sequence[tuple[str, MapSource]]:
        """Return each image of each set of maps."""
        if self.files:
            return [
                (c.title, MapSource(contrast=c, values=self.files, deviations=self.deviations))
                for c in self.contrasts
            ]
        folder = self.inputs[0]
        images: list[tuple[str, MapSource]] = []
        for sidecar in self._sidecars(folder):
            stem = sidecar.name.removesuffix(".json").removesuffix(f"_{T1.suffix}")
            images += [
                (f"{stem} {c.title}", MapSource(contrast=c, sidecar=sidecar)) for c in self.contrasts
            ]
        return images

    def mapper(self) -> "ContrastMapper":
        """Return what makes the images."""
        return ContrastMapper(options=self, device=device_for(self.device))

    def _check_maps(self) -> None:
        """Refuse what does not name maps of T1, T2 and PD."""
        if bool(self.inputs) == bool(self.files) or len(self.inputs) > 1:
            raise UsageError(
                "give either one folder of maps, or files with --t1-map, --t2-map and --pd-map",
                remedy="unweight contrast maps --t1w -o images",
            )
        if self.inputs and (self.deviations or self.subject is not None or self.mask is not None):
            raise UsageError(
                "--t1-sd, --t2-sd, --pd-sd, --mask and --subject belong to maps named one by one",
                remedy="The folder has the SDs and the subjects; --participant-label chooses some.",
            )
        missing = [name for name in ("T1", "T2", "PD") if self.files and name not in self.files]
        if missing:
            raise UsageError(
                f"the map of {' and '.join(missing)} is missing",
                remedy=" ".join(f"Give --{name.lower()}-map FILE." for name in missing),
            )
        if self.deviations and len(self.deviations) < len(SPECS):
            raise UsageError(
                "an SD needs those of all three maps", remedy="Give --t1-sd, --t2-sd and --pd-sd, or none."
            )

    def _sidecars(self, folder: Path) -> list[Path]:
        """Return the sidecars of the sets that have T1, T2 and PD."""
        if folder.exists() and not is_folder(folder):
            raise UsageError(
                f"{folder.name} is a file, and MAPS is a folder",
                remedy="Give files with --t1-map, --t2-map and --pd-map.",
            )
        paths = find_maps(folder, T1.suffix)
        if self.subjects is not None:
            wanted = {f"sub-{label}" for label in self.subjects}
            lost = wanted - {path.relative_to(folder).parts[0] for path in paths}
            if lost:
                raise InputError(
                    f"holds no maps of {', '.join(sorted(lost))}", remedy="Check the label.", path=folder
                )
            paths = tuple(path for path in paths if path.relative_to(folder).parts[0] in wanted)
        kept = [path for path in paths if _may_be_whole(path)]
        if not kept:
            raise InputError(
                "holds T1 maps, but none with T2 and PD of the same set",
                remedy="Make them with `unweight maps`, or give files with --t1-map, --t2-map and --pd-map.",
                path=folder,
            )
        return kept


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class ContrastMapper(SeriesMapper[MapSource, ReadMaps]):
    """Makes weighted images.

    Attributes:
        options: Of the caller.
        device: Where it computes.
    """

    what: ClassVar[str] = "images"
    options: ContrastOptions
    device: torch.device

    def read(self, source: MapSource) -> ReadMaps:
        """Read the maps of one image."""
        if source.sidecar is None:
            return _read_files(source, self.options)
        return _read_set(source.contrast, self.options.inputs[0], source.sidecar)

    def output(self, read: ReadMaps) -> OutputSet:
        """Return what the image is called; `acq` keeps two protocols and an MPRAGE apart."""
        kind = "MPRAGE" if read.contrast is Contrast.MPRAGE else ""
        acq = read.entities.get("acq", "") + kind + (self.options.acq or "")
        return OutputSet(
            entities={**read.entities, "acq": acq} if acq else read.entities,
            sources=read.sources,
            root=None,
            first=read.contrast.spec,
            voxels=tuple(read.maps.status.shape),
        )

    def estimate(self, label: str, read: ReadMaps, feedback: Feedback) -> MappedSeries:
        """Make the image and its SD."""
        weighting, assumed = self.options.times.weighting(read.contrast)
        maps = synthesised(read.maps, read.contrast.spec, weighting, self.device, feedback)
        remarks = (*assumed, *((NO_DEVIATION,) * (not read.has_deviation)))
        fields = sidecar_times(weighting)
        return MappedSeries(
            label=label,
            maps=maps,
            output=self.output(read),
            provenance=Provenance(
                sources=read.sources,
                algorithm=ALGORITHM.format(
                    readout=weighting.readout, inverted=" after an inversion" if weighting.inverts else ""
                ),
                reference=MPRAGE_REFERENCE if weighting.readout is Readout.MPRAGE else REFERENCE,
                settings={
                    "Contrast": read.contrast.title,
                    "Readout": str(weighting.readout),
                    "Timings": {key: values[0] for key, values in _lists(weighting).items()},
                    **({"InversionEfficiency": EFFICIENCY} if weighting.inverts else {}),
                    "StandardDeviation": INDEPENDENT if read.has_deviation else "not known",
                    **({"Maps": read.how} if read.how else {}),
                },
                acquired=fields | {key: read.acquired[key] for key in COPIED if key in read.acquired},
                skull_stripped=read.skull_stripped,
                notes=remarks,
                placement=read.placement,
            ),
            heading=f"{read.contrast.title} ({weighting.readout}), "
            + ", ".join(f"{key} {value:g}" for key, value in fields.items())
            + f", {shape_of(maps.status.shape)} voxels",
            remarks=remarks,
        )


def synthesised(
    maps: ParameterMaps,
    spec: ParameterSpec,
    weighting: Weighting,
    device: torch.device | None = None,
    feedback: Feedback | None = None,
) -> ParameterMaps:
    """Return the weighted image of maps, with its standard deviation; NaN where they have no value.

    Args:
        maps: T1, T2 and PD.
        spec: What the image is.
        weighting: Its readout and timings, completed.
        device: Where it is computed; None for the processor.
        feedback: Where progress is reported.
    """
    where = torch.device("cpu") if device is None else device
    inside = ~maps.failed
    row = weighting.row().to(where)
    theta, std = (
        torch.stack([part(spec.name)[inside] for spec in SPECS], dim=-1)
        for part in (maps.value, maps.deviation)
    )

    def block(voxels: slice) -> tuple[Tensor, Tensor]:
        signal, deviation = signal_with_deviation(
            theta[voxels].to(where).double(), std[voxels].to(where).double(), row
        )
        return signal.cpu(), deviation.cpu()

    with one_thread_per_operation() as n_threads:
        context = ExecutionContext(device=where, n_threads=n_threads)
        parts = each_block(len(theta), block, context, None if feedback is None else feedback.progress)
    values, deviations = (maps.value("T1").new_full((*inside.shape, 1), math.nan) for _ in range(2))
    if parts:
        values[inside, 0] = torch.cat([signal for signal, _ in parts]).to(values)
        deviations[inside, 0] = torch.cat([deviation for _, deviation in parts]).to(values)
    return ParameterMaps(
        specs=(spec,), values=values, std=deviations, status=maps.status, affine=maps.affine
    )


def sidecar_times(weighting: Weighting) -> dict[str, float]:
    """Return the times an image is computed with, as BIDS writes them: seconds, degrees."""
    angle = weighting.time("flip_angle")
    names = {
        "RepetitionTime": weighting.time("repetition_time"),
        "RepetitionTimePreparation": None,
        "RepetitionTimeExcitation": weighting.time("echo_spacing"),
        "EchoTime": weighting.time("echo_time"),
        "InversionTime": weighting.time("inversion_time"),
        "FlipAngle": RIGHT_ANGLE if angle is None else math.degrees(angle),
    }
    if weighting.readout is Readout.MPRAGE:
        names["RepetitionTimePreparation"] = names["RepetitionTime"]
    return {name: round(value, 9) for name, value in names.items() if value is not None}


def images_of_maps(
    maps: MappedSeries | Path,
    settings: Mapping[Contrast, ContrastSettings],
    *,
    acq: str | None = None,
    subject: str | None = None,
    device: str = "auto",
) -> dict[str, MappedSeries]:
    """Return weighted images of maps, as `unweight.synthesise` gives them.

    Args:
        maps: In memory, or the folder they are in.
        settings: Of each contrast: True or times by their short names; None or False if it is not made.
        acq: Label of `acq` in the names of the images.
        subject: Of a folder with several, which.
        device: `auto`, `cpu` or `cuda`.

    Raises:
        UsageError: No contrast is chosen, a time is unknown, or there are several sets of maps.
    """
    chosen = {contrast: times for contrast, times in settings.items() if times not in (None, False)}
    if not chosen:
        raise UsageError("no contrast is chosen", remedy="Give one or several of t1w, t2w, flair, mprage.")
    images = {}
    for contrast, times in chosen.items():
        options = ContrastOptions(
            inputs=(maps if isinstance(maps, Path) else IN_MEMORY,),
            **{contrast.value: True},  # type: ignore[arg-type]  # by name
            **_times_of(contrast, times),  # type: ignore[arg-type]  # by name
            acq=acq,
            subjects=None if subject is None else (subject,),
            device=device,
        )
        mapper = options.mapper()
        if isinstance(maps, MappedSeries):
            images[contrast.value] = map_read(
                mapper, f"{maps.label} {contrast.title}", read_in_memory(contrast, maps)
            )
            continue
        sets = options.find()
        if len(sets) > 1:
            raise UsageError(f"there are {len(sets)} sets of maps", remedy="Choose one with subject.")
        images[contrast.value] = map_found(mapper, *sets[0])
    return images


def _times_of(contrast: Contrast, times: ContrastSettings) -> dict[str, tuple[float, ...]]:
    """Return times by the names of the options.

    Raises:
        UsageError: A name is unknown.
    """
    if not isinstance(times, Mapping):
        return {}
    unknown = sorted(set(times) - set(SHORT_NAMES))
    if unknown:
        raise UsageError(
            f"{contrast.value} has no {', '.join(unknown)}", remedy=f"There are {', '.join(SHORT_NAMES)}."
        )
    return {SHORT_NAMES[name]: (float(value),) for name, value in times.items()}


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


def _named(paths: Mapping[str, Path | None]) -> dict[str, Path]:
    return {name: path for name, path in paths.items() if path is not None}


def _lists(weighting: Weighting) -> dict[str, list[float]]:
    known = weighting.protocol.as_dict()
    return {name: values for name, values in known.items() if isinstance(values, list)}


def _may_be_whole(sidecar: Path) -> bool:
    """Whether a set has T2 and PD, or cannot be read, which its reader then explains."""
    images = images_of(sidecar)
    if not images:
        return True
    stem = sidecar.name.removesuffix(f"{T1.suffix}.json")
    return all(f"{stem}{spec.suffix}.nii.gz" in images for spec in SPECS)


def _read_set(contrast: Contrast, folder: Path, sidecar: Path) -> ReadMaps:
    """Return a set that `unweight maps` wrote."""
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


def _read_files(source: MapSource, options: ContrastOptions) -> ReadMaps:
    """Return maps that are named one by one.

    Raises:
        InputError: A file is unusable, or on another grid, or not in seconds.
    """
    paths = [source.values[spec.name] for spec in SPECS]
    spreads = [source.deviations[spec.name] for spec in SPECS] if source.deviations else []
    grids, images = [], []
    for path in (*paths, *spreads):
        volume = open_volume(path)
        if volume.data.ndim != 3 or volume.data.is_complex():
            raise InputError("is not one real volume", remedy="Give a map of one volume.", path=path)
        grids.append(volume.grid)
        images.append(volume.data.float())
    check_same_grid(grids)
    values = torch.stack(images[: len(SPECS)], dim=-1)
    std = torch.stack(images[len(SPECS) :], dim=-1) if spreads else torch.full_like(values, math.nan)
    status = _status_of(values, options.mask, grids[0])
    _check_seconds(values, status, paths)
    entities = entities_of(paths) if options.subject is None else {"sub": options.subject}
    fields = entry_beside(paths[0]).sidecar.fields
    return ReadMaps(
        contrast=source.contrast,
        maps=assemble_maps(SPECS, values, std, status, like=values, affine=grids[0].affine),
        entities=entities or UNNAMED,
        sources=tuple(source_of(path, None) for path in paths),
        placement=grids[0].placement,
        acquired=fields,
        skull_stripped=fields.get("SkullStripped") is True,
        has_deviation=bool(spreads),
    )


def _status_of(values: Float[Tensor, "x y z 3"], mask: Path | None, grid: Grid) -> Tensor:
    """Return where maps of other programs have a value: 0 and NaN stand for none, less than 0 is impossible."""
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
                remedy="Give maps in seconds; they are never converted silently.",
                path=paths[index],
            )
