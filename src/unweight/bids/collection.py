"""Discovery in a BIDS tree: the files that belong to one series, subject by subject.

Series are found by their suffix. `IRT1` is linked by `inv`, `MEGRE` and `MESE` by `echo`, `VFA` by
`flip`; `T1w`, `T2w`, `PDw` and `FLAIR` stand alone. Files that differ in any other entity belong to
different series; magnitude, phase, real and imaginary parts stay apart within one. What is wrong with one
series, session or subject does not stop the others.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import final

from unweight.bids.folders import FETCH, has_files, is_folder, is_link, labelled_folders, listed, unreadable
from unweight.bids.names import BidsName, check_label, image_stem, parse_stem
from unweight.core.errors import InputError
from unweight.core.text import NaturalKey, natural_key

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
ANNEX = ("annex", "objects")  # folders in which git-annex keeps content


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


@final
@dataclass(frozen=True, kw_only=True)
class Unreadable:
    """Files in a tree that do not make a series.

    Attributes:
        entities: Whose they are: `sub` at least, as the name of the folder gives it.
        suffix: Of the series; empty if it is all of the subject or session.
        error: What is wrong.
    """

    entities: Mapping[str, str]
    suffix: str = ""
    error: InputError

    @property
    def label(self) -> str:
        """A name for messages: `sub-01_ses-a_IRT1`, or `sub-01`."""
        return BidsName(entities=self.entities, suffix=self.suffix).stem.removesuffix("_")


Found = Collection | Unreadable
Key = tuple[str, tuple[tuple[str, str], ...]]  # suffix and entities of a series


def looks_like_bids(folder: Path) -> bool:
    """Whether a folder is the root of a BIDS tree."""
    try:
        if (folder / "dataset_description.json").is_file():
            return True
        return any(is_folder(path) for path in labelled_folders(folder, "sub"))
    except (OSError, InputError):
        return False


@final
@dataclass(frozen=True, kw_only=True)
class TreePlace:
    """A folder of a BIDS tree.

    Attributes:
        root: Of the tree.
        subject: The subject whose folder it is, without `sub-`; None for the root.
        session: The session whose folder it is, without `ses-`; None for none.
    """

    root: Path
    subject: str | None = None
    session: str | None = None


def place_in_tree(folder: Path) -> TreePlace | None:
    """Return which part of a BIDS tree a folder is: root, subject or session; None if it is none."""
    if looks_like_bids(folder):
        return TreePlace(root=folder)
    whole = folder.absolute()
    if whole.name.startswith("sub-") and looks_like_bids(whole.parent):
        return TreePlace(root=whole.parent, subject=whole.name.removeprefix("sub-"))
    above = whole.parent
    if whole.name.startswith("ses-") and above.name.startswith("sub-") and looks_like_bids(above.parent):
        return TreePlace(
            root=above.parent,
            subject=above.name.removeprefix("sub-"),
            session=whole.name.removeprefix("ses-"),
        )
    return None


def find_collections(
    root: Path,
    suffixes: Sequence[str] = ("IRT1",),
    subjects: Sequence[str] | None = None,
    *,
    follow_links: bool = False,
) -> tuple[Found, ...]:
    """Find the series of a BIDS tree, subject by subject; what cannot be used is among them.

    Args:
        root: Root of the tree.
        suffixes: Which series.
        subjects: Labels without `sub-`; None for all.
        follow_links: Whether images may lie outside the tree.

    Raises:
        InputError: There is no such folder, it may not be read, or series of a suffix are not read.
    """
    unknown = [suffix for suffix in suffixes if suffix not in LINKS]
    if unknown:
        raise InputError(
            f"series of suffix {', '.join(unknown)} are not read", remedy="Known: " + ", ".join(LINKS) + "."
        )
    if not is_folder(root):
        raise InputError("there is no such folder", remedy="Check the path.", path=root)
    if subjects is None:
        labels = [path.name.removeprefix("sub-") for path in labelled_folders(root, "sub")]
    else:
        labels = [label.removeprefix("sub-") for label in subjects]
    return tuple(item for label in labels for item in _of_subject(root, label, suffixes, follow_links))


def with_absent(
    result: Sequence[Found], suffixes: Sequence[str], subjects: Sequence[str] | None
) -> tuple[Found, ...]:
    """Return what was found, and after it that a subject asked for has none of these series.

    Args:
        result: In a tree.
        suffixes: That were looked for.
        subjects: That were asked for, without `sub-`; None for all there are.
    """
    there = {item.entities["sub"] for item in result}
    error = InputError(f"has no {' or '.join(suffixes)} series", remedy="Check the label.")
    asked = dict.fromkeys(label.removeprefix("sub-") for label in subjects or ())
    absent = (Unreadable(entities={"sub": label}, error=error) for label in asked if label not in there)
    return (*result, *(absent if result else ()))


def _of_subject(root: Path, label: str, suffixes: Sequence[str], follow_links: bool) -> Iterator[Found]:
    """Give the series of one subject."""
    entities = {"sub": label}
    try:
        subject = root / f"sub-{check_label(label, 'a subject')}"
        if not (is_link(subject) or is_folder(subject)):
            raise InputError("there is no such subject", remedy="Check the label.", path=subject)
        sessions = labelled_folders(subject, "ses")
        if not has_files(subject):
            raise InputError(
                "contains no files", remedy="Fetch its files, or remove the folder.", path=subject
            )
    except InputError as error:
        yield Unreadable(entities=entities, error=error)
        return
    for folder in (subject, *sessions):
        inner = {} if folder == subject else {"ses": folder.name.removeprefix("ses-")}
        try:
            yield from _series_in(root, _images(subject, folder, suffixes), follow_links)
        except InputError as error:
            yield Unreadable(entities=entities | inner, error=error)


def _series_in(root: Path, images: Iterator[tuple[Path, BidsName]], follow_links: bool) -> list[Found]:
    """Sort the images of one folder into series; an image that is in doubt spoils its own."""
    groups: dict[Key, dict[tuple[str, ...], Path]] = {}
    spoilt: dict[Key, InputError] = {}
    for path, name in images:
        links = LINKS[name.suffix]
        shared = {k: v for k, v in name.entities.items() if k not in links and k != "part"}
        key = (name.suffix, tuple(sorted(shared.items())))
        try:
            _add(path, name, groups.setdefault(key, {}))
            _check_target(root, path, follow_links)
        except InputError as error:
            spoilt.setdefault(key, error)
    result: list[Found] = []
    for key, members in sorted(groups.items(), key=lambda group: _natural_order(*group[0])):
        suffix, entities = key[0], dict(key[1])
        if key in spoilt:
            result.append(Unreadable(entities=entities, suffix=suffix, error=spoilt[key]))
        else:
            result.append(_collection(root, suffix, entities, members))
    return result


def _add(path: Path, name: BidsName, members: dict[tuple[str, ...], Path]) -> None:
    """Add an image to its series."""
    links = (_link(path, name, link) for link in LINKS[name.suffix])
    volume = (name.entities.get("part", ""), *links)
    if volume in members:
        raise InputError(
            f"has the same BIDS entities as {members[volume].name}",
            remedy="Remove or rename one of the two files.",
            path=path,
        )
    members[volume] = path


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


def _images(subject: Path, folder: Path, suffixes: Sequence[str]) -> Iterator[tuple[Path, BidsName]]:
    """Give the images of a subject or session that have one of the suffixes, names checked."""
    for path in listed(folder / "anat"):
        stem = image_stem(path)
        if not path.name.startswith("sub-") or stem is None or stem.rpartition("_")[2] not in suffixes:
            continue
        name = parse_stem(stem)
        if name is None or not _belongs(name, subject, folder):
            raise InputError("has no valid BIDS name for its folder", remedy="Rename it.", path=path)
        yield path, name


def _belongs(name: BidsName, subject: Path, folder: Path) -> bool:
    """Whether subject and session of a name are those of the folder."""
    session = name.entities.get("ses")
    wanted = subject if session is None else subject / f"ses-{session}"
    return subject.name == f"sub-{name.entities.get('sub')}" and folder == wanted


def _check_target(root: Path, path: Path, follow_links: bool) -> None:
    """Refuse an image that a link leads out of the tree, unless that is allowed or git-annex keeps it."""
    try:
        target = path.resolve(strict=True)
    except PermissionError as error:
        raise unreadable(path, error) from error
    except (OSError, RuntimeError) as error:
        raise InputError("is a broken link", remedy=FETCH, path=path) from error
    if not (follow_links or target.is_relative_to(root.resolve()) or _is_annexed(target)):
        raise InputError(
            "is reached through a link that points outside the dataset",
            remedy="Copy the file into the dataset, or use `unweight run --follow-links`.",
            path=path,
        )


def _is_annexed(target: Path) -> bool:
    """Whether a file is content of a git-annex: of a clone that shares it, or of a superdataset."""
    return ANNEX in zip(target.parts, target.parts[1:], strict=False)


def _link(path: Path, name: BidsName, link: str) -> str:
    """Return the number that links a file into its series, without leading zeros."""
    label = name.entities.get(link, "")
    if not (label.isascii() and label.isdigit()):
        raise InputError(
            f"needs {link}-<number> in its name to be part of a series", remedy="Rename it.", path=path
        )
    return str(int(label))
