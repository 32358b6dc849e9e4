"""One process at a time: a lock on a file that the system gives back when its holder dies.

`locked` is for a file that stays. `awaited` is for results: its file is there only while somebody holds it.
"""

import errno
import fcntl
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from unweight.core.errors import OutputError

LOG = logging.getLogger(__name__)
HELD = (errno.EACCES, errno.EAGAIN)
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)
LONGEST_WAIT, PAUSE = 600.0, 0.1  # s


@contextmanager
def locked(path: Path, *, wait: bool) -> Iterator[bool]:
    """Hold a lock as long as the block lasts, and tell whether it is held.

    Args:
        path: The file, created if absent; it stays, and is empty.
        wait: For whoever holds it; otherwise the block is entered without the lock.

    Raises:
        OutputError: The file cannot be made.
    """
    handle = _opened(path)
    try:
        yield _taken(handle, wait=wait)
    finally:
        os.close(handle)


@contextmanager
def awaited(path: Path, what: str) -> Iterator[None]:
    """Hold a lock as long as the block lasts; wait for whoever holds it, and say so.

    A file system that gives no locks is passed over with a warning.

    Args:
        path: The file; its folder is created if absent.
        what: Is written, for the line that is said.

    Raises:
        OutputError: The file cannot be made, or is held for longer than `LONGEST_WAIT`.
    """
    began, values = time.monotonic(), False
    while (handle := _owned(path)) is None:
        if not values:
            LOG.warning("%s: another process is writing there; waiting", what)
            values = True
        if time.monotonic() - began > LONGEST_WAIT:
            raise OutputError(
                f"is held by another process, which has written {what} for more than {LONGEST_WAIT:g} s",
                remedy="Check that process, and try again.",
                path=path,
            )
        time.sleep(PAUSE)
    try:
        yield
    finally:
        try:
            path.unlink(missing_ok=True)  # while it is held: who waits sees that it is another file now
        except OSError:
            LOG.debug("%s could not be removed", path)
        os.close(handle)


def _opened(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        raise OutputError(
            f"cannot be created ({error.strerror or error})",
            remedy="Choose a folder you may write to.",
            path=path,
        ) from error


def _owned(path: Path) -> int | None:
    """Return a handle that holds the lock on the file of this name, or None if somebody else does."""
    while True:
        handle = _opened(path)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(handle), path.stat(follow_symlinks=False)):
                return handle
        except FileNotFoundError:
            pass  # its holder has just removed it
        except OSError as error:
            if error.errno in NO_LOCKS:
                LOG.warning("this file system does not support locks: run only one command at a time there")
                return handle
            os.close(handle)
            if error.errno in HELD:
                return None
            raise OutputError(f"cannot be locked ({error.strerror or error})", path=path) from error
        os.close(handle)


def _taken(handle: int, *, wait: bool) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        if error.errno in HELD:
            return False
        raise OutputError(
            f"the file system does not support locks ({error.strerror or error})",
            remedy="Write to another file system, or use one run at a time there.",
        ) from error
    return True
