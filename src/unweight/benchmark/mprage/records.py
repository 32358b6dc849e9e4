"""What is measured of one person: each way of making the T1w image against the true one.

Every number comes from the same segmenter, on the true image and on those made. Records are kept as they
are made, one line of JSON each, so that an evaluation that was stopped goes on.
"""

import json
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import final

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.nn.functional import pad

from unweight.core.errors import InputError
from unweight.files.atomic import write_bytes_atomic
from unweight.files.text_files import parse_json, read_text
from unweight.learn.pairs.echo_channels import MASK
from unweight.learn.pairs.pair import DATA_RANGE, Pair
from unweight.metrics.feature_similarity import fsim
from unweight.metrics.gradient_similarity import gmsd
from unweight.metrics.haar_similarity import haarpsi
from unweight.metrics.image_quality import psnr, ssim
from unweight.metrics.multiscale_ssim import ms_ssim
from unweight.metrics.segmentation import score_structures
from unweight.metrics.sharpness import hfen, sharpness_ratio
from unweight.metrics.slice_continuity import slice_jumps
from unweight.metrics.structures import LABELS, STRUCTURES
from unweight.metrics.tissue_contrast import contrast_to_noise

Volume = Float[Tensor, "x y z"]
Segment = Callable[[Volume, Bool[Tensor, "x y z"]], UInt8[Tensor, "x y z"]]
Make = Callable[[Pair], Volume]
LARGEST_BYTES = 256 * 2**20
TRUTH = "truth"  # the name of the true image among the ways
CONTRASTS = {
    "cnr white-grey": ("white_matter", "grey_matter"),
    "cnr putamen-pallidum": ("putamen", "pallidum"),
}
AXIS = 2
BORDER_MM = 2.0


@final
@dataclass(frozen=True, kw_only=True)
class Record:
    """One person, one way.

    Attributes:
        dataset: Of the person.
        person: Name.
        way: How the image was made; `truth` for the true image.
        about: Age, sex, size of the brain, true volumes.
        image: Measures against the true image, by name.
        volume_ml: Of each structure, as the segmenter finds it.
        dice: With what the segmenter finds in the true image.
        dice_labels: With what the person is made of.
        hd95_mm: With what the segmenter finds in the true image, where all measures are wanted.
        psnr: In each structure [dB].
        seconds: To make the image.
        weights: SHA-256 of what made it.
    """

    dataset: str
    person: str
    way: str
    about: Mapping[str, object]
    image: Mapping[str, float]
    volume_ml: Mapping[str, float]
    dice: Mapping[str, float]
    dice_labels: Mapping[str, float]
    hd95_mm: Mapping[str, float]
    psnr: Mapping[str, float]
    seconds: float
    weights: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        """What tells it from others."""
        return (self.dataset, self.person, self.way)


def measure_person(
    dataset: str,
    pair: Pair,
    ways: Mapping[str, Make],
    segment: Segment,
    *,
    wholly: Iterable[str] = (),
) -> Iterable[tuple[Record, Volume]]:
    """Give a record and the image of each way, the true image first.

    Args:
        dataset: Of the person.
        pair: Of the person.
        ways: What makes images, by name.
        segment: Finds structures.
        wholly: Ways of which all measures of likeness are wanted; of others only PSNR.
    """
    truth, mask = pair.target.float(), pair.channels[MASK] > 0
    inside = mask & ~outermost(mask)
    found_truth = segment(truth, mask)
    full = set(wholly)
    about = {"dataset": dataset, "person": pair.name, "about": dict(pair.about)}
    yield _record(about, TRUTH, (truth, truth, inside), (found_truth, found_truth, pair), 0.0, True), truth
    for name, make in ways.items():
        began = time.perf_counter()
        made = make(pair)
        seconds = time.perf_counter() - began
        found = segment(made, mask)
        images = (made, truth, inside)
        yield _record(about, name, images, (found, found_truth, pair), seconds, name in full), made


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


def _record(
    about: Mapping[str, object],
    way: str,
    images: tuple[Volume, Volume, Bool[Tensor, "x y z"]],
    found: tuple[UInt8[Tensor, "x y z"], UInt8[Tensor, "x y z"], Pair],
    seconds: float,
    fully: bool,
) -> Record:
    made, truth, inside = images
    labels, true_labels, pair = found
    size = math.prod(pair.voxel_mm) / 1000
    counts = torch.bincount(labels.reshape(-1).long(), minlength=len(STRUCTURES)).tolist()
    distances = {}
    if fully and way != TRUTH:
        scored = score_structures(labels, true_labels, pair.voxel_mm, STRUCTURES)
        distances = {name: one.hd95_mm for name, one in scored.items()}
    image = {"psnr": psnr(made, truth, inside, DATA_RANGE)} if way != TRUTH else {}
    if fully:
        image |= _likeness(made, truth, inside) if way != TRUTH else {}
        image |= _contrasts(made, pair.labels)
    return Record(
        **about,  # type: ignore[arg-type]  # the three fields that all records of a person share
        way=way,
        image=_known(image),
        volume_ml={name: size * counts[label] for name, label in LABELS.items() if label > 0},
        dice=_known(overlaps(labels, true_labels)) if way != TRUTH else {},
        dice_labels=_known(overlaps(labels, pair.labels)) if bool(pair.labels.any()) else {},
        hd95_mm=_known(distances),
        psnr=_known(_by_structure(made, truth, pair.labels)) if way != TRUTH else {},
        seconds=seconds,
    )


def _known(numbers: Mapping[str, float]) -> dict[str, float]:
    """Return the numbers that are numbers, for JSON knows no others."""
    return {name: value for name, value in numbers.items() if math.isfinite(value)}


def overlaps(found: UInt8[Tensor, "*voxels"], truth: UInt8[Tensor, "*voxels"]) -> dict[str, float]:
    """Return the Dice of each structure; NaN where it is in neither.

    Args:
        found: Structures.
        truth: Likewise.
    """
    n = len(STRUCTURES)
    both = torch.bincount(found.reshape(-1).long() * n + truth.reshape(-1).long(), minlength=n * n)
    both = both.reshape(n, n).double()
    sums = both.sum(0) + both.sum(1)
    return {
        name: float(2 * both[label, label] / sums[label]) if float(sums[label]) else math.nan
        for name, label in LABELS.items()
        if label > 0
    }


def _likeness(made: Volume, truth: Volume, inside: Bool[Tensor, "x y z"]) -> dict[str, float]:
    return {
        "ssim": ssim(made, truth, inside, DATA_RANGE),
        "ms-ssim": ms_ssim(made, truth, inside, DATA_RANGE),
        "gmsd": gmsd(made, truth, inside, DATA_RANGE),
        "haarpsi": haarpsi(made, truth, inside, DATA_RANGE),
        "fsim": fsim(made, truth, inside, DATA_RANGE),
        "sharpness": sharpness_ratio(made, truth, inside),
        "hfen": hfen(made, truth, inside),
        "slice jumps": slice_jumps(made, truth, inside, AXIS),
    }


def _contrasts(made: Volume, labels: UInt8[Tensor, "x y z"]) -> dict[str, float]:
    return {
        name: contrast_to_noise(made, labels == LABELS[first], labels == LABELS[second])
        for name, (first, second) in CONTRASTS.items()
    }


def _by_structure(made: Volume, truth: Volume, labels: UInt8[Tensor, "x y z"]) -> dict[str, float]:
    return {
        name: psnr(made, truth, labels == label, DATA_RANGE)
        for name, label in LABELS.items()
        if label > 0 and bool((labels == label).any())
    }


@final
@dataclass(kw_only=True, eq=False)
class RecordBook:
    """Records in a file, one line each.

    Attributes:
        path: Of the file.
        about: What they rest on: segmenter, people; a book about something else is not gone on with.
        records: Those there are.
    """

    path: Path
    about: Mapping[str, object]
    records: dict[tuple[str, str, str], Record] = field(default_factory=dict)

    def open(self) -> "RecordBook":
        """Read what there is.

        Raises:
            InputError: The file is no book of records, or one about something else.
        """
        if not self.path.exists():
            return self
        try:
            lines = read_text(self.path, LARGEST_BYTES).splitlines()
            told, *rows = [parse_json(line) for line in lines]
            read = [Record(**row) for row in rows]
        except (InputError, ValueError, TypeError) as error:
            raise InputError("is no book of records", remedy="Move it away.", path=self.path) from error
        if told != json.loads(json.dumps(dict(self.about))):
            raise InputError(
                "holds records of other people, or by another segmenter",
                remedy="Choose another folder with -o.",
                path=self.path,
            )
        self.records |= {one.key: one for one in read}
        return self

    def add(self, records: Iterable[Record]) -> None:
        """Add records and write the file."""
        self.records |= {one.key: one for one in records}
        rows = (dict(self.about), *(asdict(one) for one in self.records.values()))
        lines = [json.dumps(row, allow_nan=False) for row in rows]
        write_bytes_atomic(self.path, "".join(f"{line}\n" for line in lines).encode())

    def has(self, dataset: str, person: str, way: str, weights: str = "") -> bool:
        """Whether one way of one person is there, made with these weights."""
        found = self.records.get((dataset, person, way))
        return found is not None and found.weights == weights
