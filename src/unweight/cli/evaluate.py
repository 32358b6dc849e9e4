"""`unweight evaluate`: methods side by side; a table of scores, and pictures.

What is estimated decides which of the evaluations runs. What only another one takes is refused.
"""

import argparse
from collections.abc import Callable

from unweight.cli import evaluate_maps, evaluate_mprage, evaluate_qsm, evaluate_t1
from unweight.cli.echo_commands import QSM_COMPARED, QSM_SETS, T1W_COMPARED, T1W_SETS
from unweight.cli.learning_commands import MAPS_COMPARED, MAPS_SETS, T1_COMPARED, T1_SETS
from unweight.core.errors import UsageError

EVALUATIONS: dict[str, tuple[Callable[[argparse.Namespace], int], tuple[str, ...], tuple[str, ...]]] = {
    "t1": (evaluate_t1.run, T1_COMPARED, T1_SETS),
    "maps": (evaluate_maps.run, MAPS_COMPARED, MAPS_SETS),
    "qsm": (evaluate_qsm.run, QSM_COMPARED, QSM_SETS),
    "mprage": (evaluate_mprage.run, T1W_COMPARED, T1W_SETS),
}
# What only one of them takes.
OWN = {
    "t1": ("phantom", "phantom_version", "brain", "ti", "tr", "seeds", "draws", "steps"),
    "qsm": ("chi", "truth", "chi_mask", "chi_labels"),
    "mprage": ("people", "pairs", "bids", "t1w", "segmenter", "workers"),
}


def run(arguments: argparse.Namespace) -> int:
    """Check that the arguments belong together, and run the evaluation asked for."""
    evaluation, methods, sets = EVALUATIONS[arguments.what]
    _check_names("method", arguments, arguments.methods, methods)
    _check_names("set", arguments, arguments.sets, sets)
    for owner, names in OWN.items():
        given = [name for name in names if getattr(arguments, name) is not None]
        if given and owner != arguments.what:
            options = ", ".join(f"--{name.replace('_', '-')}" for name in given)
            raise UsageError(
                f"`evaluate {arguments.what}` takes no {options}",
                remedy=f"Leave it out, or evaluate {owner}, which takes it.",
            )
    return evaluation(arguments)


def _check_names(
    kind: str, arguments: argparse.Namespace, names: list[str] | None, there: tuple[str, ...]
) -> None:
    unknown = [name for name in names or () if name not in there]
    if unknown:
        raise UsageError(
            f"`evaluate {arguments.what}` has no {kind} called {', '.join(unknown)}",
            remedy=f"There are {', '.join(there)}.",
        )
