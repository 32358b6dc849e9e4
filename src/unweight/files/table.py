"""Tables of tab-separated values, as BIDS writes them: `n/a` where there is no value.

Control and right-to-left characters of names stand in them as their escapes.
"""

import math
from collections.abc import Sequence
from pathlib import Path

from unweight.core.errors import UsageError
from unweight.core.printable import printable
from unweight.files.atomic import write_bytes_atomic

Cell = str | float | int | None
ABSENT = "n/a"


def write_table(path: Path, rows: Sequence[Sequence[Cell]], columns: Sequence[str]) -> None:
    """Write a table.

    Raises:
        UsageError: A row has another number of cells than there are columns, or a cell would break it.
        OutputError: The file could not be written.
    """
    lines = [_line(columns, len(columns)), *(_line(row, len(columns)) for row in rows)]
    write_bytes_atomic(path, "".join(lines).encode())


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
        raise UsageError(f"a cell with a tab or a line break: {text[:60]!r}")
    return printable(text)
