"""What a caller of `unweight.api` hands over, as the options of mappers take it: paths, arrays, scans."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import final

import torch
from torch import Tensor

from unweight.bids.derivatives.read import StoredMaps
from unweight.bids.names import check_label
from unweight.bids.read import Series
from unweight.core.acquisition import SignalKind
from unweight.core.errors import InputError, UsageError
from unweight.core.protocol import protocol_from_values
from unweight.core.weighting import Readout, Weighting
from unweight.mapping.arrays import (
    Times,
    affine_of,
    examination_of_arrays,
    mask_of,
    series_of_array,
    tensor_of,
)
from unweight.mapping.brain import MaskOptions, is_auto, with_brain_mask
from unweight.mapping.inputs import SeriesInput
from unweight.mapping.series import Found, MappedSeries, MappingOptions, Read, map_found, map_read
from unweight.mapping.weighted import WeightedInput, WeightedOptions
from unweight.prepare.weighted_images import ReadExamination
from unweight.signals.parameters import T1

MEGRE = "MEGRE"
IN_MEMORY = Path("array")  # stands where options name files
NO_IMAGE = WeightedInput()
DEFAULT_MASK = MaskOptions()
Images = object  # a path, several, or an array of NumPy or PyTorch


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class WeightedScan:
    """One T1w, T2w or FLAIR image, with what is known of its sequence.

    Attributes:
        image: A NIfTI file, or an array of three axes.
        repetition_time: TR, from inversion to inversion for an MPRAGE [s].
        echo_time: TE [s].
        inversion_time: TI [s].
        flip_angle: [degrees]
        readout: `spin-echo`, `turbo-spin-echo` or `mprage`; an array needs it.
    """

    image: Images
    repetition_time: float | None = None
    echo_time: float | None = None
    inversion_time: float | None = None
    flip_angle: float | None = None
    readout: str | None = None


AnyPath = str | PathLike[str]


def label_of(entities: Mapping[str, str]) -> str:
    """Return entities as a label."""
    return "_".join(f"{key}-{label}" for key, label in entities.items())


def paths_of(images: Images) -> tuple[Path, ...] | None:
    """Return paths; None for an array."""
    if isinstance(images, str | PathLike):
        return (Path(images),)
    if isinstance(images, Sequence) and images and all(isinstance(item, str | PathLike) for item in images):
        return tuple(Path(item) for item in images)
    if images is None or (isinstance(images, Sequence) and not images):
        raise InputError("no images", remedy="Give a path, paths or an array.")
    return None


def path_of(path: object) -> Path | None:
    """Return a path; None for nothing.

    Raises:
        UsageError: It is something else, such as an array beside files.
    """
    if path is None:
        return None
    if not isinstance(path, str | PathLike):
        raise UsageError(
            f"expected a path, not {type(path).__name__}", remedy="Give files only, or arrays only."
        )
    return Path(path)


def is_tree(path: Path) -> bool:
    """Whether a folder is a BIDS tree."""
    return (path / "dataset_description.json").is_file()


def bare_label(subject: str) -> str:
    """Return a label without `sub-`.

    Raises:
        InputError: BIDS does not allow it.
    """
    return check_label(subject.removeprefix("sub-"), "a subject")


def check_no_affine(affine: object) -> None:
    """Refuse an affine beside files.

    Raises:
        UsageError: There is one.
    """
    if affine is not None:
        raise UsageError("files contain their own affine", remedy="Omit affine.")


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class SeriesCall:
    """One series, as files or as an array.

    Attributes:
        images: A path, paths or an array, volumes last.
        times: Timings by the names of `Protocol` [s]; flip angles [degrees].
        affine: Of an array.
        mask: A file beside files, an array beside an array; or `auto`, for the brain.
        subject: Of a BIDS tree, which; of other images, what it is called.
    """

    images: Images
    times: Mapping[str, Times | None]
    affine: object = None
    mask: object = None
    subject: str | None = None

    @property
    def paths(self) -> tuple[Path, ...] | None:
        """The files; None for an array."""
        return paths_of(self.images)

    def files(self) -> SeriesInput:
        """Return the files as options take them; of an array, options that read nothing."""
        paths = self.paths
        if paths is None:
            return SeriesInput(inputs=(IN_MEMORY,))
        check_no_affine(self.affine)
        subject = None if self.subject is None else bare_label(self.subject)
        in_tree = len(paths) == 1 and is_tree(paths[0])
        return SeriesInput(
            inputs=paths,
            inversion_time=values_of(self.times.get("inversion_time")),
            repetition_time=values_of(self.times.get("repetition_time")),
            echo_time=values_of(self.times.get("echo_time")),
            readout_time=values_of(self.times.get("readout_time")),
            flip_angle=values_of(self.times.get("flip_angle")),
            mask=path_of(self.mask),
            subjects=(subject,) if in_tree and subject is not None else None,
            subject=None if in_tree else subject,
        )

    def check_given(self, *names: str) -> None:
        """Refuse an array without its timings, all that are missing at once.

        Raises:
            UsageError: Some are missing.
        """
        _check_given(self.times, names)

    def series(
        self, signal: Tensor, suffix: str, kind: SignalKind, field_strength: float | None = None
    ) -> Series:
        """Return an array as a series that was read."""
        degrees = values_of(self.times.get("flip_angle"))
        angles = None if degrees is None else tuple(math.radians(angle) for angle in degrees)
        series = series_of_array(
            signal,
            {**self.times, "flip_angle": angles},
            suffix=suffix,
            kind=kind,
            field_strength=field_strength,
            affine=affine_of(self.affine),
            mask=None if is_auto(self.mask) else mask_of(self.mask),
            subject=None if self.subject is None else bare_label(self.subject),
        )
        return with_brain_mask(series) if is_auto(self.mask) else series


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class EchoCall:
    """A gradient echo with or without its phase.

    Attributes:
        series: The images; where the phase is named apart, the magnitudes.
        phase: Phase images, or an array [rad].
        field_strength: [T]
        phase_range: Lowest and highest number of a full turn in files.
        phase_full_range: Whether those of the files are a full turn.
        invert_phase: Whether phase falls where the field is higher.
    """

    series: SeriesCall
    phase: Images = None
    field_strength: float | None = None
    phase_range: tuple[float, float] | None = None
    phase_full_range: bool = False
    invert_phase: bool = False

    def files(self) -> SeriesInput:
        """Return the files as options take them."""
        scaled = replace(
            self.series.files(),
            field_strength=self.field_strength,
            phase_range=self.phase_range,
            phase_full_range=self.phase_full_range,
            invert_phase=self.invert_phase,
        )
        if self.phase is None or self.series.paths is None:
            return scaled
        phases = paths_of(self.phase)
        if phases is None:
            raise UsageError(
                "the magnitudes are files, but the phase is an array",
                remedy="Give both as files, or both as arrays.",
            )
        return replace(scaled, inputs=(), magnitude_images=scaled.inputs, phase_images=phases)

    def check_given(self, *names: str) -> None:
        """Refuse arrays without timings or field strength, all that are missing at once.

        Raises:
            UsageError: Some are missing.
        """
        _check_given({**self.series.times, "field_strength": self.field_strength}, names)

    @property
    def has_phase(self) -> bool:
        """Whether arrays hold a phase."""
        return self.phase is not None or tensor_of(self.series.images).is_complex()

    def magnitude_series(self) -> Series:
        """Return the magnitudes of arrays as a series that was read."""
        magnitude = magnitude_of(tensor_of(self.series.images))
        return self.series.series(magnitude, MEGRE, SignalKind.MAGNITUDE, self.field_strength)

    def complex_series(self) -> Series:
        """Return arrays as a complex series that was read."""
        signal = _complex(self.series.images, self.phase, invert_phase=self.invert_phase)
        return self.series.series(signal, MEGRE, SignalKind.COMPLEX, self.field_strength)


def magnitude_of(signal: Tensor) -> Tensor:
    """Return the magnitude of complex numbers, and others as they are."""
    return signal.abs() if signal.is_complex() else signal


def values_of(value: Times | None) -> tuple[float, ...] | None:
    """Return one number, or several, as a tuple; None for nothing."""
    if value is None:
        return None
    return (float(value),) if isinstance(value, int | float) else tuple(float(item) for item in value)


def _check_given(values: Mapping[str, object], names: Sequence[str]) -> None:
    missing = [name for name in names if values.get(name) is None]
    if missing:
        raise UsageError(
            f"an array needs {' and '.join(missing)}", remedy="Give times in seconds, field_strength in T."
        )


def _complex(images: Images, phase: Images, *, invert_phase: bool) -> Tensor:
    """Return complex volumes of an array, or of magnitudes and phase [rad]."""
    signal = tensor_of(images)
    if phase is None:
        if not signal.is_complex():
            raise UsageError(
                "susceptibility needs the phase", remedy="Give complex numbers, or magnitudes and phase."
            )
        return signal.conj().resolve_conj() if invert_phase else signal
    angle = tensor_of(phase)
    if signal.is_complex() or angle.shape != signal.shape:
        raise InputError(
            f"magnitudes of shape {tuple(signal.shape)} and a phase of {tuple(angle.shape)}",
            remedy="Give real arrays of one shape.",
        )
    return torch.polar(signal, (-angle if invert_phase else angle).to(signal))


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class WeightedCall:
    """Weighted images, as files or as arrays.

    Attributes:
        images: A BIDS tree, a folder of NIfTI, or files whose names end in their contrast.
        scans: Instead, a file, array or `WeightedScan` of each contrast; None for none.
        field_strength: [T]
        affine: Of arrays.
        mask: A file beside files, an array beside arrays.
        subject: Of a BIDS tree, which; of other images, what it is called.
    """

    images: Images
    scans: Mapping[str, Images]
    field_strength: float | None = None
    affine: object = None
    mask: object = None
    subject: str | None = None

    def __post_init__(self) -> None:
        if self.images is not None and (paths_of(self.images) is None or self.named):
            raise UsageError(
                "weighted images must be either a path, or given as t1w, t2w and flair",
                remedy="Give one or the other.",
            )
        files = [paths_of(scan.image) is not None for scan in self.named.values()]
        if any(files) and not all(files):
            raise UsageError("files and arrays are mixed", remedy="Give files only, or arrays only.")

    @property
    def named(self) -> dict[str, WeightedScan]:
        """The images named one by one, by contrast."""
        return {
            name: scan if isinstance(scan, WeightedScan) else WeightedScan(image=scan)
            for name, scan in self.scans.items()
            if scan is not None
        }

    @property
    def in_memory(self) -> bool:
        """Whether the images are arrays."""
        return self.images is None and any(paths_of(scan.image) is None for scan in self.named.values())

    def files(self) -> WeightedOptions:
        """Return the files as options take them; of arrays, options that read nothing."""
        if self.in_memory:
            return WeightedOptions(inputs=(IN_MEMORY,))
        check_no_affine(self.affine)
        paths = () if self.images is None else paths_of(self.images) or ()
        inputs = {name: _weighted_input(scan) for name, scan in self.named.items()}
        subject = None if self.subject is None else bare_label(self.subject)
        in_tree = len(paths) == 1 and is_tree(paths[0])
        return WeightedOptions(
            inputs=paths,
            t1w=inputs.get("T1w", NO_IMAGE),
            t2w=inputs.get("T2w", NO_IMAGE),
            flair=inputs.get("FLAIR", NO_IMAGE),
            field_strength=self.field_strength,
            mask=path_of(self.mask),
            subjects=(subject,) if in_tree and subject is not None else None,
            subject=None if in_tree else subject,
        )

    def examination(self, rec: str | None = None, brain: MaskOptions = DEFAULT_MASK) -> ReadExamination:
        """Return arrays as an examination that was read.

        Args:
            rec: Label of `rec` in the names of the maps.
            brain: How the brain is found, where there is no mask.

        Raises:
            UsageError: The field strength or a timing is not given.
        """
        if self.field_strength is None:
            raise UsageError("arrays need field_strength", remedy="Give it in tesla.")
        scans = self.named
        read = examination_of_arrays(
            {name: tensor_of(scan.image) for name, scan in scans.items()},
            {name: _weighting(name, scan, self.field_strength) for name, scan in scans.items()},
            field_strength=self.field_strength,
            affine=affine_of(self.affine),
            mask=mask_of(self.mask),
            subject=None if self.subject is None else bare_label(self.subject),
            finder=None if self.mask is not None else brain.finder(),
        )
        return replace(read, entities=read.entities if rec is None else {**read.entities, "rec": rec})


def _weighted_input(scan: WeightedScan) -> WeightedInput:
    paths = paths_of(scan.image)
    if paths is not None and len(paths) > 1:
        raise UsageError("a weighted image must be a single file", remedy="Give one file.")
    return WeightedInput(
        file=None if paths is None else paths[0],
        repetition_time=scan.repetition_time,
        echo_time=scan.echo_time,
        inversion_time=scan.inversion_time,
        flip_angle=scan.flip_angle,
        readout=scan.readout,
    )


def _weighting(name: str, scan: WeightedScan, field_strength: float) -> Weighting:
    """Return how an array was acquired.

    Raises:
        UsageError: Something is not given; all that is missing is named.
    """
    needed = ["repetition_time", "echo_time", "readout"]
    if name == "FLAIR" or scan.readout == Readout.MPRAGE:
        needed.append("inversion_time")
    if scan.readout == Readout.MPRAGE:
        needed.append("flip_angle")
    missing = [field for field in needed if getattr(scan, field) is None]
    if missing:
        raise UsageError(
            f"the {name} needs {', '.join(missing)}", remedy=f"{name.lower()}=WeightedScan(image=…, …)"
        )
    if scan.readout not in tuple(Readout):
        raise UsageError(f"there is no readout {scan.readout}", remedy=f"There are {', '.join(Readout)}.")
    angle = (
        None if scan.flip_angle is None else float(torch.deg2rad(torch.tensor(scan.flip_angle).double()))
    )
    values = {
        "repetition_time": scan.repetition_time,
        "echo_time": scan.echo_time,
        "inversion_time": scan.inversion_time,
        "flip_angle": angle,
    }
    timings = {key: [value] for key, value in values.items() if value is not None}
    protocol = protocol_from_values(field_strength=field_strength, **timings)
    return Weighting(readout=Readout(scan.readout), protocol=protocol)


def as_stored(mapped: MappedSeries) -> StoredMaps:
    """Return maps in memory as those in a folder."""
    if mapped.output.first is not T1:
        raise UsageError("phantom analysis needs T1 maps", remedy="Pass the result of map_t1.")
    strength = mapped.provenance.acquired.get("MagneticFieldStrength")
    return StoredMaps(
        maps=mapped.maps,
        entities=mapped.output.entities,
        folder=Path(),
        field_strength=float(strength) if isinstance(strength, int | float) else None,
        protocol=mapped.provenance.protocol,
        settings=mapped.provenance.settings,
    )


def map_files(options: MappingOptions[Found, Read]) -> MappedSeries:
    """Map the one series that options ask for.

    Raises:
        UsageError: There are several.
    """
    mapper = options.mapper()
    all_series = options.find()
    if len(all_series) > 1:
        labels = ", ".join(label for label, _ in all_series[:8])
        raise UsageError(
            f"there are {len(all_series)} series ({labels}{', …' if len(all_series) > 8 else ''})",
            remedy="Choose one with the argument subject, or give its files.",
        )
    label, item = all_series[0]
    return map_found(mapper, label, item)


def map_magnitudes(options: MappingOptions[Found, Series], call: SeriesCall, suffix: str) -> MappedSeries:
    """Map the magnitudes of files or of an array."""
    if call.paths is not None:
        return map_files(options)
    call.check_given("echo_time")
    magnitude = magnitude_of(tensor_of(call.images))
    return map_array(options, call.series(magnitude, suffix, SignalKind.MAGNITUDE))


def map_array(options: MappingOptions[Found, Read], read: Read) -> MappedSeries:
    """Map a series or an examination of arrays."""
    mapper = options.mapper()
    return map_read(mapper, label_of(mapper.output(read).entities), read)
