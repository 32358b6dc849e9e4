"""The page of each subject whose maps a command has made, written when the command is through."""

import argparse
from collections.abc import Callable, Sequence
from typing import TypeVar

from rich.console import Console

from unweight.cli.each import each
from unweight.report.subject import write_subject_page

Thing = TypeVar("Thing")


def each_with_page(
    found: Sequence[tuple[str, Thing]],
    work: Callable[[str, Thing], str],
    arguments: argparse.Namespace,
    screen: Console,
    what: str = "series",
) -> int:
    """Work on each thing as `each` does, and write the pages of the subjects; return the exit code.

    Args:
        found: Things by name.
        work: What to do with one; gives the label of its subject.
        arguments: Of the command.
        screen: Where the paths of the pages are said.
        what: They are, in the plural.
    """
    subjects: dict[str, None] = {}

    def remembered(label: str, thing: Thing) -> None:
        subjects[work(label, thing)] = None

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
