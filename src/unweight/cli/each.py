"""One thing after the other, each as far as it goes: what fails is said and does not stop the rest."""

import errno
from collections.abc import Callable, Sequence
from typing import TypeVar

from unweight.cli.terminal import error_line
from unweight.cli.unexpected import TOO_LITTLE, ran_out_of_memory
from unweight.core.errors import IncompleteError, OutputError, UnweightError

Thing = TypeVar("Thing")
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def each(
    result: Sequence[tuple[str, Thing]],
    work: Callable[[str, Thing], None],
    *,
    debug: bool = False,
    what: str = "series",
) -> int:
    """Work on each thing and return the exit code.

    A lone thing that fails is an error of the call; among several the others are done. What is done in
    part, or without any value, is reported and counts as failed, and so does what ran out of memory. A
    fault of the program is raised last.

    Args:
        result: Things by name.
        work: What to do with one.
        debug: Whether what fails is raised.
        what: They are, in the plural.
    """
    failed: list[str] = []
    incomplete: list[str] = []
    fault: Exception | None = None
    for label, thing in result:
        try:
            work(label, thing)
        except IncompleteError as error:
            incomplete.append(label)
            error_line(f"{label}: {error}")
        except Exception as error:
            if len(result) == 1 or debug or _stops_all(error):
                raise
            failed.append(label)
            if isinstance(error, UnweightError):
                error_line(f"{label}: {error}")
                continue
            if ran_out_of_memory(error):
                error_line(f"{label}: {TOO_LITTLE}")
                continue
            fault = fault or error.with_traceback(None)  # its frames hold the images of the series
            error_line(f"{label}: unexpected {type(error).__name__}: {error}")
    if failed:
        error_line(f"{len(failed)} of {len(result)} {what} failed: {', '.join(failed)}")
    if incomplete and len(result) > 1:
        error_line(f"{len(incomplete)} of {len(result)} {what} are incomplete: {', '.join(incomplete)}")
    if fault is not None:
        raise fault
    return 1 if failed or incomplete else 0


def _stops_all(error: Exception) -> bool:
    """Whether the others would fail as well: a full disk, a folder that may not be written, no reader."""
    if isinstance(error, OutputError):
        full = isinstance(error.__cause__, OSError) and error.__cause__.errno in FULL
        return full or error.path is None or not any(part.startswith("sub-") for part in error.path.parts)
    return isinstance(error, OSError) and error.filename is None and not ran_out_of_memory(error)
