"""What folders hold, without leaving out in silence what may not be read.

`Path.glob` gives nothing for a folder that may not be read, and `Path.is_dir` fails for what lies in one.
"""

import stat
from pathlib import Path
from typing import Final

from unweight.bids.names import LABEL
from unweight.core.errors import InputError
from unweight.core.text import natural_key

FETCH: Final = "Fetch what it points to, for example with `datalad get`, or remove the link."


def listed(folder: Path) -> tuple[Path, ...]:
    """Return what a folder holds, in natural order of name; nothing if there is no such folder.

    Raises:
        InputError: It may not be read, or is a broken link.
    """
    try:
        return tuple(sorted(folder.iterdir(), key=natural_key))
    except (FileNotFoundError, NotADirectoryError) as error:
        if is_link(folder):
            raise InputError("is a broken link", remedy=FETCH, path=folder) from error
        return ()
    except OSError as error:
        raise unreadable(folder, error) from error


def unreadable(path: Path, error: OSError) -> InputError:
    """Return what is to be said of a file or folder that the system does not let be read."""
    return InputError(
        f"cannot be read ({error.strerror or error})", remedy="Check its permissions.", path=path
    )


def labelled_folders(folder: Path, entity: str) -> tuple[Path, ...]:
    """Return the folders of an entity within a folder, such as `sub-01` and `sub-02`, in order of name.

    One whose name is no BIDS label is among them, and so is a broken link where a folder belongs.

    Args:
        folder: Where to look.
        entity: `sub` or `ses`.

    Raises:
        InputError: The folder may not be read.
    """
    prefix = f"{entity}-"
    named = [path for path in listed(folder) if path.name.startswith(prefix)]
    return tuple(path for path in named if _is_folder(path, path.name.removeprefix(prefix)))


def _is_folder(path: Path, label: str) -> bool:
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except OSError:
        return LABEL.fullmatch(label) is not None


def is_folder(path: Path) -> bool:
    """Whether there is such a folder, as far as may be known."""
    try:
        return path.is_dir()
    except OSError:
        return False


def is_link(path: Path) -> bool:
    """Whether there is such a link, as far as may be known."""
    try:
        return path.is_symlink()
    except OSError:
        return False


def has_files(folder: Path) -> bool:
    """Whether there is any file in a folder or below it, or a folder that may not be read."""
    try:
        return any(has_files(path) if is_folder(path) else True for path in listed(folder))
    except InputError:
        return True
