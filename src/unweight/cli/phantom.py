"""`unweight phantom`: the NIST/ISMRM system phantom in T1 maps, found, measured and drawn."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import final

from unweight.cli.each import each
from unweight.cli.mapping import write_pages
from unweight.cli.options import Verbosity, options_of
from unweight.cli.terminal import console, table
from unweight.mapping.phantom import SHOWN, PhantomOptions, measure_plates, read_t1_maps, stored_sidecars


@final
@dataclass(frozen=True, kw_only=True)
class PhantomCall:
    """Options of `unweight phantom`.

    Attributes:
        out: Folder of maps.
        images: The images the maps were made from.
        subjects: Labels of the subjects; None for all.
        phantom: Which phantom, and how it is measured.
        verbosity: What is printed.
    """

    out: Path
    images: tuple[Path, ...] | None
    subjects: tuple[str, ...] | None
    phantom: PhantomOptions
    verbosity: Verbosity


def run(arguments: argparse.Namespace) -> int:
    """Measure every T1 map in a folder; one without a phantom does not stop the others."""
    options = options_of(PhantomCall, arguments)
    debug = options.verbosity.debug
    screen = console(quiet=options.verbosity.quiet)
    subjects: dict[str, None] = {}

    def measure(_: str, sidecar: Path) -> None:
        stored = read_t1_maps(options.out, sidecar)
        for plate in measure_plates(stored, options.phantom, options.images or ()):
            paths = plate.save(options.out)
            screen.print(table(SHOWN, plate.shown_rows(), plate.title))
            for path in paths:
                screen.print(str(path))
        subjects[stored.entities["sub"]] = None

    sidecars = stored_sidecars(options.out, options.subjects)
    result = [(path.relative_to(options.out).as_posix(), path) for path in sidecars]
    code = each(result, measure, debug=debug, what="maps")
    pages = tuple(label for label in subjects if (options.out / f"sub-{label}.html").exists())
    return max(code, write_pages(options.out, pages, screen, debug=debug).code)
