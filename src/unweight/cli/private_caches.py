"""What libraries would keep in the user's home goes to a folder that is removed when the process ends.

matplotlib keeps a list of fonts and makes a folder for settings, dask-jobqueue writes a file of settings
beside those that the user has. With the fonts that matplotlib brings along alone, the list is quickly made,
no other program is started to look for fonts, and pictures do not depend on what is installed.
"""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

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
