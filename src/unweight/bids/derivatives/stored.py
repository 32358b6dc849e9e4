"""What lies in a folder of derivatives, for those who show it: the sets of each subject, whole or not.

A set is what one sidecar lists: the sidecar of the first map holds the SHA-256 of every image of its set.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from unweight.bids.derivatives.description import set_desc
from unweight.bids.derivatives.whole_set import unfinished, unfinished_in
from unweight.bids.folders import is_folder, labelled_folders, listed
from unweight.bids.names import LABEL, BidsName, check_label, image_stem, parse_stem
from unweight.bids.nifti.grid import check_same_grid
from unweight.bids.nifti.volume import open_grid, open_volume
from unweight.bids.sidecar import OWN, read_sidecar
from unweight.core.errors import InputError
from unweight.core.text import natural_key
from unweight.files.atomic import fingerprint_of
from unweight.files.text_files import read_text

Volume3D = Float[Tensor, "x y z"]
LABELS = "dseg"  # suffix of the first image of a segmentation


class Condition(Enum):
    """What is wrong with a stored image."""

    WHOLE = "whole"
    MISSING = "missing"
    CHANGED = "changed since it was written"


@final
@dataclass(frozen=True, kw_only=True)
class StoredImage:
    """One image of a set.

    Attributes:
        path: Where it is, or should be.
        name: Its name, taken apart.
        sha256: As recorded in its set.
        condition: Whether it is there and what was written.
        unit: Of its values; nothing if no sidecar tells.
        description: What its sidecar says it is.
    """

    path: Path
    name: BidsName
    sha256: str
    condition: Condition
    unit: str = ""
    description: str = ""

    @property
    def desc(self) -> str:
        """Its `desc`, or nothing."""
        return self.name.entities.get("desc", "")


@final
@dataclass(frozen=True, kw_only=True)
class StoredSet:
    """One set of maps on disk.

    Attributes:
        sidecar: Of the first map.
        name: Of the first map, taken apart.
        fields: What the sidecar says.
        images: In the order of the set, the first map first.
    """

    sidecar: Path
    name: BidsName
    fields: Mapping[str, object]
    images: tuple[StoredImage, ...]

    @property
    def own(self) -> Mapping[str, object]:
        """What this program wrote about the set."""
        own = self.fields.get(OWN)
        return own if isinstance(own, Mapping) else {}

    @property
    def faults(self) -> tuple[str, ...]:
        """What is wrong with its images, in sentences."""
        return tuple(
            f"{image.path.name} is {image.condition.value}"
            for image in self.images
            if image.condition is not Condition.WHOLE
        )


@final
@dataclass(frozen=True, kw_only=True)
class StoredSubject:
    """What a folder of derivatives holds of one subject.

    Attributes:
        label: Without `sub-`.
        sets: Of maps, in order of their names.
        segmentations: Likewise, sets of label images.
        tables: Tables beside the maps.
        problems: Sidecars that could not be read, and sets that are unfinished, in sentences.
    """

    label: str
    sets: tuple[StoredSet, ...]
    tables: tuple[Path, ...]
    problems: tuple[str, ...] = ()
    segmentations: tuple[StoredSet, ...] = ()


def subjects_in(out_dir: Path) -> tuple[str, ...]:
    """Return the labels of the subjects of a folder.

    Raises:
        InputError: There is no such folder, or no subject in it.
    """
    if not is_folder(out_dir):
        raise InputError("is not a folder", remedy="Give the folder that holds the maps.", path=out_dir)
    labels = [path.name.removeprefix("sub-") for path in labelled_folders(out_dir, "sub")]
    result = tuple(label for label in labels if LABEL.fullmatch(label) is not None)
    if not result:
        raise InputError("contains no maps of any subject", remedy="Compute the maps first.", path=out_dir)
    return result


def stored_subject(out_dir: Path, label: str, *, compared: bool = True) -> StoredSubject:
    """Return what a folder holds of one subject.

    Args:
        out_dir: The folder.
        label: Of the subject, without `sub-`.
        compared: Whether images are read to compare them with their SHA-256; else each that is there counts
            as whole.

    Raises:
        InputError: The label is not allowed, there is no such subject, or its folder may not be read.
    """
    folder = out_dir / f"sub-{check_label(label, 'a subject')}"
    if not is_folder(folder) or not folder.resolve().is_relative_to(out_dir.resolve()):
        raise InputError(
            f"contains no maps of subject {label}",
            remedy="Compute the maps first, or check the label.",
            path=out_dir,
        )
    sets, problems, files, without = [], list[str](), list[Path](), list[Path]()
    for item in (folder, *labelled_folders(folder, "ses")):
        try:
            files += listed(item / "anat")
        except InputError as error:
            problems.append(f"{item.name}/anat {error.problem}")
        without += unfinished_in(item / "anat")
    problems += [f"{path.name} {unfinished(path).problem}" for path in without]
    for path in sorted((path for path in files if path.suffix == ".json"), key=natural_key):
        name = parse_stem(path.name.removesuffix(".json"))
        if name is None or name.entities.get("sub") != label or path in without:
            continue
        try:
            fields = read_sidecar(path)
        except InputError as error:
            problems.append(f"{path.name} {error.problem}")
            continue
        images = _images(path, fields, compared)
        if images:
            sets.append(StoredSet(sidecar=path, name=name, fields=fields, images=images))
    tables = sorted((path for path in files if path.suffix == ".tsv"), key=natural_key)
    return StoredSubject(
        label=label,
        sets=tuple(item for item in sets if item.name.suffix != LABELS),
        segmentations=tuple(item for item in sets if item.name.suffix == LABELS),
        tables=tuple(tables),
        problems=tuple(problems),
    )


def unfinished_sets(out_dir: Path, label: str) -> tuple[str, ...]:
    """Return the sets of a subject whose writing was not ended, by the name of their first map.

    Raises:
        InputError: The folder of the subject may not be read.
    """
    folder = out_dir / f"sub-{label}"
    result = (unfinished_in(path / "anat") for path in (folder, *labelled_folders(folder, "ses")))
    return tuple(path.name.removesuffix(".json") for paths in result for path in paths)


def read_image(image: StoredImage) -> Float[Tensor, "x y z"]:
    """Return the values of an image; numbers of a status or mask as they are.

    Raises:
        InputError: It is missing, damaged, or no volume.
    """
    volume = open_volume(image.path)
    if volume.data.ndim != 3 or volume.data.is_complex():
        raise InputError(
            "is not a single real-valued volume", remedy="Compute the maps again.", path=image.path
        )
    return volume.data


def read_maps(stored: StoredSet) -> tuple[Iterator[tuple[StoredImage, Volume3D]], Volume3D]:
    """Return the maps of a set with their values, read one by one, and the status of each voxel.

    Raises:
        InputError: There is no status, or an image is missing or damaged.
    """
    first = stored.images[0]
    wanted = set_desc("status", first.name.suffix)
    status = next((image for image in stored.images if image.desc == wanted), None)
    if status is None:
        raise InputError("has no voxel status image", remedy="Compute the maps again.")
    maps = [image for image in stored.images if image.unit and image.desc == first.desc]
    return ((image, read_image(image)) for image in maps), read_image(status)


def labels_for(stored: StoredSet, subject: StoredSubject) -> Path | None:
    """Return the labels on the grid of a set: those made of its own first map, else the first there are.

    Args:
        stored: A set of maps of the subject.
        subject: Whose segmentations are looked through.

    Returns:
        The label image; None if there is none on this grid.
    """
    own = {**stored.name.entities, "desc": stored.name.suffix}
    there = [
        item
        for item in subject.segmentations
        if item.sidecar.parent == stored.sidecar.parent and item.images[0].condition is Condition.WHOLE
    ]
    for item in sorted(there, key=lambda item: dict(item.name.entities) != own):
        try:
            check_same_grid([open_grid(stored.images[0].path), open_grid(item.images[0].path)])
        except InputError:
            continue
        return item.images[0].path
    return None


def check_same(stored: StoredSet) -> None:
    """Refuse a set that another process has replaced since it was found here, or is replacing.

    Raises:
        InputError: It has, or its sidecar cannot be read any more.
    """
    if (
        stored.sidecar in unfinished_in(stored.sidecar.parent)
        or read_sidecar(stored.sidecar) != stored.fields
    ):
        raise unfinished(stored.sidecar)


def affine_of(image: StoredImage) -> Float[Tensor, "4 4"]:
    """Return where the voxels of an image are [mm].

    Raises:
        InputError: It is missing or damaged.
    """
    return torch.as_tensor(open_grid(image.path).affine)


def read_table(path: Path, largest: int = 2**22) -> list[dict[str, str]]:
    """Return the rows of a table of tab-separated values, by column; nothing if it is no table.

    Args:
        path: The file.
        largest: Bytes that are read at most.
    """
    try:
        lines = read_text(path, largest).splitlines()
    except InputError:
        return []
    cells = [line.split("\t") for line in lines if line.strip()]
    return [dict(zip(cells[0], row, strict=True)) for row in cells[1:] if len(row) == len(cells[0])]


def _images(sidecar: Path, fields: Mapping[str, object], compared: bool) -> tuple[StoredImage, ...]:
    own = fields.get(OWN)
    listed = own.get("SHA256") if isinstance(own, Mapping) else None
    if not isinstance(listed, Mapping):
        return ()
    result = []
    for file, digest in listed.items():
        path = sidecar.with_name(Path(str(file)).name)
        stem = image_stem(path)
        name = None if stem is None else parse_stem(stem)
        if name is None or not isinstance(digest, str):
            continue
        beside = _fields_beside(path)
        unit, description = beside.get("Units"), beside.get("Description")
        result.append(
            StoredImage(
                path=path,
                name=name,
                sha256=digest,
                condition=_condition(path, digest if compared else None),
                unit=unit if isinstance(unit, str) else "",
                description=description if isinstance(description, str) else "",
            )
        )
    return tuple(result)


def _fields_beside(image: Path) -> Mapping[str, object]:
    beside = image.with_name(f"{image_stem(image)}.json")
    try:
        return read_sidecar(beside) if beside.is_file() else {}
    except InputError:
        return {}


def _condition(path: Path, digest: str | None) -> Condition:
    """Return the state of an image; without a digest only whether it is there."""
    if digest is None:
        return Condition.WHOLE if path.is_file() else Condition.MISSING
    fingerprint = fingerprint_of(path)
    if fingerprint is None:
        return Condition.MISSING
    return Condition.WHOLE if fingerprint == digest else Condition.CHANGED
