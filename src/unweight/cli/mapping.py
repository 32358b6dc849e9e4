"""The one driver of all mapping commands: find, read, estimate, write, draw, summarise, pages."""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from rich.console import Console

from unweight.cli.catalogue import COMMANDS
from unweight.cli.each import each
from unweight.cli.log_file import log_printed
from unweight.cli.options import MappingOutput, options_of
from unweight.cli.summary import Summary
from unweight.cli.terminal import console, progress, table
from unweight.cli.unexpected import exit_code_of
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
from unweight.report.shown_set import unit_shown
from unweight.report.subject import write_subject_page


def run(arguments: argparse.Namespace) -> int:
    """Map every series found, as the command called says."""
    kind: type[MappingOptions[object, object]] = load(COMMANDS[arguments.command].mapping)
    output = options_of(MappingOutput, arguments)
    summary = Summary(command=arguments.command, out=output.out)
    try:
        code = map_all(options_of(kind, arguments), output, summary)
    except BaseException as error:
        summary.fail("", error)
        if output.json:
            _print_line(summary.text(exit_code_of(error)))
        raise
    if output.json:
        _print_line(summary.text(code))
    return code


def _print_line(text: str) -> None:
    print(text)
    log_printed(text)


def map_all(
    options: MappingOptions[Found, Read], output: MappingOutput, summary: Summary | None = None
) -> int:
    """Map every series and write the pages of their subjects; a series that fails does not stop the others.

    Args:
        options: Which series, and how they are mapped.
        output: Where the maps go.
        summary: Takes what was done; None for none.

    Returns:
        The exit code.
    """
    quiet, debug = output.verbosity.quiet, output.verbosity.debug
    screen = console(quiet=quiet or output.json)
    summary = summary or Summary(command="", out=output.out)
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
        seconds = time.perf_counter() - began
        summarise(screen, mapped, seconds, paths)
        summary.add(label, mapped, seconds, paths)
        subjects[mapped.output.entities["sub"]] = None
        if mapped.faults:
            raise IncompleteError(f"mapped, but {'; '.join(mapped.faults)}")

    def noted(label: str, item: Found) -> None:
        try:
            map_and_write(label, item)
        except Exception as error:
            summary.fail(label, error)
            raise

    code = 1
    try:
        code = each(result, noted, debug=debug, what=mapper.what)
    finally:
        if subjects and not output.no_report:
            pages = write_pages(
                output.out, tuple(subjects), screen, debug=debug, shared_assets=output.shared_assets
            )
            summary.pages += map(str, pages.paths)
            code = max(code, pages.code)
    return code


@final
@dataclass(frozen=True, kw_only=True)
class Pages:
    """Pages of subjects.

    Attributes:
        paths: Those that were written.
        code: Exit code of the writing.
    """

    paths: tuple[Path, ...]
    code: int


def write_pages(
    out: Path, subjects: Sequence[str], screen: Console, *, debug: bool, shared_assets: bool = False
) -> Pages:
    """Write the page of each subject.

    Args:
        out: Root of the derivatives.
        subjects: Their labels.
        screen: Where the paths of the pages are printed.
        debug: Whether an error is raised.
        shared_assets: Whether the viewer is a file beside the pages.
    """
    paths: list[Path] = []

    def write(_: str, subject: str) -> None:
        paths.append(write_subject_page(out, subject, shared_assets=shared_assets))
        screen.print(str(paths[-1]))

    code = each([(f"sub-{subject}", subject) for subject in subjects], write, debug=debug, what="pages")
    return Pages(paths=tuple(paths), code=code)


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
            unit = f" {unit_shown(spec.unit)}".rstrip()
            screen.print(
                f"{spec.name} of usable voxels: median {middle:.4g}{unit}, "
                f"quartiles {low:.4g} to {high:.4g}{unit}"
            )
    for columns, rows in mapped.tables:
        screen.print(table(columns, rows))
    for path in paths:
        screen.print(str(path))
