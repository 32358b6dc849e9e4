"""Weighted images computed from maps of T1, T2 and PD, so that a study can be shown with one protocol.

    S = signal equation of the contrast (T1, T2, PD; TR, TE, TI, α),
    SD² = Σ_θ (∂S/∂θ · SD(θ))²,   θ = T1, T2, PD

The equations are those of `signals.weighted`, by which `unweight maps` explains the images it is given.
The SD is first order and treats the errors of the three maps as independent. No receive field is applied,
and no noise is added: the unit is that of the PD map.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import ClassVar, final

import torch
from torch import Tensor

from unweight.bids.derivatives.provenance import Provenance
from unweight.bids.derivatives.read import find_maps
from unweight.bids.derivatives.whole_set import images_of
from unweight.bids.folders import is_folder
from unweight.bids.names import check_label
from unweight.core.errors import InputError, UsageError
from unweight.core.maps import ParameterMaps
from unweight.core.parameter import ParameterSpec
from unweight.core.weighting import Readout, Weighting
from unweight.fit.blocks import ExecutionContext, each_block, one_thread_per_operation
from unweight.mapping.device import device_for
from unweight.mapping.map_input import SPECS, MapSource, ReadMaps, read_files, read_set
from unweight.mapping.output import OutputSet
from unweight.mapping.series import (
    Feedback,
    MappedSeries,
    MappingOptions,
    SeriesMapper,
    shape_of,
)
from unweight.signals.parameters import T1
from unweight.signals.weighted import EFFICIENCY, signal_with_deviation
from unweight.synth.protocols.contrast import RIGHT_ANGLE, Contrast, ContrastTimes

COPIED = ("MagneticFieldStrength",)
NO_DEVIATION = "no standard deviations of the maps were given, so the image has none: its SD is NaN"
ALGORITHM = "Signal equation of {readout}{inverted}, evaluated on maps of T1, T2 and PD"
REFERENCE = "Bernstein MA, King KF, Zhou XJ. Handbook of MRI Pulse Sequences. Elsevier (2004)"
MPRAGE_REFERENCE = "Marques JP, et al. NeuroImage 49:1271 (2010), doi 10.1016/j.neuroimage.2009.10.002"
INDEPENDENT = "first order, errors of T1, T2 and PD treated as independent"


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
                "TR, TE, TI, flip angle and readout time can be given for one contrast only; given: "
                + ", ".join(contrast.display_name for contrast in self.contrasts),
                remedy="Run the command once for each contrast, or omit these options to use the presets.",
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
        lists = {item.name: getattr(self, item.name) for item in fields(ContrastTimes)}
        for name, values in lists.items():
            if values is not None and len(values) != 1:
                raise UsageError(
                    f"{len(values)} values of {name.replace('_', ' ')} for one image",
                    remedy="Run the command once for each image.",
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
                (c.display_name, MapSource(contrast=c, values=self.files, deviations=self.deviations))
                for c in self.contrasts
            ]
        folder = self.inputs[0]
        images: list[tuple[str, MapSource]] = []
        for sidecar in self._sidecars(folder):
            stem = sidecar.name.removesuffix(".json").removesuffix(f"_{T1.suffix}")
            images += [
                (f"{stem} {c.display_name}", MapSource(contrast=c, sidecar=sidecar)) for c in self.contrasts
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
                remedy="Example: `unweight contrast maps --t1w -o images`.",
            )
        if self.inputs and (self.deviations or self.subject is not None or self.mask is not None):
            raise UsageError(
                "--t1-sd, --t2-sd, --pd-sd, --mask and --subject apply only to maps given as files",
                remedy="Omit them: the folder contains SDs and subjects; --subjects selects some subjects.",
            )
        missing = [name for name in ("T1", "T2", "PD") if self.files and name not in self.files]
        if missing:
            raise UsageError(
                f"the map of {' and '.join(missing)} is missing",
                remedy=" ".join(f"Give --{name.lower()}-map FILE." for name in missing),
            )
        if self.deviations and len(self.deviations) < len(SPECS):
            raise UsageError(
                "SDs are needed of all three maps", remedy="Give --t1-sd, --t2-sd and --pd-sd, or none."
            )

    def _sidecars(self, folder: Path) -> list[Path]:
        """Return the sidecars of the sets that have T1, T2 and PD."""
        if folder.exists() and not is_folder(folder):
            raise UsageError(
                f"MAPS must be a folder, and {folder.name} is a file",
                remedy="Give files with --t1-map, --t2-map and --pd-map.",
            )
        paths = find_maps(folder, T1.suffix)
        if self.subjects is not None:
            wanted = {f"sub-{label}" for label in self.subjects}
            lost = wanted - {path.relative_to(folder).parts[0] for path in paths}
            if lost:
                raise InputError(
                    f"contains no maps of {', '.join(sorted(lost))}", remedy="Check the label.", path=folder
                )
            paths = tuple(path for path in paths if path.relative_to(folder).parts[0] in wanted)
        kept = [path for path in paths if _may_be_whole(path)]
        if not kept:
            raise InputError(
                "contains T1 maps, but no set with T1, T2 and PD",
                remedy="Compute them with `unweight maps`, or give --t1-map, --t2-map and --pd-map.",
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
            return read_files(source, self.options.mask, self.options.subject)
        return read_set(source.contrast, self.options.inputs[0], source.sidecar)

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
        times = sidecar_times(weighting)
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
                    "Contrast": read.contrast.display_name,
                    "Readout": str(weighting.readout),
                    "Timings": {key: values[0] for key, values in _lists(weighting).items()},
                    **({"InversionEfficiency": EFFICIENCY} if weighting.inverts else {}),
                    "StandardDeviation": INDEPENDENT if read.has_deviation else "not known",
                    **({"Maps": read.how} if read.how else {}),
                },
                acquired=times | {key: read.acquired[key] for key in COPIED if key in read.acquired},
                skull_stripped=read.skull_stripped,
                notes=remarks,
                placement=read.placement,
            ),
            heading=f"{read.contrast.display_name} ({weighting.readout}), "
            + ", ".join(f"{key} {value:g}" for key, value in times.items())
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
