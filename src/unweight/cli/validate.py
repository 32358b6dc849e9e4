"""`unweight validate`: read everything, run nothing, say what is wrong and what would be done."""

import argparse

from unweight.bids.read import find_inputs
from unweight.cli.t1 import given_from
from unweight.cli.terminal import console, error_line
from unweight.core.errors import UnweightError
from unweight.fit.inversion_recovery import InversionRecoveryFit


def run(arguments: argparse.Namespace) -> int:
    """Read every series as `unweight t1` would, and judge its protocol."""
    screen = console(quiet=arguments.quiet)
    found = find_inputs(arguments.inputs, given_from(arguments), subjects=arguments.subjects)
    wrong = 0
    for one in found:
        try:
            series = one.read()
            acquisition = series.acquisition
            InversionRecoveryFit().accept(acquisition)
        except UnweightError as error:
            if arguments.debug:
                raise
            wrong += 1
            error_line(f"{one.label}: {error}")
            continue
        shape = " x ".join(str(size) for size in acquisition.voxels)
        screen.print(f"{one.label}: good, {acquisition.kind.value}, {shape} voxels")
        for name, values in acquisition.protocol.as_dict().items():
            screen.print(f"  {name}: {values}")
        if acquisition.saturated is not None and bool(acquisition.saturated.any()):
            screen.print(f"  {int(acquisition.saturated.sum())} voxels are clipped (saturated)")
        for note in series.notes:
            screen.print(f"  note: {note}")
    screen.print(f"{len(found) - wrong} of {len(found)} series can be mapped")
    return 2 if wrong == len(found) else 1 if wrong else 0
