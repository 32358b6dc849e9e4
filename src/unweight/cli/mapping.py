"""The one driver of all mapping commands: find, read, estimate, write, draw, summarise, pages."""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from unweight.cli.catalogue import COMMANDS
from unweight.cli.each import each
from unweight.cli.options import MappingOutput, options_of
from unweight.cli.terminal import console, progress, table
from unweight.core.errors import IncompleteError
from unweight.mapping.output import Destination, write_set
from unweight.mapping.series import (
    Feedback,
    Found,
    MappedSeries,
    MappingOptions,
    Read,
    low_share,
    map_found,
    status_rows,
)
from unweight.metrics.accuracy import quartiles
from unweight.registry import load
from unweight.report.subject import write_subject_page


def run(arguments: argparse.Namespace) -> int:
    """Map every series found, as the command called says."""
    kind: type[MappingOptions[object, object]] = load(COMMANDS[arguments.command].mapping)
    return map_all(options_of(kind, arguments), options_of(MappingOutput, arguments))


def map_all(options: MappingOptions[Found, Read], output: MappingOutput) -> int:
    """Map every series and write the pages of their subjects; a series that fails does not stop the others.

    Args:
        options: Which series, and how they are mapped.
        output: Where the maps go.

    Returns:
        The exit code.
    """
    quiet, debug = output.verbosity.quiet, output.verbosity.debug
    screen = console(quiet=quiet)
    mapper = options.mapper()
    result = options.find()
    subjects: dict[str, None] = {}

    def map_and_write(label: str, item: Found) -> None:
        began = time.perf_counter()
        with progress(label, quiet=quiet) as report:
            feedback = Feedback(line=screen.print, progress=report)
            mapped = map_found(mapper, label, item, output.out, feedback)
        written, picture = write_set(
            mapped.maps,
            Destination(out=output.out, output=mapped.output),
            mapped.provenance,
            label,
            beside=mapped.beside,
            figures=not output.no_figures,
        )
        paths = (*written.images.values(), *(() if picture is None else (picture,)))
        summarise(screen, mapped, time.perf_counter() - began, paths)
        subjects[mapped.output.entities["sub"]] = None
        if mapped.faults:
            raise IncompleteError(f"mapped, but {'; '.join(mapped.faults)}")

    code = 1
    try:
        code = each(result, map_and_write, debug=debug, what=mapper.what)
    finally:
        if subjects and not output.no_report:
            code = max(code, write_pages(output.out, tuple(subjects), screen, debug=debug))
    return code


def write_pages(out: Path, subjects: Sequence[str], screen: Console, *, debug: bool) -> int:
    """Write the page of each subject, and return the exit code.

    Args:
        out: Root of the derivatives.
        subjects: Their labels.
        screen: Where the paths of the pages are printed.
        debug: Whether an error is raised.
    """

    def write(_: str, subject: str) -> None:
        screen.print(str(write_subject_page(out, subject)))

    return each([(f"sub-{subject}", subject) for subject in subjects], write, debug=debug, what="pages")


def summarise(screen: Console, mapped: MappedSeries, seconds: float, paths: Sequence[Path]) -> None:
    """Print what was mapped, how, the status of the voxels, the quartiles of each map, and the paths."""
    screen.print(f"{mapped.heading}; took {seconds:.1f} s")
    for line in mapped.lines:
        screen.print(line)
    for remark in mapped.remarks:
        screen.print(f"note: {remark}")
    if warning := low_share(mapped.maps):
        screen.print(f"note: {warning}")
    screen.print(table(("voxels", "count", "share", "meaning"), status_rows(mapped.maps)))
    if bool(mapped.usable.any()):
        for spec in mapped.specs:
            low, middle, high = quartiles(mapped.value(spec.name)[mapped.usable].double().numpy())
            screen.print(
                f"{spec.name} of usable voxels: median {middle:.4g} {spec.unit}, "
                f"quartiles {low:.4g} to {high:.4g} {spec.unit}"
            )
    for columns, rows in mapped.tables:
        screen.print(table(columns, rows))
    for path in paths:
        screen.print(str(path))
