"""`unweight report`: one page for each subject of a folder of derivatives."""

import argparse

from unweight.bids.stored_sets import subjects_in
from unweight.cli.each import each
from unweight.cli.terminal import console
from unweight.core.errors import InputError
from unweight.report.subject import write_subject_page


def run(arguments: argparse.Namespace) -> int:
    """Write the pages; a subject that cannot be shown does not stop the others."""
    screen = console(quiet=arguments.quiet)
    there = subjects_in(arguments.out)
    wanted = there if arguments.subjects is None else tuple(arguments.subjects)
    missing = [label for label in wanted if label not in there]
    if missing:
        raise InputError(
            f"holds no subject {', '.join(missing)}",
            remedy=f"There are {', '.join(there[:8])}{' …' if len(there) > 8 else ''}.",
            path=arguments.out,
        )

    def work(_: str, label: str) -> None:
        screen.print(str(write_subject_page(arguments.out, label)))

    return each([(f"sub-{label}", label) for label in wanted], work, arguments, "subjects")
