"""Brain segmentation of images of any contrast, written as BIDS derivatives.

    OUT/sub-01/anat/sub-01_desc-T1w_dseg.nii.gz (.json, .tsv)   labels, their names
    OUT/sub-01/anat/sub-01_desc-T1w_probseg.nii.gz (.json)      probability of the label of each voxel
    OUT/sub-01/anat/sub-01_desc-T1w_volumes.tsv                 volumes, with that of the brain mask
    OUT/sub-01/figures/sub-01_desc-T1w_dseg.png

`desc` is the suffix of the image, so that T1w, T2w and FLAIR of one person share a folder.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import final

from jaxtyping import Float
from torch import Tensor

from unweight import __version__
from unweight.bids.derivatives.dataset import DESCRIPTION, is_derivative, json_bytes, prepare_derivatives
from unweight.bids.derivatives.whole_set import commit
from unweight.bids.derivatives.write import IGNORED, README, anat_folder, visit_locked
from unweight.bids.names import BidsName, check_label, image_stem, parse_stem
from unweight.bids.nifti.grid import Grid, Placement
from unweight.bids.nifti.image import image_bytes
from unweight.bids.nifti.label_image import one_volume
from unweight.bids.read import KEPT_ENTITIES
from unweight.bids.series.mask import read_mask
from unweight.bids.sidecar import OWN
from unweight.core.errors import InputError, UsageError
from unweight.core.estimator import Progress
from unweight.files.atomic import check_within, fingerprint, write_bytes_atomic
from unweight.files.text_files import Cell, table_bytes
from unweight.learn.segmentation.segmenter import BrainSegmenter, SegmentedBrain
from unweight.mapping.arrays import affine_of, mask_of, tensor_of
from unweight.mapping.brain import MaskOptions
from unweight.mapping.calls import bare_label, check_no_affine, path_of
from unweight.mapping.output import figure_path
from unweight.metrics.brain_labels import BRAIN_LABELS
from unweight.prepare.brain_finder import cut_axes, voxel_mm
from unweight.prepare.computing_memory import check_memory
from unweight.registry import load, method
from unweight.report.segment_picture import segment_picture

COMMAND, FAMILY, METHOD = "segment", "segmentation", "any-contrast"
MASK_METHOD = "network"
DSEG, PROBABILITY = "dseg", "probseg"
UNSURE, LOW_PROBABILITY = 0.6, 0.75
LOOK_UP = ("index", "name", "abbreviation", "color")
VOLUMES = ("index", "name", "volume_ml", "voxels", "uncertain_share")
VOLUMES_KEY = {
    "volume_ml": {"Description": "Number of voxels times voxel volume", "Units": "ml"},
    "uncertain_share": {"Description": f"Share of voxels whose label has a probability below {UNSURE:g}"},
}
MM3_PER_ML = 1000.0
LEVELS = 5  # from a file to the root of its dataset
IN_MEMORY = Path("image")  # stands where messages name a file
NOT_ALLOWED = re.compile(r"[^0-9A-Za-z]")
ALGORITHM = "3D U-Net trained on simulated images of random contrast, within a brain mask ({mask})"


@final
@dataclass(frozen=True, kw_only=True)
class SegmentOptions:
    """Options of `unweight segment`.

    Attributes:
        mask: Brain mask on the grid of the image; None to find the brain.
        weights: Folder with the weights of the segmentation; None for those of the package.
        mask_weights: Likewise of the brain mask.
        subject: Subject label of images whose names have none.
    """

    mask: Path | None = None
    weights: Path | None = None
    mask_weights: Path | None = None
    subject: str | None = None

    def __post_init__(self) -> None:
        if self.subject is not None:
            check_label(self.subject, "a subject")
        if self.mask is not None and self.mask_weights is not None:
            raise UsageError("--mask and --mask-weights cannot be combined", remedy="Give one of them.")


@final
@dataclass(frozen=True, kw_only=True)
class StructureVolume:
    """The volume of one structure.

    Attributes:
        index: Its number in the label image; None for the brain mask.
        name: Of the structure.
        volume_ml: [ml]
        n_voxels: Voxels.
        uncertain_share: Share of them whose label has a probability below 0.6.
    """

    index: int | None
    name: str
    volume_ml: float
    n_voxels: int
    uncertain_share: float


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Segmentation:
    """A segmented image.

    Attributes:
        image: The image.
        grid: Where its voxels lie.
        brain: Labels and their probabilities.
        volumes: Of each structure, and of the brain mask, `intracranial`.
        entities: BIDS entities of the subject, with `desc`.
        source: Name of the file; empty for an array.
        root: Root of the BIDS dataset of the file, if it is in one.
        card: Name and SHA-256 of the weights.
        mask_how: How the brain was found.
        remarks: What a reader should know.
    """

    image: Float[Tensor, "x y z"]
    grid: Grid
    brain: SegmentedBrain
    volumes: tuple[StructureVolume, ...]
    entities: Mapping[str, str]
    source: str
    root: Path | None
    card: Mapping[str, str]
    mask_how: str
    remarks: tuple[str, ...]

    @property
    def labels(self) -> Tensor:
        """Label of each voxel; numbers in `metrics.brain_labels`."""
        return self.brain.labels

    @property
    def probability(self) -> Tensor:
        """Probability of the label of each voxel, 0 to 1."""
        return self.brain.probability

    def volume(self, name: str) -> float:
        """Return the volume of a structure [ml].

        Raises:
            UsageError: There is none of this name.
        """
        volume = next((item for item in self.volumes if item.name == name), None)
        if volume is None:
            raise UsageError(
                f"there is no structure {name}",
                remedy=f"There are {', '.join(item.name for item in self.volumes)}.",
            )
        return volume.volume_ml

    def __repr__(self) -> str:
        lines = [f"Segmentation of {self.source or 'an array'}, {'x'.join(map(str, self.labels.shape))}"]
        lines += [f"  {item.name:24} {item.volume_ml:8.1f} ml" for item in self.volumes]
        return "\n".join([*lines, *(f"  {remark}" for remark in self.remarks)])

    def save(self, folder: Path | str, *, figures: bool = True) -> Path:
        """Write labels, probabilities, volumes and a picture; return the path of the labels.

        Raises:
            OutputError: The folder cannot be written, or holds another dataset.
        """
        return write_segmentation(self, Path(folder), figures=figures)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class ImageSegmenter:
    """Segments images with weights that are read once.

    Attributes:
        options: Of the caller.
        segmenter: The network.
        card: Name and SHA-256 of its weights.
        finder: Finds the brain.
    """

    options: SegmentOptions
    segmenter: BrainSegmenter
    card: Mapping[str, str]
    finder: MaskOptions

    def segment(self, path: Path, progress: Progress | None = None) -> Segmentation:
        """Segment an image in a file.

        Raises:
            InputError: It is no 3D image, or there is no brain in it.
        """
        volume = one_volume(path, "an image")
        mask = None if self.options.mask is None else read_mask(self.options.mask, volume.grid)
        entities = entities_of(path, self.options.subject)
        try:
            return self.segment_values(
                volume.data,
                volume.grid,
                mask,
                entities,
                path.name,
                root=dataset_root(path),
                progress=progress,
            )
        except InputError as error:
            if error.path is not None:
                raise
            raise type(error)(error.problem, remedy=error.remedy, path=path) from error

    def segment_values(
        self,
        values: Float[Tensor, "x y z"],
        grid: Grid,
        mask: Tensor | None,
        entities: Mapping[str, str],
        source: str,
        *,
        root: Path | None = None,
        progress: Progress | None = None,
    ) -> Segmentation:
        """Segment an image in memory.

        Args:
            values: Magnitude.
            grid: Where its voxels lie.
            mask: Brain mask; None to find the brain.
            entities: Of the derivatives.
            source: What the derivatives name as their source.
            root: Root of the BIDS dataset of the image.
            progress: Called with the windows done and all of them.

        Raises:
            InputError: There is no brain in it.
            TooLargeError: It does not fit into the memory that is free.
        """
        if not bool((values.nan_to_num() != 0).any()):
            raise InputError("the image is empty", remedy="Give a magnitude image of a head.")
        check_memory(COMMAND, (*values.shape, 1))
        affine = grid.affine
        remarks: tuple[str, ...] = ()
        if mask is None:
            head = self.finder.finder().in_images([values], affine)
            mask, how, remarks = head.mask, head.how, head.remarks
        else:
            how = "given"
        brain = self.segmenter.segment(values, affine, mask, progress)
        sizes = voxel_mm(affine)
        volumes = tuple(_volumes(brain, mask, sizes))
        return Segmentation(
            image=values,
            grid=grid,
            brain=brain,
            volumes=volumes,
            entities=entities,
            source=source,
            root=root,
            card=self.card,
            mask_how=how,
            remarks=(*remarks, *_remarks(brain, mask, sizes)),
        )


def image_segmenter(options: SegmentOptions) -> ImageSegmenter:
    """Return what segments images, weights read.

    Raises:
        InputError: Weights are absent or damaged.
    """
    record = method(METHOD, FAMILY)
    segmenter, card = load(record.target)(record.weights, options.weights)
    return ImageSegmenter(
        options=options,
        segmenter=segmenter,
        card={"Weights": card.name, "WeightsSHA256": card.sha256},
        finder=MaskOptions(mask_method=MASK_METHOD, mask_weights=options.mask_weights),
    )


def segment(
    image: object,
    *,
    affine: object = None,
    mask: object = None,
    subject: str | None = None,
    weights: Path | str | None = None,
    mask_weights: Path | str | None = None,
) -> Segmentation:
    """Segment a head image of any contrast: `unweight segment`.

    Args:
        image: A NIfTI file, or an array of three axes.
        affine: Of an array: voxel index to millimetres (RAS+).
        mask: Brain mask: a file beside a file, an array beside an array; None to find the brain.
        subject: Subject label of the derivatives.
        weights: Folder of weights of the segmentation; None for those of the package.
        mask_weights: Likewise of the brain mask.

    Returns:
        Labels, their probabilities and volumes [ml]; `save` writes what the command writes.

    Raises:
        UnweightError: The image cannot be used; the message says why and what to do.
    """
    path = Path(image) if isinstance(image, str | PathLike) else None
    options = SegmentOptions(
        mask=path_of(mask) if path is not None else None,
        weights=path_of(weights),
        mask_weights=path_of(mask_weights),
        subject=None if subject is None else bare_label(subject),
    )
    segmenter = image_segmenter(options)
    if path is not None:
        check_no_affine(affine)
        return segmenter.segment(path)
    values, matrix = tensor_of(image), affine_of(affine)
    if values.ndim != 3 or values.is_complex():
        raise InputError(
            f"an image with {values.ndim} axes", remedy="Give the magnitude of one volume with three axes."
        )
    if matrix is None:
        raise UsageError("an array needs its affine", remedy="Give affine, voxel index to millimetres.")
    grid = Grid(shape=tuple(values.shape), placement=Placement(affine=matrix), path=IN_MEMORY)
    inside = mask_of(mask)
    if inside is not None and inside.shape != values.shape:
        raise InputError("the mask and the image differ in shape", remedy="Give a mask on the same grid.")
    entities = {"sub": options.subject or "01", "desc": "image"}
    return segmenter.segment_values(values, grid, inside, entities, "")


def entities_of(path: Path, subject: str | None) -> dict[str, str]:
    """Return the entities of the derivatives of an image; `desc` holds its suffix, or its plain name."""
    stem = image_stem(path)
    if stem is None:
        raise InputError("is not a NIfTI image", remedy="Give .nii or .nii.gz files.", path=path)
    name = parse_stem(stem)
    if name is None or "sub" not in name.entities:
        desc = NOT_ALLOWED.sub("", stem)[:40] or "image"
        return {"sub": subject or "01", "desc": desc}
    kept = {key: name.entities[key] for key in KEPT_ENTITIES if key in name.entities}
    part = f"echo{name.entities['echo']}" if "echo" in name.entities else ""
    return kept | ({"sub": subject} if subject else {}) | {"desc": f"{name.suffix}{part}"}


def dataset_root(path: Path) -> Path | None:
    """Return the root of the raw BIDS dataset that an image lies in; None if it is in none."""
    for folder in list(path.absolute().parents)[:LEVELS]:
        if (folder / DESCRIPTION).is_file():
            return None if is_derivative(folder) else folder
    return None


def _volumes(
    brain: SegmentedBrain, mask: Tensor, sizes: tuple[float, float, float]
) -> Iterator[StructureVolume]:
    voxel_ml = sizes[0] * sizes[1] * sizes[2] / MM3_PER_ML
    for label in BRAIN_LABELS:
        inside = brain.labels == label.index
        count = int(inside.sum())
        unsure = int((inside & (brain.probability < UNSURE)).sum()) / max(1, count)
        yield StructureVolume(
            index=label.index,
            name=label.name,
            volume_ml=count * voxel_ml,
            n_voxels=count,
            uncertain_share=unsure,
        )
    count = int(mask.sum())
    unsure = int(((brain.probability < UNSURE) & mask).sum()) / max(1, count)
    yield StructureVolume(
        index=None,
        name="intracranial",
        volume_ml=count * voxel_ml,
        n_voxels=count,
        uncertain_share=unsure,
    )


def _remarks(brain: SegmentedBrain, mask: Tensor, sizes: tuple[float, float, float]) -> Iterator[str]:
    mean = float(brain.probability[mask].mean())
    if mean < LOW_PROBABILITY:
        yield (
            f"mean probability of the labels {mean:.2f}, below {LOW_PROBABILITY:g}: the contrast or "
            "resolution of this image does not determine the structures; do not use the volumes"
        )
    if any(cut_axes(mask)):
        yield "the brain mask reaches the end of the field of view: volumes are those of the part in it"
    if max(sizes) > 2.5:
        yield f"voxels of up to {max(sizes):.1f} mm: volumes of small nuclei are imprecise"


def write_segmentation(result: Segmentation, out: Path, *, figures: bool = True) -> Path:
    """Write a segmentation as BIDS derivatives, and return the path of the labels.

    Raises:
        OutputError: The folder cannot be written, or holds another dataset.
    """
    folder = anat_folder(out, result.entities)
    check_within(out, folder)
    paths = {
        suffix: folder / f"{BidsName(entities=result.entities, suffix=suffix).stem}.nii.gz"
        for suffix in (DSEG, PROBABILITY)
    }
    primary = _ending(paths[DSEG], ".json")
    picture = figure_path(out, paths[DSEG], result.entities["sub"])
    with visit_locked(out, {key: result.entities[key] for key in ("sub", "ses") if key in result.entities}):
        prepare_derivatives(out, result.root, IGNORED, README)
        commit(primary, _files(result, paths), (picture,))
        if figures:
            title = " ".join(f"{key}-{value}" for key, value in result.entities.items())
            write_bytes_atomic(
                picture, segment_picture(result.image, result.labels, result.grid.affine, title)
            )
    return paths[DSEG]


def _files(result: Segmentation, paths: Mapping[str, Path]) -> Iterator[tuple[Path, bytes]]:
    """Give the files in the order of writing; the sidecar of the labels completes the set."""
    hashes: dict[str, str] = {}
    values = {DSEG: result.labels, PROBABILITY: result.probability}
    for suffix, path in paths.items():
        content = image_bytes(values[suffix], result.grid.affine)
        hashes[path.name] = fingerprint(content)
        yield path, content
    rows = [(item.index, item.name, item.abbreviation, item.colour) for item in BRAIN_LABELS]
    yield _ending(paths[DSEG], ".tsv"), table_bytes(rows, LOOK_UP)
    table = paths[DSEG].with_name(paths[DSEG].name.replace(f"_{DSEG}.nii.gz", "_volumes.tsv"))
    volumes = table_bytes([_cells(item) for item in result.volumes], VOLUMES)
    hashes[table.name] = fingerprint(volumes)
    yield table, volumes
    yield table.with_suffix(".json"), json_bytes(VOLUMES_KEY)
    own: dict[str, object] = {
        "Version": __version__,
        "Algorithm": ALGORITHM.format(mask=result.mask_how),
        "Notes": list(result.remarks),
        **result.card,
    }
    common: dict[str, object] = {"Sources": [result.source], "SkullStripped": False}
    yield (
        _ending(paths[PROBABILITY], ".json"),
        json_bytes(
            {
                **common,
                "Description": "Probability of the label of each voxel; 0 outside the brain",
                OWN: own,
            }
        ),
    )
    yield (
        _ending(paths[DSEG], ".json"),
        json_bytes(
            {
                **common,
                "Description": "Structures of the brain",
                "Manual": False,
                OWN: {**own, "SHA256": hashes},
            }
        ),
    )


def _cells(volume: StructureVolume) -> tuple[Cell, ...]:
    return (
        volume.index,
        volume.name,
        f"{volume.volume_ml:.4g}",
        volume.n_voxels,
        f"{volume.uncertain_share:.3f}",
    )


def _ending(path: Path, ending: str) -> Path:
    return path.with_name(f"{image_stem(path)}{ending}")
