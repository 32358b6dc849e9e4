"""The page of each subject whose maps a command has made, written when the command is through."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar, final

from rich.console import Console

from unweight.cli.each import each
from unweight.core.errors import IncompleteError
from unweight.core.maps import ParameterMaps
from unweight.report.subject import write_subject_page

Thing = TypeVar("Thing")


@final
@dataclass(frozen=True, kw_only=True)
class Mapped:
    """What was mapped.

    Attributes:
        subject: Label of its subject.
        faults: What its maps lack, in sentences.
    """

    subject: str
    faults: tuple[str, ...] = ()


def check_any_value(maps: ParameterMaps) -> None:
    """Refuse maps in which no voxel has a value.

    Raises:
        IncompleteError: There is none; the reasons are counted.
    """
    if not bool(maps.failed.all()):
        return
    reasons = "; ".join(f"{count:,} voxels: {status.meaning}" for status, count in maps.count().items())
    raise IncompleteError(
        f"no voxel has a value, and nothing was written ({reasons})",
        remedy="Check images, times and mask.",
    )


def each_with_page(
    found: Sequence[tuple[str, Thing]],
    work: Callable[[str, Thing], Mapped],
    arguments: argparse.Namespace,
    screen: Console,
    what: str = "series",
) -> int:
    """Work on each thing as `each` does, and write the pages of the subjects; return the exit code.

    Args:
        found: Things by name.
        work: What to do with one.
        arguments: Of the command.
        screen: Where the paths of the pages are said.
        what: They are, in the plural.
    """
    subjects: dict[str, None] = {}

    def remembered(label: str, thing: Thing) -> None:
        mapped = work(label, thing)
        subjects[mapped.subject] = None
        if mapped.faults:
            raise IncompleteError(f"mapped, but {'; '.join(mapped.faults)}")

    def written(_: str, subject: str) -> None:
        screen.print(str(write_subject_page(arguments.out, subject)))

    code = 1
    try:
        code = each(found, remembered, arguments, what)
    finally:
        if subjects and not arguments.no_report:
            pages = [(f"sub-{subject}", subject) for subject in subjects]
            code = max(code, each(pages, written, arguments, "pages"))
    return code
