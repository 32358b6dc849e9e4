"""The way in: a BIDS tree, a folder of DICOM, or NIfTI files become acquisitions.

`find_inputs` looks at names only; each series is read when it is asked for, so that a thousand
subjects need no more memory than one.
"""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import final

from unweight.bids.collection import (
    Collection,
    Unreadable,
    find_collections,
    looks_like_bids,
    with_absent,
)
from unweight.bids.dicom.convert import converted
from unweight.bids.dicom.folder import looks_like_dicom
from unweight.bids.dicom.selection import advice, select_converted
from unweight.bids.folders import is_folder, listed
from unweight.bids.inheritance import entry_beside, entry_in_tree
from unweight.bids.names import PAIR, BidsName, image_stem, parse_stem
from unweight.bids.nifti.grid import Placement
from unweight.bids.series.overrides import NOTHING_GIVEN, ProtocolOverrides
from unweight.bids.series.part import Entry
from unweight.bids.series.selection import select_series
from unweight.bids.series.stack import Stack, stack
from unweight.bids.sidecar import Part, Sidecar
from unweight.core.acquisition import Acquisition, SignalKind
from unweight.core.errors import InputError, ProtocolError, UsageError

LOG = logging.getLogger(__name__)

UNNAMED: Mapping[str, str] = MappingProxyType({"sub": "01"})
KEPT_ENTITIES = ("sub", "ses", "acq", "ce", "rec", "run")
TREE_DEPTH = 4
DATATYPES = ("anat", "fmap", "dwi", "func", "perf")
# The timing and the field that the images of a suffix cannot do without.
REQUIRED = {
    "IRT1": ("inversion_time", "InversionTime"),
    "MEGRE": ("echo_time", "EchoTime"),
    "MESE": ("echo_time", "EchoTime"),
    "VFA": ("flip_angle", "FlipAngle"),
}


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Series:
    """A series that was read.

    Attributes:
        acquisition: Volumes and timings.
        entities: BIDS entities that name what is derived from it, `sub` among them.
        suffix: BIDS suffix of the images, if they have one.
        files: The images, in the order of the volumes.
        sources: What derivatives name as their sources: BIDS URIs, or the SHA-256 of files.
        root: Root of the BIDS tree, if there is one.
        sidecar: Fields on which all sidecars agree.
        notes: What a careful reader should know.
        placement: Where the headers of the images place the voxels.
        sidecars: Of each file.
        faults: Files and volumes that should be there and could not be used, in sentences.
        shape: Of the volumes in the files; those of an acquisition may be a sample.
    """

    acquisition: Acquisition
    entities: Mapping[str, str]
    suffix: str
    files: tuple[Path, ...]
    sources: tuple[str, ...]
    root: Path | None = None
    sidecar: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    notes: tuple[str, ...] = ()
    placement: Placement | None = None
    sidecars: tuple[Sidecar, ...] = ()
    faults: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()


@final
@dataclass(frozen=True, kw_only=True)
class FoundSeries:
    """A series that was found.

    Attributes:
        origin: A collection of a BIDS tree or what is wrong with it, NIfTI files, or a folder of NIfTI or
            DICOM files.
        given: What the caller says about it.
        entities: BIDS entities that name what is derived from it.
    """

    origin: Collection | Unreadable | tuple[Path, ...] | Path
    given: ProtocolOverrides = NOTHING_GIVEN
    entities: Mapping[str, str] = field(default_factory=lambda: dict(UNNAMED))

    @property
    def label(self) -> str:
        """A name for messages and progress."""
        if isinstance(self.origin, Collection | Unreadable):
            return self.origin.label
        return "_".join(f"{key}-{label}" for key, label in self.entities.items())

    def read(self) -> Series:
        """Read it.

        Raises:
            InputError: A file is unusable, or the files do not make one series.
        """
        if isinstance(self.origin, Unreadable):
            raise self.origin.error
        if isinstance(self.origin, Collection):
            return _read_collection(self.origin, self.given)
        if isinstance(self.origin, tuple):
            return read_series(self.origin, self.given)
        return _read_folder(self.origin, self.given)


def find_inputs(
    paths: Sequence[Path],
    given: ProtocolOverrides = NOTHING_GIVEN,
    *,
    suffixes: Sequence[str] = ("IRT1",),
    subjects: Sequence[str] | None = None,
) -> tuple[FoundSeries, ...]:
    """Find out what was given, without reading it; what is wrong with a series is raised when it is read.

    Args:
        paths: One BIDS tree, one folder (of DICOM or NIfTI), or NIfTI files.
        given: What the caller says about the files.
        suffixes: Which series of a BIDS tree.
        subjects: Which subjects of a BIDS tree, without `sub-`; None for all.

    Raises:
        InputError: There is nothing there that can be read.
    """
    if not paths:
        raise InputError("no input", remedy="Give a BIDS dataset, a folder, or NIfTI files.")
    if len(paths) > 1 or not is_folder(paths[0]):
        _refuse_numbers(given, paths[0])
        return (FoundSeries(origin=tuple(paths), given=given, entities=entities_of(paths)),)
    folder = paths[0]
    if looks_like_bids(folder):
        _refuse_numbers(given, folder)
        return _find_in_tree(folder, given, suffixes, subjects)
    if folder.name.startswith("sub-") and looks_like_bids(folder.parent):
        return _find_in_tree(folder.parent, given, suffixes, [folder.name])
    images = images_in(folder)
    if not images and not looks_like_dicom(folder):
        raise InputError(
            "contains no BIDS dataset, NIfTI or DICOM files", remedy="Check the path.", path=folder
        )
    return (FoundSeries(origin=folder, given=given, entities=entities_of(images)),)


def read_inputs(
    paths: Sequence[Path],
    given: ProtocolOverrides = NOTHING_GIVEN,
    *,
    suffixes: Sequence[str] = ("IRT1",),
    subjects: Sequence[str] | None = None,
) -> tuple[Series, ...]:
    """Find and read everything at once; for many subjects use `find_inputs`.

    Raises:
        InputError: As `find_inputs` and `FoundSeries.read`.
    """
    result = find_inputs(paths, given, suffixes=suffixes, subjects=subjects)
    return tuple(series.read() for series in result)


def read_series(paths: Sequence[Path], given: ProtocolOverrides = NOTHING_GIVEN) -> Series:
    """Read the NIfTI files of one series: several volumes, or one file with four dimensions.

    Times come from the sidecars (those of a BIDS tree are inherited) unless they are given. Volumes
    end up in the order of their inversion or echo times.

    Raises:
        InputError: A file is unusable, or they do not make one series.
        ProtocolError: A timing is missing, impossible, or not one per volume.
    """
    if not paths:
        raise InputError("no images to read", remedy="Give at least one file.")
    return _series(stack([entry_of(path) for path in paths], given))


def read_complex(
    magnitude: Sequence[Path], phase: Sequence[Path], given: ProtocolOverrides = NOTHING_GIVEN
) -> Series:
    """Read the NIfTI files of one complex series, told apart by the caller.

    Raises:
        InputError: A file is unusable, or they do not make one series.
        ProtocolError: A timing is missing, impossible, or not one per volume.
    """
    entries = [replace(entry_of(path), part=Part.MAGNITUDE) for path in magnitude]
    entries += [replace(entry_of(path), part=Part.PHASE) for path in phase]
    return _series(stack(entries, replace(given, kind=SignalKind.COMPLEX)))


def entry_of(path: Path) -> Entry:
    """Return one image with its sidecar, in a BIDS tree with all that it inherits."""
    root = tree_of(path)
    return entry_beside(path) if root is None else entry_in_tree(root, path.absolute())


def _read_collection(collection: Collection, given: ProtocolOverrides) -> Series:
    paths = [path for files in collection.files.values() for path in files]
    entries = [entry_in_tree(collection.root, path) for path in paths]
    _check_required(entries, collection.suffix, given)
    return _series(stack(entries, given))


def _check_required(entries: Sequence[Entry], suffix: str, given: ProtocolOverrides) -> None:
    """Refuse images without the field that BIDS requires of their suffix."""
    if suffix not in REQUIRED:
        return
    name, label = REQUIRED[suffix]
    values = [entry for entry in entries if entry.sidecar.fields.get(label) is not None]
    if given.kind is SignalKind.COMPLEX and values:
        return  # what one part lacks, the other may have
    for entry in entries:
        if entry.part in (Part.PHASE, Part.IMAGINARY):
            continue
        if entry.sidecar.fields.get(label) is None and getattr(given, name) is None:
            raise ProtocolError(
                f"no sidecar gives {label}, which {suffix} images need",
                remedy=f"Write {label} (in seconds) into its sidecar.",
                path=entry.path,
            )


def _read_folder(folder: Path, given: ProtocolOverrides) -> Series:
    images = [image for image in images_in(folder) if given.mask is None or not _same(image, given.mask)]
    if images:
        _refuse_numbers(given, folder)
        return _read_selected(folder, [entry_of(image) for image in images], given)
    return _read_dicom(folder, given)


def _read_dicom(folder: Path, given: ProtocolOverrides) -> Series:
    """Read the one series of a folder of DICOM; errors name what else lies there, and what is missing."""
    by_hand = given.by_volume
    with converted(folder, numbers=given.series, by_hand=by_hand) as conversion:
        try:
            chosen, notes, faults = select_converted(folder, conversion, given)
            series = _series(stack(chosen, given), notes)
            return replace(series, faults=(*faults, *series.faults))
        except InputError as error:
            problem = "; ".join((error.problem.rstrip("."), *conversion.faults))
            remedy = " ".join(part for part in (error.remedy, advice(conversion)) if part)
            raise type(error)(problem, remedy=remedy, path=error.path) from error


def _refuse_numbers(given: ProtocolOverrides, path: Path) -> None:
    if given.series is not None:
        raise UsageError(f"--series is for DICOM folders, and {path} is not one", remedy="Omit --series.")


def _read_selected(folder: Path, entries: Sequence[Entry], given: ProtocolOverrides) -> Series:
    """Read the one series of a folder; where times are given, all images must be of it."""
    if given.by_volume or given.echo_time is not None:
        return _series(stack(entries, given))
    chosen, notes = select_series(folder, entries, given.kind)
    return _series(stack(chosen, given), notes)


def _series(stacked: Stack, notes: tuple[str, ...] = ()) -> Series:
    files = tuple(entry.path for entry in stacked.entries)
    roots = {tree_of(path) for path in files}
    root = roots.pop() if len(roots) == 1 else None
    name = parse_stem(image_stem(files[0]) or "")
    for note in notes:
        LOG.warning(note)
    return Series(
        acquisition=stacked.acquisition,
        entities=entities_of(files),
        suffix=name.suffix if name is not None and "sub" in name.entities else "",
        files=files,
        sources=tuple(source_of(path, root) for path in files),
        root=root,
        sidecar=agreed_fields(stacked.entries),
        notes=notes + stacked.notes,
        placement=stacked.placement,
        sidecars=tuple(entry.sidecar for entry in stacked.entries),
        faults=stacked.faults,
        shape=stacked.shape,
    )


def source_of(path: Path, root: Path | None) -> str:
    """Return how derivatives name a source: by BIDS URI, or by content, for file names can tell names.

    Args:
        path: The file.
        root: Of the BIDS tree; a file outside it, or of a series without one, is named by its content.
    """
    if root is not None and path.absolute().is_relative_to(root):
        inside = path.absolute().relative_to(root)
        if _names_nobody(inside):
            return f"bids:raw:{inside.as_posix()}"
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def _names_nobody(path: Path) -> bool:
    """Whether the way to an image within a BIDS tree is made of what BIDS allows, and nothing else."""
    name = parse_stem(image_stem(path) or "")
    return (
        name is not None
        and "sub" in name.entities
        and all(part in DATATYPES or PAIR.fullmatch(part) for part in path.parent.parts)
    )


def agreed_fields(entries: Sequence[Entry]) -> Mapping[str, object]:
    """Return the fields on which all sidecars agree."""
    first, *others = (entry.sidecar.fields for entry in entries)
    return MappingProxyType(
        {key: value for key, value in first.items() if all(other.get(key) == value for other in others)}
    )


def _find_in_tree(
    root: Path, given: ProtocolOverrides, suffixes: Sequence[str], subjects: Sequence[str] | None
) -> tuple[FoundSeries, ...]:
    result = find_collections(root.absolute(), suffixes, subjects)
    collections = with_absent(result, suffixes, subjects)
    if not collections:
        raise InputError(
            f"no {' or '.join(suffixes)} series in this BIDS dataset",
            remedy="Check the suffix and the labels of the subjects.",
            path=root,
        )
    return tuple(
        FoundSeries(
            origin=collection,
            given=given,
            entities={key: label for key, label in collection.entities.items() if key in KEPT_ENTITIES},
        )
        for collection in collections
    )


def images_in(folder: Path) -> tuple[Path, ...]:
    """Return the NIfTI files of a folder, hidden ones left out."""
    return tuple(
        path for path in listed(folder) if image_stem(path) is not None and not path.name.startswith(".")
    )


def _same(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except (OSError, ValueError):
        return False  # one of them is not there, which is said when it is opened


def tree_of(path: Path) -> Path | None:
    """Return the root of the BIDS tree a file lies in, if it lies in one."""
    for folder in list(path.absolute().parents)[:TREE_DEPTH]:
        way = path.absolute().relative_to(folder).parts
        if way[0].startswith("sub-") and len(way) > 1 and (folder / "dataset_description.json").is_file():
            return folder
    return None


def entities_of(paths: Sequence[Path]) -> Mapping[str, str]:
    """Return the entities all names share; `sub-01` if the names say nothing."""
    names = [parse_stem(image_stem(path) or "") for path in paths]
    known = [name.entities for name in names if isinstance(name, BidsName)]
    if len(known) < len(names) or not known or "sub" not in known[0]:
        return UNNAMED
    first = known[0]
    return {
        key: first[key]
        for key in KEPT_ENTITIES
        if key in first and all(other.get(key) == first[key] for other in known)
    }
