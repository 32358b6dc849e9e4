"""Lines on standard error, whoever logs them, as a terminal may have them."""

import io
import logging
import sys
from typing import final

from unweight.core.printable import printable


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


def say_in_any_encoding() -> None:
    """Let characters that the terminal has no code for be escaped, not end the program."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
