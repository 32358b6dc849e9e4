"""`--log-file`: all records of a command and all that it prints, one line a record, with time and level.

    2026-05-04T09:30:12.345 INFO unweight.cli.mapping: sub-01_IRT1: images read in 2.1 s

Lines are appended, so that several commands can share a file. Control characters are escaped, line breaks
of a traceback among them. A file that can no longer be written stops no command.
"""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import final

from unweight.core.errors import OutputError
from unweight.core.text import printable

PRINT_LOG = logging.getLogger("unweight.printed")  # what is printed anyway: of no use on standard error
PRINT_LOG.propagate = False


@final
class LineFormatter(logging.Formatter):
    """Log records as single lines: time, level, origin, message, and traceback if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        when = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(record.created))
        text = record.getMessage()
        if record.exc_info:
            text = f"{text}\n{self.formatException(record.exc_info)}"
        start = f"{when}.{int(record.msecs):03d} {record.levelname} {record.name}"
        return printable(f"{start}: {text}")


@final
class LogFile(logging.FileHandler):
    """A log file.

    Attributes:
        lost: Why something could not be written; None if all was.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, mode="a", encoding="utf-8", errors="backslashreplace")
        self.lost: BaseException | None = None
        self.setFormatter(LineFormatter())

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's own name)
        """Keep the reason."""
        self.lost = sys.exc_info()[1]


@contextmanager
def logged_to(path: Path | None) -> Iterator[None]:
    """Write the records of all levels to a file while a command runs.

    Args:
        path: The file; None for none.

    Raises:
        OutputError: It cannot be opened.
    """
    if path is None:
        yield
        return
    try:
        handler = LogFile(path)
    except OSError as error:
        raise OutputError(
            f"the log file cannot be opened ({error.strerror or error})",
            remedy="Give a file in an existing folder that you may write to.",
            path=path,
        ) from error
    root = logging.getLogger()
    before = root.level, PRINT_LOG.level
    for logger in (root, PRINT_LOG):
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        for logger, level in zip((root, PRINT_LOG), before, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)
        try:
            handler.close()
        except OSError as error:
            handler.lost = error
        if handler.lost is not None:
            complain(f"{path}: the log is incomplete ({handler.lost})")


def log_printed(text: str) -> None:
    """Record what is printed, line by line, if there is a log file."""
    if PRINT_LOG.handlers:
        for line in text.splitlines():
            PRINT_LOG.info("%s", printable(line.rstrip()))


def complain(text: str) -> None:
    """Print an error on standard error, as one line, and record it."""
    line = printable(text)
    print(line, file=sys.stderr)
    if PRINT_LOG.handlers:
        PRINT_LOG.error("%s", line)


def log_traceback() -> None:
    """Record the exception that is being handled, with its traceback."""
    if PRINT_LOG.handlers:
        PRINT_LOG.debug("traceback", exc_info=True)
