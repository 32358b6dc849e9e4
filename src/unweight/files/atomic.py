"""Atomic writes, and checks that nothing is written outside the named folder.

Nothing is written outside the folder that was named: links in it that lead out are refused.

Files that are there whole or not at all, whatever interrupts the writing.

Each file is written under a hidden name in its own folder, flushed to the disk, and then given its
name in one step. A set of files is written out completely before the first of them gets its name, so
that a full disk leaves the older set as it was. A request to end waits until all have their names. Files
left over by a killed process are removed by the next one that writes the same name, after an hour.
"""

import errno
import gzip
import hashlib
import io
import os
import secrets
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from unweight.core.errors import OutputError

DERIVATIVES: Final = "derivatives"  # where BIDS has them, if they are to lie in the raw tree


def check_within(root: Path, folder: Path) -> None:
    """Refuse a folder of results that a link leads out of their root.

    Raises:
        OutputError: It does, or cannot be followed.
    """
    try:
        inside = folder.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError) as error:
        raise OutputError("is a broken link", remedy="Remove the link.", path=folder) from error
    if not inside:
        raise OutputError(
            "is reached through a link that points outside the output folder",
            remedy="Remove the link.",
            path=folder,
        )


def check_not_among_raw(folder: Path, raw: Path) -> None:
    """Refuse a folder of results in the raw dataset.

    Raises:
        OutputError: It is in it, and not in its `derivatives`.
    """
    if is_among_raw(folder, raw):
        raise OutputError(
            "is inside the raw dataset, which is only read",
            remedy="Choose another folder; derivatives/unweight in the dataset is the usual place.",
            path=folder,
        )


def is_among_raw(folder: Path, raw: Path) -> bool:
    """Whether a folder of results is the root of the raw data or lies in it, its `derivatives` apart."""
    out, root = folder.resolve(), raw.resolve()
    return out.is_relative_to(root) and not (out != root and out.relative_to(root).parts[0] == DERIVATIVES)


COMPRESSION = 3
ABANDONED_SECONDS = 3600.0
UNFINISHED = ".unfinished"
# What file systems answer that cannot flush a folder.
NOT_FOR_FOLDERS = (errno.EINVAL, errno.ENOTSUP)
REMEDIES = {
    errno.ENOSPC: "Free some space; earlier results are unchanged.",
    errno.EDQUOT: "Free some space; earlier results are unchanged.",
    errno.EFBIG: "The file exceeds a limit of the file system or account; earlier results are unchanged.",
    errno.EACCES: "Choose a folder you may write to.",
    errno.EPERM: "Choose a folder you may write to.",
    errno.EROFS: "Choose a folder you may write to.",
}
Staged = Sequence[tuple[Path, Path]]  # hidden name, name


def write_bytes_atomic(path: Path, content: bytes) -> None:
    """Write one file, making its folder if needed.

    Raises:
        OutputError: It could not be written; what stood there before is untouched.
    """
    write_together([(path, content)])


def write_together(files: Iterable[tuple[Path, bytes]]) -> None:
    """Write a set of files: all of them out first, then all under their names, in order.

    The last file is the mark that the set is complete: it gets its name when the others have theirs
    for good.

    Raises:
        OutputError: They could not be written; what stood there before is untouched, unless the
            fault struck between the names (then every file is whole, old or new).
    """
    with staged(files) as written, ending_later():
        give_names(written)


@contextmanager
def staged(files: Iterable[tuple[Path, bytes]]) -> Iterator[Staged]:
    """Write files out under hidden names; those without a name at the end of the block are removed.

    Raises:
        OutputError: They could not be written, or the block met a fault of the system.
    """
    written: list[tuple[Path, Path]] = []
    try:
        for path, content in files:
            temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}{UNFINISHED}")
            written.append((temporary, path))
            _make_folder(path.parent)
            _write_through(temporary, content)
        yield written
    except OSError as error:
        raise not_written(error, written[-1][1] if written else None) from error
    finally:
        for temporary, _ in written:
            _remove(temporary)
    for _, path in written:
        _remove_abandoned(path)


def give_names(written: Staged) -> None:
    """Give staged files their names, in order; the last one when the others have theirs for good."""
    for index, (temporary, path) in enumerate(written):
        if index == len(written) - 1:
            _settle([done for _, done in written[:-1]])
        _rename(temporary, path)
    _settle([path for _, path in written[-1:]])


@contextmanager
def ending_later() -> Iterator[None]:
    """Put a request to end (an interrupt, a termination) off until the block is through."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals reach the main thread only
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    caught: list[int] = []
    taken = [number for number, handler in before.items() if callable(handler)]
    for number in taken:
        signal.signal(number, lambda result, _: caught.append(result))
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, before[number])
        if caught:
            signal.raise_signal(caught[0])


def check_room(root: Path, folder: Path, n_bytes: int) -> None:
    """Refuse a folder where so much cannot be written, before it is worked for; nothing is left behind.

    Args:
        root: Of the results. Nothing is tried outside it: where it is not there yet, the system is asked.
        folder: In it, or the root; it need not be there.
        n_bytes: That are written at least.

    Raises:
        OutputError: They cannot be written.
    """
    there = folder
    try:
        there = next(parent for parent in (folder, *folder.parents) if parent.exists())
        if there.is_relative_to(root):
            with tempfile.TemporaryFile(dir=there) as file:
                file.write(bytes(n_bytes))
        elif not os.access(there, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        elif shutil.disk_usage(there).free < n_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        raise not_written(error, there) from error


def not_written(error: OSError, path: Path | None) -> OutputError:
    """Return what is to be said of a file or folder that the system does not let be written."""
    return OutputError(
        f"could not be written ({error.strerror or error})",
        remedy=REMEDIES.get(error.errno or 0, "Nothing old was changed."),
        path=path,
    )


def remove_file(path: Path) -> None:
    """Remove a file, if it is there.

    Raises:
        OutputError: It cannot be removed, or is a folder.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(
            f"is in the place of a result, and cannot be removed ({error.strerror or error})",
            remedy="Move it away.",
            path=path,
        ) from error


def compressed(content: bytes) -> bytes:
    """Return the content compressed with gzip, without name and time: the same bytes each time."""
    target = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=target, compresslevel=COMPRESSION, mtime=0) as file:
        file.write(content)
    return target.getvalue()


def fingerprint(content: bytes) -> str:
    """Return the SHA-256 of the content in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def fingerprint_of(path: Path) -> str | None:
    """Return the SHA-256 of a file in hexadecimal, or None if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it, and see each entered in the one above for good."""
    missing = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    _settle(missing)


def _write_through(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _rename(temporary: Path, path: Path) -> None:
    """Give a file its name; a seam for tests."""
    temporary.replace(path)


def _settle(paths: Sequence[Path]) -> None:
    """See the names of these files recorded on the disk."""
    for folder in sorted({path.parent for path in paths}):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in NOT_FOR_FOLDERS:
                raise
        finally:
            os.close(descriptor)


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return


def _remove_abandoned(path: Path) -> None:
    """Remove what a killed process left of this file."""
    oldest = time.time() - ABANDONED_SECONDS
    for left in path.parent.glob(f".{path.name}.*{UNFINISHED}"):
        try:
            if left.stat().st_mtime < oldest:
                left.unlink()
        except OSError:
            continue
