"""T1, T2 and PD from routine T1w, T2w and FLAIR images, with intervals and a check."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar, final

import torch

from unweight.bids.collection import Collection, Unreadable, find_collections, looks_like_bids, with_absent
from unweight.bids.derivatives.description import brain_image
from unweight.bids.derivatives.provenance import Provenance
from unweight.bids.folders import is_folder
from unweight.bids.names import check_label, image_stem
from unweight.bids.read import images_in
from unweight.bids.series.weighted import CONTRASTS, GivenWeighting
from unweight.core.errors import InputError, UsageError
from unweight.core.estimator import Estimator
from unweight.core.examination import WeightedImageSet
from unweight.core.maps import ParameterMaps
from unweight.core.weighting import Readout
from unweight.mapping.brain import MaskOptions
from unweight.mapping.device import device_for
from unweight.mapping.output import OutputSet
from unweight.mapping.series import Feedback, MappedSeries, MappingOptions, SeriesMapper, shape_of
from unweight.metrics.resynthesis import SynthesisedImage, resynthesise
from unweight.prepare.weighted_images import MapsFiles, ReadExamination, read_examination
from unweight.registry import build, method
from unweight.run.visit import weighted_images
from unweight.signals.parameters import T1

FAMILY = "weighted"
LABEL = "examination"  # of images that are named one by one


@final
@dataclass(frozen=True, kw_only=True)
class WeightedInput:
    """One weighted image, and what the caller says about it.

    Attributes:
        file: A NIfTI file; None if there is no such image, or its name tells which it is.
        repetition_time: TR [s].
        echo_time: TE [s].
        inversion_time: TI [s].
        flip_angle: [degrees]
        readout: `spin-echo`, `turbo-spin-echo` or `mprage`.
    """

    file: Path | None = None
    repetition_time: float | None = None
    echo_time: float | None = None
    inversion_time: float | None = None
    flip_angle: float | None = None
    readout: str | None = None

    def given(self) -> GivenWeighting:
        """Return what goes before the sidecar."""
        return GivenWeighting(
            repetition_time=self.repetition_time,
            echo_time=self.echo_time,
            inversion_time=self.inversion_time,
            flip_angle=self.flip_angle,
            readout=None if self.readout is None else Readout(self.readout),
        )


@final
@dataclass(frozen=True, kw_only=True)
class WeightedOptions(MappingOptions[MapsFiles | InputError, ReadExamination]):
    """Options of `unweight maps`.

    Attributes:
        inputs: A BIDS tree, a folder of NIfTI, or NIfTI files whose names end in their contrast.
        t1w: The T1w image.
        t2w: The T2w image.
        flair: The FLAIR image.
        field_strength: [T]; None for what sidecars tell.
        mask: A brain mask; None to find the brain.
        reference: The contrast whose grid maps lie on; None for the first there is.
        no_register: Whether images on other grids are resampled only.
        n4: Whether bias fields are removed first.
        rec: Label of `rec` in the names of the maps.
        subjects: Of a BIDS tree, without `sub-`; None for all.
        subject: What the subject of images outside a BIDS tree is called.
        method: Of the registry.
        weights: Folder of weights; None for those of the package.
        device: `auto`, `cpu` or `cuda`.
        brain: How the brain is found, where there is no mask.
    """

    inputs: tuple[Path, ...] = ()
    t1w: WeightedInput = field(default_factory=WeightedInput, metadata={"prefix": "t1w_"})
    t2w: WeightedInput = field(default_factory=WeightedInput, metadata={"prefix": "t2w_"})
    flair: WeightedInput = field(default_factory=WeightedInput, metadata={"prefix": "flair_"})
    field_strength: float | None = None
    mask: Path | None = None
    reference: str | None = None
    no_register: bool = False
    n4: bool = False
    rec: str | None = None
    subjects: tuple[str, ...] | None = None
    subject: str | None = None
    method: str = "embedding"
    weights: Path | None = None
    device: str = "auto"
    brain: MaskOptions = field(default_factory=MaskOptions)

    def __post_init__(self) -> None:
        self.brain.check(self.mask)
        if bool(self.files) == bool(self.inputs):
            raise UsageError(
                "give either a BIDS tree, a folder or files, or files with --t1w, --t2w and --flair",
                remedy="unweight maps bids_tree -o maps",
            )
        if self.subject is not None:
            check_label(self.subject, "a subject")

    @property
    def files(self) -> dict[str, Path]:
        """The images named one by one, by contrast."""
        named = {name: image.file for name, image in self._images().items()}
        return {name: path for name, path in named.items() if path is not None}

    def find(self) -> Sequence[tuple[str, MapsFiles | InputError]]:
        """Return the images of each examination; what is wrong with one is raised when it is read."""
        if self.files:
            return [(LABEL, self._with(self.files))]
        tree = self.inputs[0]
        of_tree = is_folder(tree) and (looks_like_bids(tree) or not _by_contrast(images_in(tree)))
        if not of_tree:
            paths = images_in(tree) if is_folder(tree) and len(self.inputs) == 1 else self.inputs
            files = _by_contrast(paths)
            unknown = [path for path in paths if path not in files.values()]
            if unknown and paths is self.inputs:
                raise UsageError(
                    f"the name of {unknown[0]} does not identify its contrast",
                    remedy="Give it with --t1w, --t2w or --flair.",
                )
            return [(LABEL, self._with(files))]
        if len(self.inputs) > 1 or self.mask is not None:
            raise UsageError(
                "one BIDS tree at a time, without --mask", remedy="Give files for a mask of your own."
            )
        if self.subject is not None:
            raise UsageError(
                "--subject names the subject of files",
                remedy="--subjects selects subjects of a BIDS dataset.",
            )
        return [
            (label, images if isinstance(images, InputError) else self._with(images))
            for label, images in _in_tree(tree, self.subjects)
        ]

    def mapper(self) -> "WeightedMapper":
        """Return what maps them, with its network."""
        estimator: Estimator[WeightedImageSet] = build(method(self.method, FAMILY), self.weights)
        return WeightedMapper(options=self, estimator=estimator.to(device_for(self.device)))

    def _images(self) -> dict[str, WeightedInput]:
        return dict(zip(CONTRASTS, (self.t1w, self.t2w, self.flair), strict=True))

    def _with(self, files: Mapping[str, Path]) -> MapsFiles:
        return MapsFiles(
            images=files,
            given={name: image.given() for name, image in self._images().items()},
            mask=self.mask,
            field_strength=self.field_strength,
            reference=next((name for name in CONTRASTS if name.lower() == self.reference), None),
            register=not self.no_register,
            correct_bias=self.n4,
            finder=self.brain.finder(),
        )


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class WeightedMapper(SeriesMapper[MapsFiles | InputError, ReadExamination]):
    """Maps T1, T2 and PD.

    Attributes:
        options: Of the caller.
        estimator: With its network.
    """

    what: ClassVar[str] = "examinations"
    options: WeightedOptions
    estimator: Estimator[WeightedImageSet]

    def read(self, source: MapsFiles | InputError) -> ReadExamination:
        """Read one examination."""
        if isinstance(source, InputError):
            raise source
        read = read_examination(source)
        entities = dict(read.entities)
        if self.options.subject is not None and read.root is not None:
            raise UsageError(
                "the file names in a BIDS dataset give the subject, and these images lie in one",
                remedy="Leave --subject out.",
            )
        if self.options.subject is not None:
            entities["sub"] = self.options.subject
        if self.options.rec is not None:
            entities["rec"] = self.options.rec
        return replace(read, entities=MappingProxyType(entities))

    def output(self, read: ReadExamination) -> OutputSet:
        """Return what its maps are called."""
        return OutputSet(
            entities=read.entities,
            sources=read.sources,
            root=read.root,
            first=T1,
            voxels=tuple(read.examination.mask.shape),
        )

    def estimate(self, label: str, read: ReadExamination, feedback: Feedback) -> MappedSeries:
        """Map it, and compare the images with those the maps predict."""
        upright = self.estimator(read.examination, feedback.progress)
        predicted = () if bool(upright.failed.all()) else resynthesise(upright, read.examination)
        maps = _on_reference(upright, read)
        mask = read.turn.undo(read.examination.mask)
        names = ", ".join(f"{image.name} ({image.weighting.readout})" for image in read.examination.images)
        strength = read.examination.field_strength
        rows = tuple(
            (image.name, f"{image.correlation:.3f}", f"{100 * image.error:.1f} %") for image in predicted
        )
        return MappedSeries(
            label=label,
            maps=maps,
            output=self.output(read),
            provenance=self._provenance(read, predicted),
            beside=(brain_image(mask, str(read.settings["BrainMask"])),),
            heading=f"{names}, {strength:g} T, {shape_of(maps.status.shape)} voxels",
            remarks=(*read.notes, *(f"{name}: {note}" for name, note in maps.notes.items())),
            tables=((("predicted image", "correlation", "median difference"), rows),),
        )

    def _provenance(self, read: ReadExamination, predicted: tuple[SynthesisedImage, ...]) -> Provenance:
        record = method(self.options.method, FAMILY)
        checked = {image.name: {"Correlation": round(image.correlation, 4)} for image in predicted}
        return Provenance(
            sources=read.sources,
            algorithm=record.algorithm,
            reference=record.reference,
            root=read.root,
            settings={**read.settings, "Method": record.name, "MadeAgain": checked},
            acquired=read.acquired,
            skull_stripped=read.skull_stripped,
            placement=read.placement,
        )


def _by_contrast(paths: Sequence[Path]) -> dict[str, Path]:
    """Return images by the contrast in which their names end; of two of one contrast, the first."""
    files: dict[str, Path] = {}
    for path in paths:
        ending = (image_stem(path) or path.name).rpartition("_")[2].lower()
        contrast = next((name for name in CONTRASTS if name.lower() == ending), None)
        if contrast is not None:
            files.setdefault(contrast, path)
    return files


def _in_tree(
    root: Path, subjects: Sequence[str] | None
) -> Iterator[tuple[str, Mapping[str, Path] | InputError]]:
    """Give the images of each subject and session of a BIDS tree."""
    result = with_absent(find_collections(root.absolute(), CONTRASTS, subjects), CONTRASTS, subjects)
    plain = [item for item in result if "ce" not in item.entities]  # a contrast agent
    if not plain:
        raise InputError("no T1w, T2w or FLAIR in this BIDS tree", remedy="Check the path.", path=root)
    visits: dict[str, list[Collection | Unreadable]] = {}
    for item in plain:
        label = "_".join(f"{key}-{item.entities[key]}" for key in ("sub", "ses") if key in item.entities)
        visits.setdefault(label, []).append(item)
    for label, members in visits.items():
        fault = next((item.error for item in members if isinstance(item, Unreadable)), None)
        series = [item for item in members if isinstance(item, Collection)]
        try:
            yield label, weighted_images(series) if fault is None else fault
        except InputError as error:
            yield label, error


def _on_reference(maps: ParameterMaps, read: ReadExamination) -> ParameterMaps:
    """Return the maps turned back to the axes of the reference image."""

    def back(values: torch.Tensor | None) -> torch.Tensor | None:
        return None if values is None else read.turn.undo(values)

    return replace(
        maps,
        values=read.turn.undo(maps.values),
        std=read.turn.undo(maps.std),
        status=read.turn.undo(maps.status),
        lower=back(maps.lower),
        upper=back(maps.upper),
        misfit=back(maps.misfit),
        affine=read.placement.affine,
    )
