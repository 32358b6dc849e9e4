"""Which tutorials are carried out when the documentation is built: all whose commands there are."""

import re

from unweight.cli.catalogue import COMMANDS

NEEDS = {"plot_5_study_on_a_cluster.py": "run"}


def runnable() -> str:
    """Return a pattern of the files that are carried out; the others are shown as they are."""
    waiting = [re.escape(name) for name, command in NEEDS.items() if command not in COMMANDS]
    return rf"plot_(?!{'|'.join(name.removeprefix('plot_') for name in waiting)})" if waiting else "plot_"
