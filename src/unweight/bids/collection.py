"""Discovery in a BIDS tree: the files that belong to one series, subject by subject.

Series are found by their suffix. `IRT1` is linked by `inv`, `MEGRE` and `MESE` by `echo`, `VFA` by
`flip`; `T1w`, `T2w`, `PDw` and `FLAIR` stand alone. Files that differ in any other entity belong to
different series; magnitude, phase, real and imaginary parts stay apart within one.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import final

from unweight.bids.names import BidsName, check_label, image_stem, parse_stem
from unweight.core.errors import InputError
from unweight.core.natural import NaturalKey, natural_key

LINKS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "IRT1": ("inv",),
        "MEGRE": ("echo",),
        "MESE": ("echo",),
        "VFA": ("flip",),
        "T1w": (),
        "T2w": (),
        "PDw": (),
        "FLAIR": (),
    }
)


@final
@dataclass(frozen=True, kw_only=True)
class Collection:
    """The files of one series.

    Attributes:
        root: Root of the tree.
        entities: What all files share, without linking entities and `part`.
        suffix: `IRT1`, `MEGRE` …
        files: By part (`mag`, `phase`, `real`, `imag`, or empty), in the order of their links.
    """

    root: Path
    entities: Mapping[str, str]
    suffix: str
    files: Mapping[str, tuple[Path, ...]]

    @property
    def label(self) -> str:
        """A name for messages: `sub-01_ses-a_IRT1`."""
        return BidsName(entities=self.entities, suffix=self.suffix).stem


def looks_like_bids(folder: Path) -> bool:
    """Whether a folder is the root of a BIDS tree."""
    if (folder / "dataset_description.json").is_file():
        return True
    return folder.is_dir() and any(path.is_dir() for path in folder.glob("sub-*"))


def find_collections(
    root: Path, suffixes: Sequence[str] = ("IRT1",), subjects: Sequence[str] | None = None
) -> tuple[Collection, ...]:
    """Find the series of a BIDS tree, subject by subject.

    Args:
        root: Root of the tree.
        suffixes: Which series.
        subjects: Labels without `sub-`; None for all.

    Raises:
        InputError: A name is malformed, a file lies outside the tree, or a number occurs twice.
    """
    unknown = [suffix for suffix in suffixes if suffix not in LINKS]
    if unknown:
        raise InputError(
            f"series of suffix {', '.join(unknown)} are not read", remedy="Known: " + ", ".join(LINKS) + "."
        )
    found: list[Collection] = []
    for subject in _subjects(root, subjects):
        groups: dict[tuple[str, tuple[tuple[str, str], ...]], dict[tuple[str, ...], Path]] = {}
        for path, name in _images(root, subject, suffixes):
            links = LINKS[name.suffix]
            shared = {k: v for k, v in name.entities.items() if k not in links and k != "part"}
            members = groups.setdefault((name.suffix, tuple(sorted(shared.items()))), {})
            key = (name.entities.get("part", ""), *(_link(path, name, link) for link in links))
            if key in members:
                raise InputError(
                    f"stands for the same volume as {members[key].name}", remedy="Keep one.", path=path
                )
            members[key] = path
        for suffix, shared_items in sorted(groups, key=lambda group: _natural_order(*group)):
            members = groups[suffix, shared_items]
            found.append(_collection(root, suffix, dict(shared_items), members))
    return tuple(found)


def _natural_order(
    suffix: str, shared: tuple[tuple[str, str], ...]
) -> tuple[str, tuple[tuple[str, NaturalKey], ...]]:
    return suffix, tuple((name, natural_key(label)) for name, label in shared)


def _collection(
    root: Path, suffix: str, entities: dict[str, str], members: dict[tuple[str, ...], Path]
) -> Collection:
    files: dict[str, tuple[Path, ...]] = {}
    for part, *_ in members:
        keys = [key for key in members if key[0] == part]
        ranked = sorted(keys, key=lambda key: tuple(int(number) for number in key[1:]))
        files[part] = tuple(members[key] for key in ranked)
    return Collection(root=root, entities=entities, suffix=suffix, files=files)


def _subjects(root: Path, wanted: Sequence[str] | None) -> list[Path]:
    if not root.is_dir():
        raise InputError("there is no such folder", remedy="Check the path.", path=root)
    if wanted is None:
        return [path for path in sorted(root.glob("sub-*"), key=natural_key) if path.is_dir()]
    folders = [root / f"sub-{check_label(label.removeprefix('sub-'), 'a subject')}" for label in wanted]
    for folder in folders:
        if not folder.is_dir():
            raise InputError("there is no such subject", remedy="Check the label.", path=folder)
    return folders


def _images(root: Path, subject: Path, suffixes: Sequence[str]) -> Iterator[tuple[Path, BidsName]]:
    """Give the images of one subject that have one of the suffixes, names checked."""
    check_label(subject.name.removeprefix("sub-"), "a subject")
    sessions = [path for path in sorted(subject.glob("ses-*"), key=natural_key) if path.is_dir()]
    for folder in [subject, *sessions]:
        for path in sorted((folder / "anat").glob("sub-*"), key=natural_key):
            stem = image_stem(path)
            if stem is None or stem.rpartition("_")[2] not in suffixes:
                continue
            name = parse_stem(stem)
            if name is None or not _belongs(name, subject, folder):
                raise InputError(
                    "is not named as BIDS asks, for the folder it is in", remedy="Rename it.", path=path
                )
            _check_inside(root, path)
            yield path, name


def _belongs(name: BidsName, subject: Path, folder: Path) -> bool:
    """Whether subject and session of a name are those of the folder."""
    session = name.entities.get("ses")
    wanted = subject if session is None else subject / f"ses-{session}"
    return subject.name == f"sub-{name.entities.get('sub')}" and folder == wanted


def _check_inside(root: Path, path: Path) -> None:
    try:
        inside = path.resolve(strict=True).is_relative_to(root.resolve())
    except (OSError, RuntimeError) as error:
        raise InputError("is a link to nothing", remedy="Fetch the data.", path=path) from error
    if not inside:
        raise InputError("leads out of the tree it is in", remedy="Copy the file into the tree.", path=path)


def _link(path: Path, name: BidsName, link: str) -> str:
    """Return the number that links a file into its series, without leading zeros."""
    label = name.entities.get(link, "")
    if not (label.isascii() and label.isdigit()):
        raise InputError(
            f"needs {link}-<number> in its name to be part of a series", remedy="Rename it.", path=path
        )
    return str(int(label))
