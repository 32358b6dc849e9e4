"""What is measured of one subject: each method's T1w image against the true one.

Every number comes from the same segmenter, on the true image and on those synthesised. Records are written
as they are measured, one line of JSON each, so that an evaluation that was stopped can be resumed.
"""

import json
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import final

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.nn.functional import pad

from unweight.benchmark.core.run import AcceptsAll, Case, Watch, dataset_of, run_methods, whole_case
from unweight.benchmark.core.scoring import (
    DEFAULT_METRICS,
    LabelPair,
    MetricChoice,
    VoxelSample,
    image_pair,
    measure,
)
from unweight.core.errors import InputError
from unweight.files.atomic import write_bytes_atomic
from unweight.files.text_files import parse_json, read_text
from unweight.learn.pairs.echo_channels import MASK
from unweight.learn.pairs.pair import DATA_RANGE, Pair
from unweight.metrics.contrast import contrast_to_noise
from unweight.metrics.image_quality import psnr
from unweight.metrics.segmentation import dice_by_label, score_structures
from unweight.metrics.structures import LABELS, STRUCTURES
from unweight.registry.records import Inputs

Volume = Float[Tensor, "x y z"]
Labels = UInt8[Tensor, "x y z"]
SegmentFn = Callable[[Volume, Bool[Tensor, "x y z"]], Labels]
SynthesisFn = Callable[[Pair], Volume]
LARGEST_BYTES = 256 * 2**20
TRUTH = "truth"  # the name of the true image among the methods
CONTRASTS = {
    "cnr white-grey": ("white_matter", "grey_matter"),
    "cnr putamen-pallidum": ("putamen", "pallidum"),
}
LIKENESS = ("ssim", "ms-ssim", "gmsd", "haarpsi", "fsim", "sharpness", "hfen", "slice jumps")
METRICS = (
    *("psnr", *LIKENESS, *CONTRASTS, "seconds", "dice", "hd95", "volume error", "dice of labels"),
    *("concordance", "volume difference"),
    *(
        f"{effect}: {name}"
        for effect in ("age", "sex")
        for name in ("true effect", "effect", "ratio", "interaction p")
    ),
)
FED = (Inputs.IMAGE, Inputs.VOXELS, Inputs.LABELS)
# What the fields of a record are called in the file.
KEYS = {"subject": "person", "method": "way"}


@final
@dataclass(frozen=True, kw_only=True)
class SubjectRecord:
    """One subject, one method.

    Attributes:
        dataset: Of the subject.
        subject: Name.
        method: How the image was synthesised; `truth` for the true image.
        about: Age, sex, size of the brain, true volumes.
        image: Measures against the true image, by name.
        volume_ml: Of each structure, as the segmenter finds it.
        dice: With the segmentation of the true image.
        dice_labels: With the labels that the subject was simulated from.
        hd95_mm: With the segmentation of the true image, where all measures are wanted.
        psnr: In each structure [dB].
        seconds: To synthesise the image.
        weights: SHA-256 of the network.
        structures: Further metrics of labels that were asked for, by structure and metric.
    """

    dataset: str
    subject: str
    method: str
    about: Mapping[str, object]
    image: Mapping[str, float]
    volume_ml: Mapping[str, float]
    dice: Mapping[str, float]
    dice_labels: Mapping[str, float]
    hd95_mm: Mapping[str, float]
    psnr: Mapping[str, float]
    seconds: float
    weights: str = ""
    structures: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str, str]:
        """What distinguishes it from others."""
        return (self.dataset, self.subject, self.method)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class SubjectMeasures:
    """The true image of one subject, with what measures others against it.

    Attributes:
        dataset: Of the subject.
        pair: Its echoes, true image and labels.
        inside: Voxels that are compared.
        true_labels: Segmentation of the true image.
        metrics: What to measure.
    """

    dataset: str
    pair: Pair
    inside: Bool[Tensor, "x y z"]
    true_labels: Labels
    metrics: MetricChoice = DEFAULT_METRICS

    def record(
        self, method: str, image: Volume, labels: Labels, *, seconds: float, all_measures: bool
    ) -> SubjectRecord:
        """Return what is measured of one image; likeness and surfaces only if all measures are wanted."""
        pair, truth = self.pair, self.pair.target.float()
        size = math.prod(pair.voxel_mm) / 1000
        counts = torch.bincount(labels.reshape(-1).long(), minlength=len(STRUCTURES)).tolist()
        measured: dict[str, float] = {}
        distances: dict[str, float] = {}
        structures: dict[str, dict[str, float]] = {}
        if method != TRUTH:
            measured["psnr"] = psnr(image, truth, self.inside, DATA_RANGE)
        if method != TRUTH and all_measures:
            measured |= self._likeness(image, truth)
            if self.metrics.wants("hd95"):
                scored = score_structures(labels, self.true_labels, pair.voxel_mm, STRUCTURES)
                distances = {name: score.hd95_mm for name, score in scored.items()}
            structures = self._further_structures(labels)
        if all_measures:
            measured |= {
                name: contrast_to_noise(image, pair.labels == LABELS[first], pair.labels == LABELS[second])
                for name, (first, second) in CONTRASTS.items()
            }
        return SubjectRecord(
            dataset=self.dataset,
            subject=pair.name,
            about=dict(pair.about),
            method=method,
            image=_finite(measured),
            volume_ml={name: size * counts[label] for name, label in LABELS.items() if label > 0},
            dice=_finite(structure_dice(labels, self.true_labels)) if method != TRUTH else {},
            dice_labels=_finite(structure_dice(labels, pair.labels)) if bool(pair.labels.any()) else {},
            hd95_mm=_finite(distances),
            psnr=_finite(_by_structure(image, truth, pair.labels)) if method != TRUTH else {},
            seconds=seconds,
            structures=structures,
        )

    def _likeness(self, image: Volume, truth: Volume) -> dict[str, float]:
        images = (
            *self.metrics.of(LIKENESS, Inputs.IMAGE),
            *self.metrics.further(METRICS, Inputs.IMAGE),
        )
        voxels = self.metrics.further(METRICS, Inputs.VOXELS)
        sample = VoxelSample(estimate=image[self.inside], truth=truth[self.inside], positive=False)
        further = measure(voxels, sample)
        return measure(images, image_pair(image, truth, self.inside, DATA_RANGE)) | {
            metric.name: further[metric.name] for metric in voxels if metric.name in further
        }

    def _further_structures(self, labels: Labels) -> dict[str, dict[str, float]]:
        metrics = self.metrics.further(METRICS, Inputs.LABELS)
        return {
            name: _finite(
                measure(
                    metrics,
                    LabelPair(
                        estimate=labels == label,
                        truth=self.true_labels == label,
                        voxel_mm=self.pair.voxel_mm,
                    ),
                )
            )
            for name, label in LABELS.items()
            if label > 0 and metrics
        }


def measure_subject(
    dataset: str,
    pair: Pair,
    methods: Mapping[str, SynthesisFn],
    segment: SegmentFn,
    watch: Watch,
    *,
    all_measures: Collection[str] = (),
    metrics: MetricChoice = DEFAULT_METRICS,
) -> Iterator[tuple[SubjectRecord, Volume]]:
    """Give a record and the image of each method, the true image first.

    Args:
        dataset: Of the subject.
        pair: Of the subject.
        methods: What synthesises images, by name.
        segment: Finds structures.
        watch: Gives a progress report for a label.
        all_measures: Methods of which all measures of likeness are wanted; of others only PSNR.
        metrics: What to measure.
    """
    truth, mask = pair.target.float(), pair.channels[MASK] > 0
    inside = mask & ~outermost(mask)
    case = Case(input=pair, truth={"T1w": truth}, scored=inside)
    subject = SubjectMeasures(
        dataset=dataset, pair=pair, inside=inside, true_labels=segment(truth, mask), metrics=metrics
    )
    yield subject.record(TRUTH, truth, subject.true_labels, seconds=0.0, all_measures=True), truth
    result = run_methods(
        dataset_of(f"{dataset}: {pair.name}", [case]),
        {name: AcceptsAll(function=function) for name, function in methods.items()},
        watch,
        keep=lambda case, method, image: image,
        keep_case=whole_case,
    )
    for name, (prediction,) in result.predictions.items():
        image = prediction.output
        yield (
            subject.record(
                name,
                image,
                segment(image, mask),
                seconds=prediction.seconds,
                all_measures=name in all_measures,
            ),
            image,
        )


def outermost(mask: Bool[Tensor, "x y z"]) -> Bool[Tensor, "x y z"]:
    """Return the layer of a mask that touches what is outside: partial volume with what was cut off."""
    padded = pad(mask, (1, 1, 1, 1, 1, 1))
    inner = mask.clone()
    for axis in range(3):
        for step in (0, 2):
            window = [slice(1, -1)] * 3
            window[axis] = slice(step, step + mask.shape[axis])
            inner &= padded[tuple(window)]
    return mask & ~inner


def structure_dice(labels: UInt8[Tensor, "*voxels"], truth: UInt8[Tensor, "*voxels"]) -> dict[str, float]:
    """Return the Dice of each structure; NaN where it is in neither."""
    dice = dice_by_label(labels, truth, len(STRUCTURES))
    return {name: dice[label] for name, label in LABELS.items() if label > 0}


def _finite(numbers: Mapping[str, float]) -> dict[str, float]:
    """Return the finite numbers, for JSON has no others."""
    return {name: value for name, value in numbers.items() if math.isfinite(value)}


def _by_structure(image: Volume, truth: Volume, labels: Labels) -> dict[str, float]:
    return {
        name: psnr(image, truth, labels == label, DATA_RANGE)
        for name, label in LABELS.items()
        if label > 0 and bool((labels == label).any())
    }


@final
@dataclass(kw_only=True, eq=False)
class ResultsFile:
    """Records in a file, one line each.

    Attributes:
        path: Of the file.
        about: What they rest on: segmenter, subjects; a file about something else is not resumed.
        records: Those there are.
    """

    path: Path
    about: Mapping[str, object]
    records: dict[tuple[str, str, str], SubjectRecord] = field(default_factory=dict)

    def open(self) -> "ResultsFile":
        """Read what there is.

        Raises:
            InputError: The file holds no records, or those of something else.
        """
        if not self.path.exists():
            return self
        names = {key: name for name, key in KEYS.items()}
        try:
            lines = read_text(self.path, LARGEST_BYTES).splitlines()
            about, *rows = [parse_json(line) for line in lines]
            read = [
                SubjectRecord(**{names.get(key, key): value for key, value in row.items()}) for row in rows
            ]
        except (InputError, ValueError, TypeError, AttributeError) as error:
            raise InputError(
                "is not a valid results file", remedy="Move it away.", path=self.path
            ) from error
        if about != json.loads(json.dumps(dict(self.about))):
            raise InputError(
                "contains results for other subjects, another segmenter or other metrics",
                remedy="Choose another folder with -o.",
                path=self.path,
            )
        self.records |= {record.key: record for record in read}
        return self

    def add(self, records: Iterable[SubjectRecord]) -> None:
        """Add records and write the file."""
        self.records |= {record.key: record for record in records}
        rows = (dict(self.about), *(_plain(record) for record in self.records.values()))
        lines = [json.dumps(row, allow_nan=False) for row in rows]
        write_bytes_atomic(self.path, "".join(f"{line}\n" for line in lines).encode())

    def has(self, dataset: str, subject: str, method: str, weights: str = "") -> bool:
        """Whether the record of one method and subject is there, with these weights."""
        record = self.records.get((dataset, subject, method))
        return record is not None and record.weights == weights


def _plain(record: SubjectRecord) -> dict[str, object]:
    """Return a record by the keys of the file; further metrics only where there are some."""
    row = {KEYS.get(name, name): value for name, value in asdict(record).items()}
    if not row["structures"]:
        del row["structures"]
    return row
