"""One process at a time: a lock on a file that the system gives back when its holder dies."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from unweight.core.errors import OutputError

HELD = (errno.EACCES, errno.EAGAIN)


@contextmanager
def locked(path: Path, *, wait: bool) -> Iterator[bool]:
    """Hold a lock as long as the block lasts, and tell whether it is held.

    Args:
        path: The file, made if absent; it stays, and is empty.
        wait: For whoever holds it; otherwise the block is entered without the lock.

    Raises:
        OutputError: The file cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        raise OutputError(
            f"cannot be made ({error.strerror or error})",
            remedy="Choose a folder you may write to.",
            path=path,
        ) from error
    try:
        yield _taken(handle, wait=wait)
    finally:
        os.close(handle)


def _taken(handle: int, *, wait: bool) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        if error.errno in HELD:
            return False
        raise OutputError(
            f"the file system gives no locks ({error.strerror or error})",
            remedy="Write to another file system, or let one run at a time work there.",
        ) from error
    return True
