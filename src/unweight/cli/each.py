"""One thing after the other, each as far as it goes: what fails is said and does not stop the rest."""

import argparse
from collections.abc import Callable, Sequence
from typing import TypeVar

from unweight.cli.terminal import error_line
from unweight.core.errors import IncompleteError, OutputError, UnweightError

Thing = TypeVar("Thing")


def each(
    found: Sequence[tuple[str, Thing]],
    work: Callable[[str, Thing], None],
    arguments: argparse.Namespace,
    what: str = "series",
) -> int:
    """Work on each thing and return the exit code.

    A lone thing that fails is an error of the call; among several the others are done. What is done in
    part, or without any value, is said and counts as failed.

    Args:
        found: Things by name.
        work: What to do with one.
        arguments: Of the command.
        what: They are, in the plural.
    """
    failed: list[str] = []
    incomplete: list[str] = []
    for label, thing in found:
        try:
            work(label, thing)
        except OutputError:
            raise
        except IncompleteError as error:
            incomplete.append(label)
            error_line(f"{label}: {error}")
        except UnweightError as error:
            if len(found) == 1 or arguments.debug:
                raise
            failed.append(label)
            error_line(f"{label}: {error}")
    if failed:
        error_line(f"{len(failed)} of {len(found)} {what} failed: {', '.join(failed)}")
    if incomplete and len(found) > 1:
        error_line(f"{len(incomplete)} of {len(found)} {what} are incomplete: {', '.join(incomplete)}")
    return 1 if failed or incomplete else 0
