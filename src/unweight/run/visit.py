"""One visit of one subject: the series of a session that maps can be made of, and what else lies there."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from unweight.bids.collection import Collection, Found, Unreadable, find_collections
from unweight.bids.exam.choice import FEWEST, ExamChoice, choose
from unweight.bids.exam.images import candidates_of_visit
from unweight.bids.folders import is_folder, labelled_folders, listed
from unweight.bids.names import image_stem
from unweight.core.errors import InputError
from unweight.learn.weighted.protocol_judge import FAMILY, judge_of
from unweight.registry import methods, pipelines


@final
@dataclass(frozen=True, kw_only=True)
class Visit:
    """What one subject has of one session.

    Attributes:
        subject: Its label.
        session: Its label; empty where there are no sessions.
        series: That maps can be made of.
        folder: Where its files are.
        spoilt: Suffixes of further series, which cannot be used.
    """

    subject: str
    session: str
    series: tuple[Collection, ...]
    folder: Path
    spoilt: frozenset[str] = frozenset()

    @property
    def label(self) -> str:
        """`sub-01_ses-a`."""
        return f"sub-{self.subject}" + (f"_ses-{self.session}" if self.session else "")

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Suffixes of all its images, in the folders of any kind of data."""
        kinds = (
            path for path in listed(self.folder) if is_folder(path) and not path.name.startswith("ses-")
        )
        names = (path for folder in kinds for path in listed(folder) if path.name.startswith("sub-"))
        stems = (image_stem(path) for path in names)
        return tuple(sorted({stem.rpartition("_")[2] for stem in stems if stem is not None}))

    def of(self, suffix: str) -> tuple[Collection, ...]:
        """Return the series of one suffix."""
        return tuple(entry for entry in self.series if entry.suffix == suffix)

    def has(self, *suffixes: str) -> bool:
        """Whether there are series of these suffixes, usable or not."""
        return bool({*suffixes} & {*self.spoilt, *(entry.suffix for entry in self.series)})


def visits_of(
    root: Path,
    subjects: Sequence[str] | None = None,
    sessions: Sequence[str] | None = None,
    *,
    follow_links: bool = False,
) -> Iterator[Visit | Unreadable]:
    """Give the visits of a BIDS tree, subject by subject; what is wrong with one does not stop the others.

    Args:
        root: Root of the tree.
        subjects: Labels without `sub-`; None for all.
        sessions: Labels without `ses-`; None for all.
        follow_links: Whether images may lie outside the tree.

    Raises:
        InputError: There is no such folder.
    """
    if not is_folder(root):
        raise InputError("there is no such folder", remedy="Check the path.", path=root)
    if subjects is None:
        subjects = [path.name.removeprefix("sub-") for path in labelled_folders(root, "sub")]
    suffixes = tuple(dict.fromkeys(suffix for item in pipelines() for suffix in item.suffixes))
    for subject in subjects:
        result = find_collections(root, suffixes, [subject], follow_links=follow_links)
        faults = [item for item in result if isinstance(item, Unreadable)]
        yield from (
            fault
            for fault in faults
            if sessions is None or fault.entities.get("ses", "") in ("", *sessions)
        )
        if not faults or len(faults) < len(result) or any(fault.suffix for fault in faults):
            yield from _visits(root, subject, result, sessions)


def _visits(
    root: Path, subject: str, located: Sequence[Found], sessions: Sequence[str] | None
) -> Iterator[Visit]:
    folders = _sessions(root / f"sub-{subject}")
    wanted = [folder for folder in folders if sessions is None or folder in sessions]
    for session in wanted:
        of_session = [item for item in located if item.entities.get("ses", "") == session]
        series = tuple(item for item in of_session if isinstance(item, Collection))
        faults = [item for item in of_session if isinstance(item, Unreadable) and "ce" not in item.entities]
        spoilt = frozenset(fault.suffix for fault in faults)
        if "" in spoilt or (not of_session and not session and len(folders) > 1):
            continue  # nothing of it can be used, or everything lies in sessions
        yield Visit(subject=subject, session=session, series=series, folder=folders[session], spoilt=spoilt)


def _sessions(subject: Path) -> Mapping[str, Path]:
    """Return the folder of each session, under the empty label that of files outside them."""
    inner = {path.name.removeprefix("ses-"): path for path in labelled_folders(subject, "ses")}
    return {"": subject, **inner}


def weighted_images(series: Sequence[Collection]) -> ExamChoice:
    """Return the T1w, T2w and FLAIR of a visit that the default method maps, and why these.

    Images after a contrast agent, and parts other than magnitude, are left out.

    Raises:
        InputError: There are fewer than two kinds.
    """
    name = methods(FAMILY)[0].name
    choice = choose(candidates_of_visit(series), judge_of({}, name))
    if len(choice.chosen) < FEWEST:
        there = ", ".join(choice.chosen)
        raise InputError(
            f"has {there} only" if there else "has no T1w, T2w or FLAIR without contrast agent",
            remedy="Name the images to use with --t1w, --t2w and --flair.",
        )
    return choice
