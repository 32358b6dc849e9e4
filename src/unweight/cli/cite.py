"""`unweight cite`: methods paragraphs and references of a folder of maps, as text and as BibTeX."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import final

from unweight.bids.derivatives.stored import stored_subject, subjects_in
from unweight.cli.options import Verbosity, options_of
from unweight.cli.terminal import console
from unweight.core.errors import IncompleteError, InputError
from unweight.files.atomic import write_bytes_atomic
from unweight.report.bibliography import bibliography
from unweight.report.methods import methods_paragraph

BIBLIOGRAPHY = "CITATION.bib"
MOST_PROBLEMS = 8  # that a message lists


@final
@dataclass(frozen=True, kw_only=True)
class CiteOptions:
    """Options of `unweight cite`.

    Attributes:
        out: Folder of maps.
        verbosity: What is printed.
    """

    out: Path
    verbosity: Verbosity


def run(arguments: argparse.Namespace) -> int:
    """Print each methods paragraph once, and write the references into the folder.

    Raises:
        InputError: There are no maps, or none that can be read.
        IncompleteError: Some sets are unfinished or cannot be read; the others are cited.
    """
    options = options_of(CiteOptions, arguments)
    screen = console(quiet=options.verbosity.quiet)
    subjects = [stored_subject(options.out, label, compared=False) for label in subjects_in(options.out)]
    sets = [item for subject in subjects for item in subject.sets]
    problems = [problem for subject in subjects for problem in subject.problems]
    if not sets:
        raise InputError(
            "; ".join(
                ["contains no maps written by unweight that can be cited", *problems[:MOST_PROBLEMS]]
            ),
            remedy="Compute the maps first.",
            path=options.out,
        )
    versions = [str(item.own["Version"]) for item in sets if "Version" in item.own]
    references = [str(item.fields.get("EstimationReference", "")) for item in sets]
    for paragraph in dict.fromkeys(methods_paragraph(item) for item in sets):
        screen.print(paragraph)
        screen.print()
    path = options.out / BIBLIOGRAPHY
    write_bytes_atomic(path, bibliography(versions, references).encode())
    screen.print(str(path))
    if problems:
        raise IncompleteError(
            f"{BIBLIOGRAPHY} and the text do not include {len(problems)} sets: "
            + "; ".join(problems[:MOST_PROBLEMS]),
            remedy="Compute these maps again.",
        )
    return 0
