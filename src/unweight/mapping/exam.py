"""All series of an exam: where they are, which are chosen, and their files as long as they are read."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

from unweight.bids.collection import Collection, Unreadable, find_collections, with_absent
from unweight.bids.dicom.exam import exam_of_dicom
from unweight.bids.exam.choice import FEWEST, Candidate, ExamChoice, Fitness, Judge, UnusedImage, choose
from unweight.bids.exam.images import candidates_of_files, candidates_of_visit
from unweight.bids.names import image_stem, parse_stem
from unweight.bids.series.weighted import CONTRASTS
from unweight.core.errors import InputError, ProtocolError

NAME_THEM = "Name the images to use with --t1w, --t2w and --flair."


@final
@dataclass(frozen=True, kw_only=True)
class ExamSource:
    """Where the images of one exam are.

    Attributes:
        origin: Series of one visit of a BIDS tree, NIfTI files, or a folder of DICOM files.
        numbers: Of the series of a folder of DICOM to look at; None for all.
        contrast_agent: Whether images after a contrast agent may be chosen, where there are no others.
    """

    origin: tuple[Collection, ...] | tuple[Path, ...] | Path
    numbers: tuple[int, ...] | None = None
    contrast_agent: bool = False


@final
@dataclass(frozen=True, kw_only=True)
class OpenedExam:
    """An exam whose images can be read.

    Attributes:
        choice: Which images are mapped.
        folder: Of DICOM files; None for NIfTI files.
        faults: What is missing, in sentences.
        notes: What a careful reader should know.
    """

    choice: ExamChoice
    folder: Path | None = None
    faults: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def is_trivial(self) -> bool:
        """Whether there was nothing to choose: one NIfTI image of each contrast."""
        return self.folder is None and not any(item.contrast for item in self.choice.left_out)


@contextmanager
def opened(source: ExamSource, judge: Judge) -> Iterator[OpenedExam]:
    """Choose the images of an exam; those of a folder of DICOM live as long as the context.

    Args:
        source: Where the images are.
        judge: What the method can do with an image.

    Raises:
        InputError: The folder of DICOM holds several exams, or nothing could be converted.
    """
    if isinstance(source.origin, Path):
        with exam_of_dicom(source.origin, source.numbers) as exam:
            yield OpenedExam(
                choice=_chosen(exam.candidates, judge, source, exam.left_out, last_run=True),
                folder=source.origin,
                faults=exam.faults,
                notes=exam.notes,
            )
        return
    paths = tuple(item for item in source.origin if isinstance(item, Path))
    series = tuple(item for item in source.origin if isinstance(item, Collection))
    candidates = candidates_of_visit(series) if series else candidates_of_files(paths)
    yield OpenedExam(choice=_chosen(candidates, judge, source, (), last_run=False))


def check_choice(choice: ExamChoice) -> None:
    """Return if maps can be made of what was chosen, missing values apart.

    Raises:
        InputError: There are fewer than two contrasts.
        ProtocolError: Fewer than two of them are supported; each is named with its reason.
    """
    if len(choice.chosen) < FEWEST:
        there = ", ".join(choice.chosen)
        agent = [
            item for item in choice.left_out if item.candidate is not None and item.candidate.kind.agent
        ]
        few = f"has {there} only" if there else "has no T1w, T2w or FLAIR without contrast agent"
        left = "".join(
            f"; {item.contrast or 'other'} left out: {item.label}, {item.reason}" for item in agent
        )
        more = " --contrast-agent accepts images after a contrast agent." if agent else ""
        raise InputError(f"{few}{left}", remedy=f"{NAME_THEM}{more}")
    if any(item.fitness is Fitness.UNSUPPORTED for item in choice.assessments.values()):
        problems = [
            f"{name} ({choice.chosen[name].label}): {item.problem.rstrip('.')}"
            for name, item in choice.assessments.items()
            if item.problem
        ]
        raise ProtocolError(
            "; ".join(problems),
            remedy="Check the contrast of each image with `unweight validate`, and the timings "
            "(in seconds), or use --method physics, which has no range of timings.",
        )


def exams_in_tree(
    root: Path, subjects: Sequence[str] | None, session: str | None = None, *, contrast_agent: bool = False
) -> Iterator[tuple[str, ExamSource | InputError]]:
    """Give the exams of a BIDS tree, one for each subject and session, with what is wrong with one.

    Args:
        root: Of the tree.
        subjects: Labels without `sub-`; None for all.
        session: The only one, without `ses-`; None for all.
        contrast_agent: As in `ExamSource`.

    Raises:
        InputError: There is none.
    """
    located = with_absent(find_collections(root.absolute(), CONTRASTS, subjects), CONTRASTS, subjects)
    wanted = [item for item in located if session in (None, item.entities.get("ses", ""))]
    if not [item for item in wanted if contrast_agent or "ce" not in item.entities]:
        raise InputError("no T1w, T2w or FLAIR in this BIDS dataset", remedy="Check the path.", path=root)
    visits: dict[str, list[Collection | Unreadable]] = {}
    for item in wanted:
        label = "_".join(f"{key}-{item.entities[key]}" for key in ("sub", "ses") if key in item.entities)
        visits.setdefault(label, []).append(item)
    for label, members in visits.items():
        fault = next(
            (item.error for item in members if isinstance(item, Unreadable) and "ce" not in item.entities),
            None,
        )
        series = tuple(item for item in members if isinstance(item, Collection))
        yield label, fault or ExamSource(origin=series, contrast_agent=contrast_agent)


def exam_of_named(
    root: Path | None, images: Mapping[str, Path], *, contrast_agent: bool
) -> ExamSource | None:
    """Return the visit of a BIDS tree that images named one by one belong to; None if there is none.

    Args:
        root: Of the tree; None outside one.
        images: By contrast.
        contrast_agent: As in `ExamSource`.
    """
    names = [parse_stem(image_stem(path) or "") for path in images.values()]
    visits = {(name.entities.get("sub"), name.entities.get("ses")) for name in names if name is not None}
    if root is None or len(visits) != 1 or None in names:
        return None
    ((subject, session),) = visits
    if subject is None:
        return None
    located = find_collections(root, CONTRASTS, [subject])
    series = tuple(
        item for item in located if isinstance(item, Collection) and item.entities.get("ses") == session
    )
    return ExamSource(origin=series, contrast_agent=contrast_agent)


def _chosen(
    candidates: Sequence[Candidate],
    judge: Judge,
    source: ExamSource,
    left_out: tuple[UnusedImage, ...],
    *,
    last_run: bool,
) -> ExamChoice:
    choice = choose(candidates, judge, contrast_agent=source.contrast_agent, last_run=last_run)
    return replace(choice, left_out=(*choice.left_out, *left_out))
