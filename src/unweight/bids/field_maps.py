"""The field map of a series, such as the B1 map (`TB1map`) in the `fmap` folder of its visit.

`IntendedFor` in the sidecar of a map names the images it is for, by BIDS URI or by their path below the
folder of the subject; a map without it is for all images of the visit. B1, the flip angle reached over the
nominal one, is a ratio, or in percent where `Units` of the sidecar says so.

Reference: BIDS 1.10, quantitative MRI, and fieldmap data, `IntendedFor`.
"""

from collections.abc import Sequence
from pathlib import Path

from unweight.bids.folders import listed
from unweight.bids.inheritance import entry_beside, entry_in_tree
from unweight.bids.names import image_stem
from unweight.core.errors import InputError

FOLDER, URI = "fmap", "bids::"
PERCENT_UNITS = ("percent", "%")


def field_map_for(root: Path, visit: Path, suffix: str, images: Sequence[Path]) -> Path | None:
    """Return the field map of a series; None if there is none.

    Args:
        root: Of the BIDS tree.
        visit: Folder of the subject, or of its session.
        suffix: Of the field map, `TB1map`.
        images: Of the series.

    Raises:
        InputError: Several maps are for the series, or a sidecar cannot be used.
    """
    maps = [path for path in listed(visit / FOLDER) if (image_stem(path) or "").endswith(f"_{suffix}")]
    intended = {path: _intended_for(root, path) for path in maps}
    names = {name for image in images for name in _names_of(root, image)}
    chosen = [path for path in maps if names.intersection(intended[path] or ())]
    chosen = chosen or [path for path in maps if intended[path] is None]
    if len(chosen) > 1:
        raise InputError(
            f"{len(chosen)} {suffix} are for {images[0].name}: {', '.join(path.name for path in chosen)}",
            remedy="Name the images of each map in IntendedFor of its sidecar.",
            path=chosen[0],
        )
    return chosen[0] if chosen else None


def in_percent(path: Path, root: Path | None = None) -> bool:
    """Whether the sidecar of a map gives its unit as percent.

    Args:
        path: The map.
        root: Of its BIDS tree; None for a map outside one.

    Raises:
        InputError: A sidecar cannot be used.
    """
    inside = root is not None and path.absolute().is_relative_to(root.absolute())
    entry = entry_in_tree(root, path) if root is not None and inside else entry_beside(path)
    return entry.sidecar.fields.get("Units") in PERCENT_UNITS


def _intended_for(root: Path, path: Path) -> tuple[str, ...] | None:
    """Return what `IntendedFor` names; None without it."""
    value = entry_in_tree(root, path).sidecar.fields.get("IntendedFor")
    if value is None:
        return None
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(
            "IntendedFor names no images", remedy="Give a path, or a list of paths, as text.", path=path
        )
    return tuple(names)


def _names_of(root: Path, image: Path) -> tuple[str, str]:
    """Return the BIDS URI of an image, and its path below the folder of its subject."""
    parts = image.relative_to(root).parts
    return f"{URI}{'/'.join(parts)}", "/".join(parts[1:])
