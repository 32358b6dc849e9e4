"""The files at the root of a BIDS dataset: what it is, who made it, what validators should pass over."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from unweight import __version__
from unweight.bids.sidecar import read_sidecar
from unweight.core.errors import InputError, OutputError
from unweight.files.atomic import check_not_among_raw, fingerprint_of, write_bytes_atomic
from unweight.files.text_files import read_content, read_text

GENERATOR = "unweight"
BIDS_VERSION = "1.10.0"
LARGEST_TEXT = 2**20
DESCRIPTION = "dataset_description.json"
# Folders that the path to the raw data may contain; any other name can be that of a person.
DOI = re.compile(r"10\.\d{4,9}/[!-~]+")
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
    # What a user has written into it, as authors or a licence, stays.
    check_ours = _check_ours(folder, "derivative")
    content: dict[str, object] = {"Name": "Quantitative maps"} | {
        **check_ours,
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": GENERATOR, "Version": __version__}, *_other_makers(check_ours)],
    }
    if raw is not None:
        content |= _source(folder, raw, check_ours)
    _write_if_new(folder / DESCRIPTION, json_bytes(content))
    _extend(folder / ".bidsignore", ignored)
    if not (folder / "README.md").exists():
        write_bytes_atomic(folder / "README.md", readme.encode())


def is_derivative(folder: Path) -> bool:
    """Whether the description of a dataset calls it a derivative; not if it cannot be read."""
    try:
        return read_sidecar(folder / DESCRIPTION).get("DatasetType") == "derivative"
    except InputError:
        return False


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


def _source(folder: Path, raw: Path, result: Mapping[str, object]) -> dict[str, object]:
    """Return what BIDS asks about the raw dataset, without names that it does not publish itself.

    `DatasetLinks` says what `raw` stands for in the sources of images: the relative path if it names
    nobody, else the DOI, else the SHA-256 of the description of the raw dataset, by which its owner can
    recognise it. `Authors` are those that the raw dataset publishes, unless others were written here.
    """
    path = raw / DESCRIPTION
    try:
        described: Mapping[str, object] = read_sidecar(path)
    except InputError:
        described = {}
    digest = fingerprint_of(path)
    doi = DOI.search(str(described.get("DatasetDOI", "")))
    identity = f"doi:{doi[0]}" if doi else f"hash://sha256/{digest}" if digest else ""
    way = Path(os.path.relpath(raw.resolve(), folder.resolve()))
    links, linked = result.get("DatasetLinks"), identity
    if all(part in NAMELESS for part in way.parts):
        linked = way.as_posix()
    kept = links if isinstance(links, Mapping) else {}
    content: dict[str, object] = {
        "DatasetLinks": {
            **{key: link for key, link in kept.items() if isinstance(link, str) and key != "raw"},
            **({"raw": linked} if linked else {}),
        }
    }
    if identity:
        content["SourceDatasets"] = [{"DOI" if doi else "URL": identity}]
    authors = described.get("Authors")
    if "Authors" not in result and isinstance(authors, list) and authors:
        content["Authors"] = [author for author in authors if isinstance(author, str)]
    return content


def _other_makers(result: Mapping[str, object]) -> list[object]:
    """Return what other programs are named as makers of the dataset."""
    makers = result.get("GeneratedBy")
    if not isinstance(makers, list):
        return []
    return [maker for maker in makers if isinstance(maker, dict) and maker.get("Name") != GENERATOR]


def _check_ours(folder: Path, kind: str) -> Mapping[str, object]:
    """Return the description that is there, if it is one this package wrote."""
    path = folder / DESCRIPTION
    if not path.exists():
        if any(folder.glob("sub-*/**/*.nii*")):
            raise OutputError(
                "contains images of subjects, but no dataset description",
                remedy="Choose another folder.",
                path=folder,
            )
        return {}
    try:
        sidecar = read_sidecar(path)
    except InputError as error:
        raise OutputError(
            error.problem, remedy="Choose another folder, or repair it.", path=path
        ) from error
    makers = sidecar.get("GeneratedBy")
    names = (
        [maker.get("Name") for maker in makers if isinstance(maker, dict)]
        if isinstance(makers, list)
        else []
    )
    if sidecar.get("DatasetType", "raw") != kind or GENERATOR not in names:
        raise OutputError(
            "describes another dataset, which would be overwritten",
            remedy="Choose another folder; derivatives/unweight within it is the usual place.",
            path=path,
        )
    return sidecar


def _write_if_new(path: Path, content: bytes) -> None:
    """Write a file unless it has this content: many processes may share the folder."""
    try:
        if read_content(path, len(content)) == content:
            return
    except InputError:
        pass
    write_bytes_atomic(path, content)


def _extend(path: Path, lines: Sequence[str]) -> None:
    """Add the lines a text file does not have."""
    try:
        old = read_text(path, LARGEST_TEXT).splitlines()
    except InputError:
        old = []
    missing = [line for line in lines if line not in old]
    if missing:
        write_bytes_atomic(path, "".join(f"{line}\n" for line in [*old, *missing]).encode())
