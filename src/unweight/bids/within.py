"""Nothing is written outside the folder that was named: links in it that lead out are refused."""

from pathlib import Path

from unweight.core.errors import OutputError


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
    """Refuse a folder of results among the raw images of subjects.

    Raises:
        OutputError: It is the root of the raw data, or lies in the folder of a subject.
    """
    out, root = folder.resolve(), raw.resolve()
    if out.is_relative_to(root) and (out == root or out.relative_to(root).parts[0].startswith("sub-")):
        raise OutputError(
            "lies among the raw images, which stay as they are",
            remedy="Choose another folder; derivatives/unweight in their dataset is the custom.",
            path=folder,
        )
