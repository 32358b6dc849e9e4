"""`unweight run … group`: tables and a page of all subjects."""

import argparse


def run_group(arguments: argparse.Namespace) -> int:
    """Write the tables."""
    return 0
