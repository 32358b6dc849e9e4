"""A set of maps is whole, or known not to be.

Its files get their names one after the other, so a process can be killed when some are new and some are
old. Before the first of them a mark is set: a hidden file that lists all files of the set, old and new.
The sidecar of the first map comes last, and then the mark goes. As long as it stands, the set counts only
if its sidecar agrees with every image (the old set, or the new); else it is unfinished, and whoever reads
one of the files gets an error that says so. Making the maps again mends it.
"""

import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from pathlib import Path

from unweight.bids.names import image_stem
from unweight.bids.sidecar import OWN, read_sidecar
from unweight.core.errors import InputError, OutputError
from unweight.files.atomic import (
    ending_later,
    fingerprint_of,
    give_names,
    remove_file,
    staged,
    write_bytes_atomic,
)

LOG = logging.getLogger(__name__)
MARK = ".unfinished.json"
IMAGE = ".nii.gz"
ENDINGS = (IMAGE, ".json", ".tsv")


def images_of(sidecar: Path) -> dict[str, str]:
    """Return the SHA-256 of each image of a set, by file name; nothing if its sidecar lists none.

    Args:
        sidecar: Of the first map, which completes the set.
    """
    return {name: digest for name, digest in listed_in(sidecar).items() if name.endswith(IMAGE)}


def listed_in(sidecar: Path) -> dict[str, str]:
    """Return the SHA-256 of each file that a sidecar lists, images and tables, by file name.

    Args:
        sidecar: Of the first map.
    """
    if not sidecar.is_file():
        return {}
    try:
        own = read_sidecar(sidecar).get(OWN)
    except InputError:
        return {}
    value = own.get("SHA256") if isinstance(own, Mapping) else None
    if not isinstance(value, Mapping):
        return {}
    return {name: digest for name, digest in value.items() if isinstance(digest, str) and _is_plain(name)}


def is_whole(sidecar: Path) -> bool:
    """Whether every image of a set has the SHA-256 it was given."""
    images = images_of(sidecar)
    return bool(images) and all(
        fingerprint_of(sidecar.with_name(name)) == digest for name, digest in images.items()
    )


def unfinished_in(folder: Path) -> tuple[Path, ...]:
    """Return the sidecars, there or not, of the sets of a folder whose writing was not ended."""
    try:
        with os.scandir(folder) as entries:
            names = [
                entry.name for entry in entries if entry.name.startswith(".") and entry.name.endswith(MARK)
            ]
    except OSError:
        return ()  # whoever reads it says so
    sidecars = (folder / f"{name[1:].removesuffix(MARK)}.json" for name in sorted(names))
    return tuple(sidecar for sidecar in sidecars if not is_whole(sidecar))


def unfinished(sidecar: Path, path: Path | None = None) -> InputError:
    """Return what is to be said of a set whose writing was not ended, or of one file of it."""
    stem = sidecar.name.removesuffix(".json")
    return InputError(
        f"{'is' if path is None else 'belongs to'} the unfinished set {stem}: the command that wrote it "
        "was interrupted, or is still running",
        remedy="Compute the maps again.",
        path=path or sidecar,
    )


def check_finished(image: Path) -> None:
    """Refuse an image of a set whose writing was not ended.

    Raises:
        InputError: It belongs to one.
    """
    for sidecar in unfinished_in(image.parent):
        if image.name in _marked(sidecar):
            raise unfinished(sidecar, image)


@contextmanager
def unchanged(sidecar: Path) -> Iterator[None]:
    """Read a set in the block, and see that it was one set all the time.

    Raises:
        InputError: It is unfinished, or was replaced in between.
    """
    before = fingerprint_of(sidecar)
    if sidecar in unfinished_in(sidecar.parent):
        raise unfinished(sidecar)
    yield
    if fingerprint_of(sidecar) != before or sidecar in unfinished_in(sidecar.parent):
        raise unfinished(sidecar)


def commit(sidecar: Path, files: Iterable[tuple[Path, bytes]], outdated: Sequence[Path] = ()) -> None:
    """Replace a set; the lock of its visit is held by who calls.

    Args:
        sidecar: Of the first map.
        files: Of the set, this sidecar last.
        outdated: What was drawn and measured from the set before; removed first.

    Raises:
        OutputError: It could not be written. The older set stands, unless the error says that the set is
            unfinished.
    """
    with staged(files) as written:
        new = {path.name for _, path in written}
        old = {*names_beside(listed_in(sidecar)), *_marked(sidecar)}
        for path in outdated:
            remove_file(path)
        mark = _mark(sidecar)
        content = {"Set": sidecar.name, "Files": sorted(old | new)}
        write_bytes_atomic(mark, (json.dumps(content, indent=2) + "\n").encode())
        with ending_later():
            try:
                give_names(written)
            except OSError as error:
                raise OutputError(
                    f"could not be written ({error.strerror or error}), so this set may be unfinished",
                    remedy="Remove the cause of the error, and compute the maps again.",
                    path=sidecar,
                ) from error
            if _remove_all(sidecar.parent, old - new):
                remove_file(mark)


def withdraw(sidecar: Path, paths: Iterable[Path]) -> None:
    """Remove a set, the sidecar that completes it first; the lock of its visit is held by who calls."""
    for path in sorted(paths, key=lambda path: path.name != sidecar.name):
        remove_file(path)


def _mark(sidecar: Path) -> Path:
    return sidecar.with_name(f".{sidecar.name.removesuffix('.json')}{MARK}")


def _marked(sidecar: Path) -> set[str]:
    """Return the names a mark lists; nothing if there is none, or none that can be understood."""
    mark = _mark(sidecar)
    try:
        value = read_sidecar(mark).get("Files") if mark.is_file() else None
    except InputError:
        return set()
    return {name for name in value if _is_plain(name)} if isinstance(value, list) else set()


def _is_plain(name: object) -> bool:
    """Whether this is the name of a file that a set can have."""
    return (
        isinstance(name, str)
        and Path(name).name == name
        and name.startswith("sub-")
        and name.endswith(ENDINGS)
    )


def names_beside(files: Iterable[str]) -> set[str]:
    """Return the names of images and tables, and of what can be beside them."""
    stems = {image_stem(Path(name)) or Path(name).stem for name in files}
    return {f"{stem}{ending}" for stem in stems for ending in ENDINGS}


def _remove_all(folder: Path, names: Set[str]) -> bool:
    """Remove files of the set before that this one does not have; tell whether all are gone."""
    gone = True
    for name in sorted(names):
        try:
            (folder / name).unlink(missing_ok=True)
        except OSError:
            LOG.warning("%s is outdated, and could not be removed", name)
            gone = False
    return gone
