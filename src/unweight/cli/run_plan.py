"""The plan that `unweight run` and `unweight slurm` make of the same arguments."""

import argparse

from unweight.cli.run_commands import RUN_PIPELINES
from unweight.run.plan import Plan, plan_run


def planned(arguments: argparse.Namespace) -> Plan:
    """Return what the tree allows, of what is wanted."""
    wanted = tuple(name for name in RUN_PIPELINES if name in (arguments.only or RUN_PIPELINES))
    return plan_run(arguments.bids_dir.absolute(), wanted, arguments.subjects, arguments.sessions)
