"""The plan that `unweight run` and `unweight slurm` make of the same arguments."""

import argparse

from unweight.registry import commands
from unweight.run.plan import Plan, plan_run


def planned(arguments: argparse.Namespace) -> Plan:
    """Return what the tree allows, of what is wanted."""
    wanted = tuple(name for name in commands() if arguments.only is None or name in arguments.only)
    return plan_run(arguments.bids_dir.absolute(), wanted, arguments.subjects, arguments.sessions)
