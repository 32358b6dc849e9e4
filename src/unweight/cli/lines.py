"""Lines on standard error, whoever logs them, as a terminal may have them."""

import io
import logging
import os
import sys
import warnings
from typing import TextIO, final

from unweight.core.printable import printable

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
