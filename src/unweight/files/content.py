"""What small text files hold: JSON, TOML, tables, cards. The only way in for them.

A name can belong to a device that never ends, to a pipe that nobody writes into, or to a file that grows:
what counts is the kind of the opened file and the bytes that were read, not what a listing says. Values
nested deeper than any file that is meant well are refused where they are read, before something recursive
meets them.
"""

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from unweight.core.errors import InputError

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
        level = [inner for one in level for inner in _inside(one)]
        if not level:
            return
    raise ValueError(_TOO_DEEP)


_TOO_DEEP = f"nested too deeply, beyond {DEEPEST} levels"


def _inside(value: object) -> list[object]:
    if isinstance(value, dict):
        value = list(value.values())
    return [one for one in value if isinstance(one, dict | list)] if isinstance(value, list) else []


def _without_waiting(name: str, flags: int) -> int:
    return os.open(name, flags | os.O_NONBLOCK)


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 2**20:.3g} MiB"
