"""Lines on standard error, whoever logs them, as a terminal may have them."""

import io
import logging
import os
import sys
import warnings
from typing import Any, TextIO, final

from unweight.core.text import printable

LOG = logging.getLogger(__name__)


@final
class PrintableFormatter(logging.Formatter):
    """Log records as lines without control characters; a traceback keeps its lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's own name)
        """Return the message, one line."""
        return printable(record.getMessage())


def log_lines(level: int) -> None:
    """Show log records from a level on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(PrintableFormatter())
    logging.basicConfig(level=level, handlers=[handler])


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
    """Standard output that a full disk makes shorter, and that stops nobody's work.

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
    """Put standard output that stops nobody's work in place of the usual; None where that is no file."""
    usual = sys.stdout
    if not isinstance(usual, io.TextIOWrapper):
        return None
    raw = KeptGoing(usual)
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=usual.encoding,
        errors=usual.errors,
        line_buffering=usual.line_buffering,
    )
    return raw
