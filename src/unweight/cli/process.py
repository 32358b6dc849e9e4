"""What the process of a command sets up: its streams and log, its memory, its caches.

Lines on standard error are such as a terminal may have them, whoever logs them.

Memory that is asked for again and again is kept, not given back to the system each time. Whole-head arrays
are made and dropped hundreds of times in one command. The GNU C library hands blocks of their size back at
once, and the system clears every page anew when the next one is asked for: a sixth to a half of the time of
`unweight qsm`. With a heap that grows instead, pages stay. With another C library nothing changes.

What libraries would keep in the user's home goes to a folder that is removed when the process ends.
matplotlib keeps a list of fonts and makes a folder for settings, dask-jobqueue writes a file of settings
beside those that the user has. With the fonts that matplotlib brings along alone, the list is quickly made,
no other program is started to look for fonts, and pictures do not depend on what is installed.
"""

import atexit
import ctypes
import io
import logging
import os
import shutil
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any, TextIO, final

from unweight.core.text import printable

LOG = logging.getLogger(__name__)


def n_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@final
class PrintableFormatter(logging.Formatter):
    """Log records as lines without control characters; a traceback keeps its lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's own name)
        """Return the message, one line."""
        return printable(record.getMessage())


def log_lines(level: int) -> None:
    """Show log records from a level on; of libraries only warnings, and at level debug everything."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(PrintableFormatter())
    handler.setLevel(level)
    if level > logging.DEBUG:
        handler.addFilter(lambda record: record.levelno >= logging.WARNING or _is_own(record))
    logging.basicConfig(level=level, handlers=[handler])


def _is_own(record: logging.LogRecord) -> bool:
    return record.name.partition(".")[0] == "unweight"


def log_warnings() -> None:
    """Let what libraries warn of be records of level debug: it is meant for programmers, not for users.

    So is what they fail in while they tidy up, which Python can only show.
    """
    warnings.showwarning = _log_warning
    sys.unraisablehook = _log_unraisable
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # what PyTorch warns of below Python


def _log_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Take the place of `warnings.showwarning`."""
    LOG.debug("%s:%d: %s: %s", filename, lineno, category.__name__, message)


def _log_unraisable(failed: "sys.UnraisableHookArgs") -> None:
    """Take the place of `sys.unraisablehook`."""
    LOG.debug("%s in %r: %s", failed.err_msg or "ignored", failed.object, failed.exc_value)


def say_in_any_encoding() -> None:
    """Let characters that the terminal has no code for be escaped, not end the program."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def open_closed_streams() -> None:
    """Let standard streams that a launcher has closed lead nowhere; no other file gets their numbers."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            try:
                os.fstat(number)
            except OSError:
                os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
            nowhere = io.FileIO(os.devnull, "r" if name == "stdin" else "w")
            setattr(sys, name, io.TextIOWrapper(nowhere))


@final
class KeptGoing(io.RawIOBase):
    """Standard output, or standard error, that a full disk makes shorter, and that stops nobody's work.

    Attributes:
        lost: Why something could not be written; None if all was.
    """

    def __init__(self, usual: io.TextIOWrapper) -> None:
        super().__init__()
        whole: Any = usual.buffer
        self._usual = usual  # which closes when nobody has it any more
        self._raw: io.RawIOBase = getattr(whole, "raw", whole)
        self.lost: OSError | None = None

    def write(self, content: Any) -> int | None:
        """Write, or take note of why that was not possible; a closed pipe is an error as ever."""
        try:
            return self._raw.write(content)
        except BrokenPipeError:
            raise
        except OSError as error:
            self.lost = error
            return memoryview(content).nbytes

    def writable(self) -> bool:
        """Whether it can be written to."""
        return True

    def fileno(self) -> int:
        """Return its number."""
        return self._raw.fileno()

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self._raw.isatty()


def keep_going() -> KeptGoing | None:
    """Put streams that stop nobody's work in place of standard output and standard error.

    Returns:
        That of standard output; None where it is no file.
    """
    kept: dict[str, KeptGoing] = {}
    for name in ("stdout", "stderr"):
        usual = getattr(sys, name)
        if isinstance(usual, io.TextIOWrapper):
            kept[name] = KeptGoing(usual)
            stream = io.TextIOWrapper(
                io.BufferedWriter(kept[name]),
                encoding=usual.encoding,
                errors=usual.errors,
                line_buffering=usual.line_buffering or usual.write_through,  # PYTHONUNBUFFERED
            )
            setattr(sys, name, stream)
    return kept.get("stdout")


# Of mallopt(3): give memory at the end of the heap back, and blocks that are mapped one by one.
TRIM_THRESHOLD, MMAP_MAX = -1, -4
NEVER = 2**31 - 1


def keep_memory() -> bool:
    """Ask the C library to keep memory for this process; return whether it agreed."""
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallopt"):
        return False
    return all(library.mallopt(*item) == 1 for item in ((TRIM_THRESHOLD, NEVER), (MMAP_MAX, 0)))


PREFIX = "unweight-caches-"
FOLDERS = ("MPLCONFIGDIR", "DASK_CONFIG")  # Dask reads the user's own folder of settings all the same
SYSTEM_FONTS = "MPL_IGNORE_SYSTEM_FONTS"


def use_private_caches() -> Path | None:
    """Set the environment of this process and its children, before their first large import.

    What the user has set stays. What a parent process set stays as long as its folder is there: it may
    have been passed on to another machine.

    Returns:
        The folder, if one was made.
    """
    unset = [name for name in FOLDERS if _is_free(os.environ.get(name))]
    if not unset:
        return None
    try:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    except OSError:
        return None  # the disk for temporary files is full: the libraries find a place, or go without
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for name in unset:
        os.environ[name] = str(folder)
    if "MPLCONFIGDIR" in unset:
        os.environ.setdefault(SYSTEM_FONTS, "1")
    return folder


def _is_free(value: str | None) -> bool:
    return not value or (Path(value).name.startswith(PREFIX) and not Path(value).is_dir())
