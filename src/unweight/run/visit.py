"""One visit of one subject: the series of a session that maps can be made of, and what else lies there."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from unweight.bids.collection import Collection, find_collections
from unweight.bids.names import image_stem
from unweight.bids.weighted import CONTRASTS
from unweight.core.errors import InputError, UnweightError
from unweight.core.natural import natural_key

SUFFIXES = ("IRT1", "MEGRE", "MESE", *CONTRASTS)
FEWEST_WEIGHTED = 2


@final
@dataclass(frozen=True, kw_only=True)
class Visit:
    """What one subject has of one session.

    Attributes:
        subject: Its label.
        session: Its label; empty where there are no sessions.
        series: That maps can be made of.
        folder: Where its files are.
    """

    subject: str
    session: str
    series: tuple[Collection, ...]
    folder: Path

    @property
    def label(self) -> str:
        """`sub-01_ses-a`."""
        return f"sub-{self.subject}" + (f"_ses-{self.session}" if self.session else "")

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Suffixes of all its images, in the folders of any kind of data."""
        stems = (image_stem(path) for path in self.folder.glob("*/sub-*"))
        return tuple(sorted({stem.rpartition("_")[2] for stem in stems if stem is not None}))

    def of(self, suffix: str) -> tuple[Collection, ...]:
        """Return the series of one suffix."""
        return tuple(one for one in self.series if one.suffix == suffix)


@final
@dataclass(frozen=True, kw_only=True)
class Unreadable:
    """A subject whose files cannot even be sorted.

    Attributes:
        subject: The name of its folder.
        error: What is wrong.
    """

    subject: str
    error: UnweightError


def visits_of(
    root: Path, subjects: Sequence[str] | None = None, sessions: Sequence[str] | None = None
) -> Iterator[Visit | Unreadable]:
    """Give the visits of a BIDS tree, subject by subject; what is wrong with one does not stop the others.

    Args:
        root: Root of the tree.
        subjects: Labels without `sub-`; None for all.
        sessions: Labels without `ses-`; None for all.

    Raises:
        InputError: There is no such folder.
    """
    if not root.is_dir():
        raise InputError("there is no such folder", remedy="Check the path.", path=root)
    if subjects is None:
        subjects = [
            one.name.removeprefix("sub-")
            for one in sorted(root.glob("sub-*"), key=natural_key)
            if one.is_dir()
        ]
    for subject in subjects:
        try:
            found = find_collections(root, SUFFIXES, [subject])
        except UnweightError as error:
            yield Unreadable(subject=f"sub-{subject}", error=error)
            continue
        yield from _visits(root, subject, found, sessions)


def _visits(
    root: Path, subject: str, found: Sequence[Collection], sessions: Sequence[str] | None
) -> Iterator[Visit]:
    folders = _sessions(root / f"sub-{subject}")
    wanted = [one for one in folders if sessions is None or one in sessions]
    for session in wanted:
        series = tuple(one for one in found if one.entities.get("ses", "") == session)
        if not series and not session and len(folders) > 1:
            continue  # everything lies in sessions
        yield Visit(subject=subject, session=session, series=series, folder=folders[session])


def _sessions(subject: Path) -> Mapping[str, Path]:
    """Return the folder of each session, under the empty label that of files outside them."""
    inner = {
        one.name.removeprefix("ses-"): one
        for one in sorted(subject.glob("ses-*"), key=natural_key)
        if one.is_dir()
    }
    return {"": subject, **inner}


def weighted_images(series: Sequence[Collection]) -> dict[str, Path]:
    """Return the one T1w, T2w and FLAIR of a visit, as far as they are there.

    Images after a contrast agent, and parts other than magnitude, are left aside.

    Raises:
        InputError: There are several of one kind, or fewer than two kinds.
    """
    found: dict[str, list[Path]] = {}
    for one in series:
        if one.suffix not in CONTRASTS or "ce" in one.entities:
            continue
        paths = [path for part, files in one.files.items() if part in ("", "mag") for path in files]
        if paths:
            found.setdefault(one.suffix, []).extend(paths)
    several = [name for name in CONTRASTS if len(found.get(name, ())) > 1]
    if several or len(found) < FEWEST_WEIGHTED:
        named = ", ".join(name for name in CONTRASTS if name in found)
        few = f"has {named} only" if named else "has no T1w, T2w or FLAIR from before a contrast agent"
        raise InputError(
            f"has several {several[0]}" if several else few,
            remedy="Name the images to use with --t1w, --t2w and --flair.",
        )
    return {name: found[name][0] for name in CONTRASTS if name in found}
