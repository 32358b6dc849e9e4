"""Nothing is written outside the folder that was named: links in it that lead out are refused."""

from pathlib import Path
from typing import Final

from unweight.core.errors import OutputError

DERIVATIVES: Final = "derivatives"  # where BIDS has them, if they are to lie in the raw tree


def check_within(root: Path, folder: Path) -> None:
    """Refuse a folder of results that a link leads out of their root.

    Raises:
        OutputError: It does, or cannot be followed.
    """
    try:
        inside = folder.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError) as error:
        raise OutputError("is a link to nothing", remedy="Remove the link.", path=folder) from error
    if not inside:
        raise OutputError(
            "leads out of the folder that results are written to", remedy="Remove the link.", path=folder
        )


def check_not_among_raw(folder: Path, raw: Path) -> None:
    """Refuse a folder of results in the raw dataset.

    Raises:
        OutputError: It is in it, and not in its `derivatives`.
    """
    if is_among_raw(folder, raw):
        raise OutputError(
            "lies among the raw images, which stay as they are",
            remedy="Choose another folder; derivatives/unweight in their dataset is the custom.",
            path=folder,
        )


def is_among_raw(folder: Path, raw: Path) -> bool:
    """Whether a folder of results is the root of the raw data or lies in it, its `derivatives` apart."""
    out, root = folder.resolve(), raw.resolve()
    return out.is_relative_to(root) and not (out != root and out.relative_to(root).parts[0] == DERIVATIVES)
