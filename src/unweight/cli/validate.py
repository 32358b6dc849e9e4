"""`unweight validate`: read everything, run nothing, say what is wrong and what would be done."""

import argparse
import math
from dataclasses import dataclass, replace
from typing import final

from rich.console import Console

from unweight.bids.collection import LINKS
from unweight.bids.read import Series, find_inputs
from unweight.cli.options import Verbosity, options_of
from unweight.cli.terminal import console, error_line
from unweight.core.errors import UnweightError
from unweight.fit.inversion_recovery import InversionRecoveryFit
from unweight.mapping.t1 import T1Options

MAPPED = ("IRT1", "")  # series `unweight t1` takes: of a BIDS tree, and of anything else


@final
@dataclass(frozen=True, kw_only=True)
class ValidateOptions:
    """Options of `unweight validate`.

    Attributes:
        series: Which series.
        verbosity: What is printed.
    """

    series: T1Options
    verbosity: Verbosity


def run(arguments: argparse.Namespace) -> int:
    """Read every series of a kind this program knows, and judge those that `unweight t1` would map."""
    options = options_of(ValidateOptions, arguments)
    screen = console(quiet=options.verbosity.quiet)
    images = options.series.images
    given = replace(images.given(options.series.kind), sampled=True)
    result = find_inputs(images.inputs, given, suffixes=tuple(LINKS), subjects=images.subjects)
    wrong, mapped, incomplete = 0, 0, 0
    for item in result:
        try:
            series = item.read()
            if series.suffix in MAPPED:
                InversionRecoveryFit().accept(series.acquisition)
                mapped += 1
        except UnweightError as error:
            if options.verbosity.debug:
                raise
            wrong += 1
            error_line(f"{item.label}: {error}")
            continue
        _describe(item.label, series, screen)
        incomplete += bool(series.faults)
        for fault in series.faults:
            error_line(f"{item.label}: {fault}")
    screen.print(f"{len(result) - wrong} of {len(result)} series can be read, {mapped} can be mapped by t1")
    return 2 if wrong == len(result) else 1 if wrong or incomplete else 0


def _describe(label: str, series: Series, screen: Console) -> None:
    acquisition = series.acquisition
    shape = " x ".join(str(size) for size in series.shape)
    state = "incomplete" if series.faults else "good"
    screen.print(f"{label}: {state}, {acquisition.kind.value}, {shape} voxels")
    for name, values in acquisition.protocol.as_dict().items():
        screen.print(f"  {name}: {values}")
    if acquisition.saturated is not None and bool(acquisition.saturated.any()):
        share = float(acquisition.saturated.double().mean())
        n_clipped = max(1, round(share * math.prod(series.shape)))
        screen.print(f"  about {n_clipped} voxels are clipped (saturated)")
    for note in series.notes:
        screen.print(f"  note: {note}")
