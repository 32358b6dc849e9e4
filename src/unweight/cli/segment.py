"""`unweight segment`: tissues, lateral ventricles and deep grey nuclei of images of any contrast."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import final

from unweight.cli.each import each
from unweight.cli.mapping import write_pages
from unweight.cli.options import Verbosity, options_of
from unweight.cli.terminal import console, progress, table
from unweight.core.errors import UsageError
from unweight.mapping.segment import Segmentation, SegmentOptions, image_segmenter
from unweight.metrics.brain_labels import sides_of

COLUMNS = ("structure", "left [ml]", "right [ml]", "difference")


@final
@dataclass(frozen=True, kw_only=True)
class SegmentCommand:
    """Options of the command.

    Attributes:
        images: NIfTI files.
        out: Folder of the derivatives.
        segment: How they are segmented.
        no_figures: Whether the picture is left out.
        no_report: Whether the pages of subjects are left out.
        shared_assets: Whether the viewer is a file beside the pages.
        verbosity: What is printed.
    """

    images: tuple[Path, ...]
    out: Path
    segment: SegmentOptions
    no_figures: bool
    no_report: bool
    shared_assets: bool
    verbosity: Verbosity


def run(arguments: argparse.Namespace) -> int:
    """Segment every image; one that fails stops no other."""
    options = options_of(SegmentCommand, arguments)
    if options.segment.mask is not None and len(options.images) > 1:
        raise UsageError(
            f"one mask for {len(options.images)} images", remedy="Segment each image with its own mask."
        )
    segmenter = image_segmenter(options.segment)
    screen = console(quiet=options.verbosity.quiet)
    debug = options.verbosity.debug
    subjects: dict[str, None] = {}

    def work(displayed: str, path: Path) -> None:
        with progress(displayed, quiet=options.verbosity.quiet) as report:
            result = segmenter.segment(path, report)
        labels = result.save(options.out, figures=not options.no_figures)
        screen.print(table(COLUMNS, _rows(result)))
        for remark in result.remarks:
            screen.print(f"note: {remark}")
        screen.print(str(labels), soft_wrap=True)
        subjects[result.entities["sub"]] = None

    named = [(path.name, path) for path in options.images]
    code = each(named, work, debug=debug, what="images")
    if options.no_report or not subjects:
        return code
    pages = write_pages(
        options.out, tuple(subjects), screen, debug=debug, shared_assets=options.shared_assets
    )
    return max(code, pages.code)


def _rows(result: Segmentation) -> list[tuple[str, ...]]:
    """Return volumes, left and right beside each other."""
    rows: list[tuple[str, ...]] = []
    volumes = {item.name: item.volume_ml for item in result.volumes}
    for structure, left, right, difference in sides_of(volumes):
        text = "n/a" if difference is None else f"{difference:+.1f} %"
        rows.append((structure.replace("_", " "), f"{left:.2f}", f"{right:.2f}", text))
    for name in ("csf", "intracranial"):
        rows.append((name, f"{volumes[name]:.1f} (both)", "", ""))
    return rows
