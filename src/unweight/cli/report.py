"""`unweight report`: one page for each subject of a folder of derivatives."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import final

from unweight.bids.derivatives.stored import subjects_in, unfinished_sets
from unweight.cli.each import each
from unweight.cli.options import Verbosity, options_of
from unweight.cli.terminal import console
from unweight.core.errors import IncompleteError, InputError
from unweight.report.subject import write_subject_page


@final
@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """Options of `unweight report`.

    Attributes:
        out: Folder of maps.
        subjects: Labels; None for all.
        shared_assets: Whether the viewer is a file beside the pages.
        verbosity: What is printed.
    """

    out: Path
    subjects: tuple[str, ...] | None
    shared_assets: bool
    verbosity: Verbosity


def run(arguments: argparse.Namespace) -> int:
    """Write the pages; a subject that cannot be shown does not stop the others."""
    options = options_of(ReportOptions, arguments)
    debug = options.verbosity.debug
    screen = console(quiet=options.verbosity.quiet)
    there = subjects_in(options.out)
    wanted = there if options.subjects is None else tuple(options.subjects)
    missing = [label for label in wanted if label not in there]
    if missing:
        raise InputError(
            f"contains no maps of subject {', '.join(missing)}",
            remedy=f"Choose from {', '.join(there[:8])}{' …' if len(there) > 8 else ''}.",
            path=options.out,
        )

    def work(_: str, label: str) -> None:
        screen.print(str(write_subject_page(options.out, label, shared_assets=options.shared_assets)))
        missing = unfinished_sets(options.out, label)
        if missing:
            raise IncompleteError(
                f"the report omits the unfinished set{'s' * (len(missing) > 1)} {', '.join(missing)}",
                remedy="Compute these maps again.",
            )

    return each([(f"sub-{label}", label) for label in wanted], work, debug=debug, what="subjects")
