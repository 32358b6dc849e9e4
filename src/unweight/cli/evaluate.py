"""`unweight evaluate`: methods side by side; a table of scores, and pictures.

What is estimated decides which of the two evaluations runs. What only the other one takes is refused.
"""

import argparse

from unweight.cli import evaluate_maps, evaluate_t1
from unweight.cli.catalogue import MAPS_COMPARED, MAPS_SETS, T1_COMPARED, T1_SETS
from unweight.core.errors import UsageError

MAPS = "maps"
OF_T1_ALONE = ("phantom", "phantom_version", "brain", "ti", "tr", "seeds", "draws", "steps")


def run(arguments: argparse.Namespace) -> int:
    """Check that the arguments belong together, and run the evaluation asked for."""
    of_maps = arguments.what == MAPS
    _check_names("method", arguments, arguments.methods, MAPS_COMPARED if of_maps else T1_COMPARED)
    _check_names("set", arguments, arguments.sets, MAPS_SETS if of_maps else T1_SETS)
    if not of_maps:
        return evaluate_t1.run(arguments)
    given = [name for name in OF_T1_ALONE if getattr(arguments, name) is not None]
    if given:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise UsageError(
            f"`evaluate {MAPS}` takes no {options}",
            remedy="Leave it out, or evaluate t1, which takes it.",
        )
    return evaluate_maps.run(arguments)


def _check_names(
    kind: str, arguments: argparse.Namespace, names: list[str] | None, there: tuple[str, ...]
) -> None:
    unknown = [name for name in names or () if name not in there]
    if unknown:
        raise UsageError(
            f"`evaluate {arguments.what}` has no {kind} called {', '.join(unknown)}",
            remedy=f"There are {', '.join(there)}.",
        )
