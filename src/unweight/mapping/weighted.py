"""T1, T2 and PD from routine T1w, T2w and FLAIR images, with intervals and a check."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar, final

import torch

from unweight.bids.collection import TreePlace, place_in_tree
from unweight.bids.derivatives.description import brain_image
from unweight.bids.derivatives.provenance import Provenance
from unweight.bids.dicom.folder import looks_like_dicom
from unweight.bids.exam.choice import ExamChoice, Judge
from unweight.bids.exam.images import contrast_named
from unweight.bids.folders import is_folder
from unweight.bids.names import check_label
from unweight.bids.read import images_in
from unweight.bids.series.part import Entry
from unweight.bids.series.weighted import CONTRASTS, GivenWeighting
from unweight.core.errors import InputError, MissingValuesError, UsageError
from unweight.core.estimator import Estimator
from unweight.core.examination import WeightedImageSet
from unweight.core.maps import ParameterMaps
from unweight.core.weighting import Readout
from unweight.learn.weighted.fewer_images import note_on_fewer_images
from unweight.learn.weighted.protocol_judge import judge_of
from unweight.mapping.brain import MaskOptions
from unweight.mapping.device import device_for
from unweight.mapping.exam import ExamSource, check_choice, exam_of_named, exams_in_tree, opened
from unweight.mapping.output import OutputSet
from unweight.mapping.series import Feedback, MappedSeries, MappingOptions, SeriesMapper, shape_of
from unweight.metrics.resynthesis import SynthesisedImage, resynthesise
from unweight.prepare.weighted_images import MapsFiles, ReadExamination, read_examination
from unweight.registry import build, method
from unweight.signals.parameters import T1

WeightedSource = MapsFiles | ExamSource | InputError
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
class WeightedOptions(MappingOptions[WeightedSource, ReadExamination]):
    """Options of `unweight maps`.

    Attributes:
        inputs: A BIDS tree or a subject or session in it, a folder of DICOM or NIfTI, or NIfTI files whose
            names end in their contrast.
        series: Numbers of the series of a folder of DICOM to choose from; None for all.
        contrast_agent: Whether images after a contrast agent are accepted, where there are no others.
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
    series: tuple[int, ...] | None = None
    contrast_agent: bool = False
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
                "give either a BIDS dataset, a folder or files, or files with --t1w, --t2w and --flair",
                remedy="unweight maps bids_tree -o maps",
            )
        if self.files and self.series is not None:
            raise UsageError(
                "--series is for DICOM folders; it cannot be used with --t1w, --t2w and --flair",
                remedy="Omit --series, or give the DICOM folder.",
            )
        if self.subject is not None:
            check_label(self.subject, "a subject")

    @property
    def files(self) -> dict[str, Path]:
        """The images named one by one, by contrast."""
        named = {name: image.file for name, image in self._images().items()}
        return {name: path for name, path in named.items() if path is not None}

    def find(self) -> Sequence[tuple[str, WeightedSource]]:
        """Return the exams, without reading them; what is wrong with one is raised when it is read."""
        if self.files:
            return [(LABEL, self.of_files(self.files))]
        if len(self.inputs) > 1 or not is_folder(self.inputs[0]):
            unknown = next((path for path in self.inputs if not contrast_named(path)), None)
            if unknown is not None:
                raise UsageError(
                    f"the name of {unknown} does not identify its contrast",
                    remedy="Give it with --t1w, --t2w or --flair.",
                )
            return [(LABEL, self._exam(self.inputs))]
        return self._in_folder(self.inputs[0])

    def judge(self) -> Judge:
        """Return what the method can do with an image, by the card of its weights."""
        given = {name: image.given() for name, image in self._images().items()}
        return judge_of(given, self.method, self.weights, self.field_strength)

    def mapper(self) -> "WeightedMapper":
        """Return what maps them, with its network."""
        estimator: Estimator[WeightedImageSet] = build(method(self.method, FAMILY), self.weights)
        return WeightedMapper(options=self, estimator=estimator.to(device_for(self.device)))

    def _images(self) -> dict[str, WeightedInput]:
        return dict(zip(CONTRASTS, (self.t1w, self.t2w, self.flair), strict=True))

    def _in_folder(self, folder: Path) -> list[tuple[str, WeightedSource]]:
        """Return the exams of a folder: a BIDS tree or a part of it, NIfTI files, or DICOM files."""
        place = place_in_tree(folder)
        if place is not None:
            self._check_tree_options(place)
            subjects = self.subjects if place.subject is None else (place.subject,)
            exams = exams_in_tree(place.root, subjects, place.session, contrast_agent=self.contrast_agent)
            return list(exams)
        images = tuple(
            path for path in images_in(folder) if self.mask is None or not _same(path, self.mask)
        )
        if images:
            return [(LABEL, self._exam(images))]
        if looks_like_dicom(folder):
            return [(LABEL, self._exam(folder))]
        raise InputError(
            "no T1w, T2w or FLAIR in this BIDS dataset or folder, and no DICOM files",
            remedy="Check the path.",
            path=folder,
        )

    def _check_tree_options(self, place: TreePlace) -> None:
        if self.mask is not None:
            raise UsageError(
                "--mask cannot be used with a BIDS dataset", remedy="Give the images as files, too."
            )
        if self.subject is not None or (place.subject is not None and self.subjects is not None):
            raise UsageError(
                "--subject is for files, not for a BIDS dataset",
                remedy="Omit it; --subjects selects subjects of a dataset.",
            )
        if self.series is not None:
            raise UsageError("--series is for DICOM folders", remedy="Omit --series.")

    def _exam(self, origin: tuple[Path, ...] | Path) -> ExamSource:
        if self.series is not None and not isinstance(origin, Path):
            raise UsageError("--series is for DICOM folders", remedy="Omit --series.")
        return ExamSource(origin=origin, numbers=self.series, contrast_agent=self.contrast_agent)

    def of_files(self, files: Mapping[str, Path], entries: Mapping[str, Entry] | None = None) -> MapsFiles:
        """Return some images, by contrast, with what the caller says about them.

        Args:
            files: By contrast.
            entries: The images with their sidecars, where these do not lie beside them.
        """
        return MapsFiles(
            images=files,
            entries=entries or {},
            contrast_agent=self.contrast_agent,
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
class WeightedMapper(SeriesMapper[WeightedSource, ReadExamination]):
    """Maps T1, T2 and PD.

    Attributes:
        options: Of the caller.
        estimator: With its network.
    """

    what: ClassVar[str] = "examinations"
    options: WeightedOptions
    estimator: Estimator[WeightedImageSet]

    def read(self, source: WeightedSource) -> ReadExamination:
        """Read one examination; of a whole exam, its images are chosen first."""
        if isinstance(source, InputError):
            raise source
        read = self._read_exam(source) if isinstance(source, ExamSource) else self._read_named(source)
        entities = dict(read.entities)
        if self.options.subject is not None and read.root is not None:
            raise UsageError(
                "the images are in a BIDS dataset, where the file names give the subject",
                remedy="Omit --subject.",
            )
        if self.options.subject is not None:
            entities["sub"] = self.options.subject
        if self.options.rec is not None:
            entities["rec"] = self.options.rec
        return replace(read, entities=MappingProxyType(entities))

    def _read_named(self, files: MapsFiles) -> ReadExamination:
        """Read images that were named; those of one visit of a BIDS tree are compared with the others."""
        read = read_examination(files)
        source = exam_of_named(read.root, files.images, contrast_agent=files.contrast_agent)
        if source is None:
            return read
        with opened(source, self.options.judge()) as exam:
            chosen = {name: entry.path.absolute() for name, entry in exam.choice.entries.items()}
            if exam.is_trivial or chosen != {name: path.absolute() for name, path in files.images.items()}:
                return read
        return _with_choice(read, exam.choice)

    def _read_exam(self, source: ExamSource) -> ReadExamination:
        """Choose the images of an exam, and read them.

        Raises:
            InputError: There are too few, or one is unusable.
            MissingValuesError: Timings are missing; all are named at once.
        """
        with opened(source, self.options.judge()) as exam:
            try:
                check_choice(exam.choice)
                entries = exam.choice.entries
                files = {name: entry.path for name, entry in entries.items()}
                read = read_examination(self.options.of_files(files, entries))
            except MissingValuesError as error:
                raise MissingValuesError(error.missing, path=exam.folder or error.path) from error
            except InputError as error:
                if exam.folder is not None and error.path is None:
                    raise type(error)(error.problem, remedy=error.remedy, path=exam.folder) from error
                raise
        read = replace(read, notes=(*exam.notes, *read.notes), faults=exam.faults)
        return read if exam.is_trivial else _with_choice(read, exam.choice)

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
            lines=read.choice,
            faults=read.faults,
            remarks=(
                *read.notes,
                *self._fewer(read),
                *(f"{name}: {note}" for name, note in maps.notes.items()),
            ),
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
            notes=(*read.remarks, *self._fewer(read)),
        )

    def _fewer(self, read: ReadExamination) -> tuple[str, ...]:
        """Return the accuracy of maps of two images; nothing for three."""
        names = [image.name for image in read.examination.images]
        weights = method(self.options.method, FAMILY).weights
        note = note_on_fewer_images(names, weights, self.options.weights)
        return (note,) if note else ()


def _with_choice(read: ReadExamination, choice: ExamChoice) -> ReadExamination:
    """Return an examination that records which images were chosen and why."""
    return replace(
        read,
        settings={**read.settings, "Choice": choice.facts()},
        choice=choice.lines(),
        remarks=(*choice.lines(nameless=True), *read.remarks),
    )


def _same(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except (OSError, ValueError):
        return False  # one of them is not there, which is an error when it is opened


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
