"""`unweight evaluate`: methods side by side; a table of scores, and pictures.

What is estimated decides which of the evaluations runs. What only another one takes is refused.
"""

import argparse

from unweight.core.errors import UsageError
from unweight.registry import compared_names, datasets, load, pipeline

# What only one of them takes.
OWN = {
    "t1": ("phantom", "phantom_version", "brain", "ti", "tr", "seeds", "draws", "steps"),
    "qsm": ("chi", "truth", "chi_mask", "chi_labels"),
    "mprage": ("people", "pairs", "bids", "t1w", "segmenter", "workers"),
}


def run(arguments: argparse.Namespace) -> int:
    """Check that the arguments belong together, and run the evaluation asked for."""
    chosen = pipeline(arguments.what)
    _check_names("method", arguments, arguments.methods, compared_names(chosen.family))
    _check_names("set", arguments, arguments.sets, datasets(chosen.family))
    for owner, names in OWN.items():
        given = [name for name in names if getattr(arguments, name) is not None]
        if given and owner != arguments.what:
            options = ", ".join(f"--{name.replace('_', '-')}" for name in given)
            raise UsageError(
                f"`evaluate {arguments.what}` takes no {options}",
                remedy=f"Leave it out, or evaluate {owner}, which takes it.",
            )
    return int(load(chosen.benchmark)(arguments))


def _check_names(
    kind: str, arguments: argparse.Namespace, names: list[str] | None, there: tuple[str, ...]
) -> None:
    unknown = [name for name in names or () if name not in there]
    if unknown:
        raise UsageError(
            f"`evaluate {arguments.what}` has no {kind} called {', '.join(unknown)}",
            remedy=f"There are {', '.join(there)}.",
        )
