"""The files at the root of a BIDS dataset: what it is, who made it, what validators should pass over."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from unweight import __version__
from unweight.bids.atomic import write_bytes_atomic
from unweight.bids.sidecar import read_sidecar
from unweight.bids.within import check_not_among_raw
from unweight.core.errors import InputError, OutputError

GENERATOR = "unweight"
BIDS_VERSION = "1.10.0"
DESCRIPTION = "dataset_description.json"
# Folders that the way to the raw data may be told through; any other name can be that of a person.
NAMELESS = ("..", "bids", "raw", "rawdata", "data", "dataset")


def json_bytes(value: Mapping[str, object]) -> bytes:
    """Return JSON text, the same each time."""
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode(
        errors="backslashreplace"  # what is no character is written as JSON escapes it
    )


def prepare_derivatives(folder: Path, raw: Path | None, ignored: Sequence[str], readme: str) -> None:
    """Make a folder a BIDS derivative dataset, or see that it is one of ours.

    Args:
        folder: The root.
        raw: Root of the BIDS tree the derivatives come from.
        ignored: Patterns for `.bidsignore`.
        readme: Text of the README, if there is none yet.

    Raises:
        OutputError: It holds another dataset, or cannot be written.
    """
    if raw is not None:
        check_not_among_raw(folder, raw)
    content: dict[str, object] = {
        "Name": "Quantitative maps",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": GENERATOR, "Version": __version__}],
    }
    links = _existing_links(folder)
    if raw is not None:
        way = Path(os.path.relpath(raw.resolve(), folder.resolve()))
        links.pop("raw", None)
        if all(part in NAMELESS for part in way.parts):
            links["raw"] = way.as_posix()
    if links:
        content["DatasetLinks"] = links
    _write_if_new(folder / DESCRIPTION, json_bytes(content))
    _extend(folder / ".bidsignore", ignored)
    if not (folder / "README.md").exists():
        write_bytes_atomic(folder / "README.md", readme.encode())


def prepare_raw(folder: Path, name: str, readme: str) -> None:
    """Make a folder a raw BIDS dataset, or see that it is one of ours.

    Raises:
        OutputError: It holds another dataset, or cannot be written.
    """
    _check_ours(folder, "raw")
    content = {
        "Name": name,
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "raw",
        "GeneratedBy": [{"Name": GENERATOR, "Version": __version__}],
    }
    _write_if_new(folder / DESCRIPTION, json_bytes(content))
    if not (folder / "README.md").exists():
        write_bytes_atomic(folder / "README.md", readme.encode())


def _existing_links(folder: Path) -> dict[str, str]:
    links = _check_ours(folder, "derivative").get("DatasetLinks", {})
    if not isinstance(links, Mapping):
        return {}
    return {key: link for key, link in links.items() if isinstance(link, str)}


def _check_ours(folder: Path, kind: str) -> Mapping[str, object]:
    """Return the description that is there, if it is one this package wrote."""
    path = folder / DESCRIPTION
    if not path.exists():
        if any(folder.glob("sub-*/**/*.nii*")):
            raise OutputError(
                "holds images of subjects, but no description that says whose",
                remedy="Choose another folder.",
                path=folder,
            )
        return {}
    try:
        found = read_sidecar(path)
    except InputError as error:
        raise OutputError(error.problem, remedy="Choose another folder, or mend it.", path=path) from error
    makers = found.get("GeneratedBy")
    names = (
        [maker.get("Name") for maker in makers if isinstance(maker, dict)]
        if isinstance(makers, list)
        else []
    )
    if found.get("DatasetType", "raw") != kind or GENERATOR not in names:
        raise OutputError(
            "describes another dataset, which would be overwritten",
            remedy="Choose another folder; derivatives/unweight within it is the custom.",
            path=path,
        )
    return found


def _write_if_new(path: Path, content: bytes) -> None:
    """Write a file unless it has this content: many processes may share the folder."""
    try:
        if path.read_bytes() == content:
            return
    except OSError:
        pass
    write_bytes_atomic(path, content)


def _extend(path: Path, lines: Sequence[str]) -> None:
    """Add the lines a text file does not have."""
    try:
        old = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        old = []
    missing = [line for line in lines if line not in old]
    if missing:
        write_bytes_atomic(path, "".join(f"{line}\n" for line in [*old, *missing]).encode())
