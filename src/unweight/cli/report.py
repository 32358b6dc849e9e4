"""`unweight report`: one page for each subject of a folder of derivatives."""

import argparse

from unweight.bids.derivatives.stored import subjects_in, unfinished_sets
from unweight.cli.each import each
from unweight.cli.terminal import console
from unweight.core.errors import IncompleteError, InputError
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
        missing = unfinished_sets(arguments.out, label)
        if missing:
            raise IncompleteError(
                f"its page is without the unfinished set {', '.join(missing)}",
                remedy="Make these maps again.",
            )

    return each([(f"sub-{label}", label) for label in wanted], work, debug=arguments.debug, what="subjects")
