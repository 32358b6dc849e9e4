"""Small text files: JSON, TOML and tables, read with limits and written whole.

Text as spreadsheets write it, whatever its encoding and line ends.

What small text files hold: JSON, TOML, tables, cards. The only way in for them.

A name can belong to a device that never ends, to a pipe that nobody writes into, or to a file that grows:
what counts is the kind of the opened file and the bytes that were read, not what a listing says. Values
nested deeper than any file that is meant well are refused where they are read, before something recursive
meets them.

Tables of tab-separated values, as BIDS writes them: `n/a` where there is no value.

Control and right-to-left characters of names stand in them as their escapes.
"""

import codecs
import json
import math
import os
import re
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from unweight.core.errors import InputError, UsageError
from unweight.core.text import printable
from unweight.files.atomic import write_bytes_atomic

LINE_END = re.compile(r"\r\n|\r|\n")
MARKS = (  # the mark of UTF-32 begins with that of UTF-16
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def lines_of(content: bytes) -> list[str]:
    """Return the lines of a text that are not blank.

    A byte-order mark tells the encoding. Without one it is UTF-16 if there are zero bytes, else UTF-8, else
    what Windows calls 1252, of which Latin-1 is a part.

    Raises:
        UnicodeDecodeError: It is not text.
    """
    return [line for line in LINE_END.split(content.decode(_encoding(content))) if line.strip()]


def _encoding(content: bytes) -> str:
    for mark, encoding in MARKS:
        if content.startswith(mark):
            return encoding
    if b"\0" in content:
        return "utf-16-le" if content[1::2].count(0) > content[::2].count(0) else "utf-16-be"
    for encoding in ("utf-8", "cp1252"):
        try:
            content.decode(encoding)
        except UnicodeDecodeError:
            continue
        return encoding
    return "latin-1"


PIECE = 2**20
DEEPEST = 100


def read_content(path: Path, largest: int) -> bytes:
    """Return all bytes of a file.

    Args:
        path: The file, or a link to one.
        largest: Bytes that it may hold.

    Raises:
        InputError: It is absent, no regular file, cannot be read, or holds more.
    """
    try:
        # Without this flag the opening of a pipe waits for somebody to write into it.
        with open(path, "rb", opener=_without_waiting) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise InputError("is a device or a pipe", remedy="Give a regular file.", path=path)
            pieces, left = [], largest + 1
            while left > 0 and (piece := file.read(min(PIECE, left))):
                pieces.append(piece)
                left -= len(piece)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InputError(f"cannot be read ({why})", remedy="Check the path.", path=path) from error
    if left <= 0:
        raise InputError(
            f"is too large: more than {_size(largest)} are not read of such a file",
            remedy="Check the path.",
            path=path,
        )
    return b"".join(pieces)


def read_text(path: Path, largest: int) -> str:
    """Return the text of a file in UTF-8, with or without a byte-order mark.

    Raises:
        InputError: As `read_content`, or it is no such text.
    """
    try:
        return read_content(path, largest).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError("is not UTF-8 text", remedy="Save it as UTF-8.", path=path) from error


def parse_json(
    text: str | bytes,
    *,
    object_pairs_hook: Callable[[list[tuple[str, object]]], object] | None = None,
    parse_constant: Callable[[str], object] | None = None,
) -> Any:  # as json.loads: who asks checks
    """Return a JSON value; whatever is wrong with it is a ValueError.

    Args:
        text: In UTF-8, if it is bytes.
        object_pairs_hook: As `json.loads` takes it.
        parse_constant: As `json.loads` takes it.

    Raises:
        ValueError: It is no JSON, or nested too deeply.
    """
    try:
        value: Any = json.loads(text, object_pairs_hook=object_pairs_hook, parse_constant=parse_constant)
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error
    check_depth(value)
    return value


def check_depth(value: object) -> None:
    """Refuse a value whose lists and tables are nested too deeply.

    Raises:
        ValueError: They are.
    """
    level = [value]
    for _ in range(DEEPEST):
        level = [inner for item in level for inner in _inside(item)]
        if not level:
            return
    raise ValueError(_TOO_DEEP)


_TOO_DEEP = f"nested too deeply, beyond {DEEPEST} levels"


def _inside(value: object) -> list[object]:
    if isinstance(value, dict):
        value = list(value.values())
    return [item for item in value if isinstance(item, dict | list)] if isinstance(value, list) else []


def _without_waiting(name: str, flags: int) -> int:
    return os.open(name, flags | os.O_NONBLOCK)


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 2**20:.3g} MiB"


Cell = str | float | int | None
ABSENT = "n/a"


def write_table(path: Path, rows: Sequence[Sequence[Cell]], columns: Sequence[str]) -> None:
    """Write a table.

    Raises:
        UsageError: A row has another number of cells than there are columns, or a cell would break it.
        OutputError: The file could not be written.
    """
    write_bytes_atomic(path, table_bytes(rows, columns))


def table_bytes(rows: Sequence[Sequence[Cell]], columns: Sequence[str]) -> bytes:
    """Return a table as `write_table` writes it.

    Raises:
        UsageError: As there.
    """
    lines = [_line(columns, len(columns)), *(_line(row, len(columns)) for row in rows)]
    return "".join(lines).encode()


def _line(cells: Sequence[Cell], n_columns: int) -> str:
    if len(cells) != n_columns:
        raise UsageError(f"a row of {len(cells)} cells in a table of {n_columns} columns")
    return "\t".join(_text(cell) for cell in cells) + "\n"


def _text(cell: Cell) -> str:
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ABSENT
    if isinstance(cell, float):
        return f"{cell:.9g}"
    text = str(cell)
    if any(mark in text for mark in "\t\n\r"):
        raise UsageError(f"a table cell contains a tab or a line break: {text[:60]!r}", remedy="Remove it.")
    return printable(text)
