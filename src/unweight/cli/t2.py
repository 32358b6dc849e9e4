"""`unweight t2`: from a multi-echo spin echo to T2.

Late echoes end on the noise floor of magnitude images, which looks like a long T2 (`fit.noise_floor`).
"""

import argparse

from unweight.bids.derivatives.description import DerivedImage
from unweight.cli.decay import map_decays, solver_of
from unweight.core.errors import UsageError
from unweight.core.maps import ParameterMaps
from unweight.fit.relaxation import RelaxationFit
from unweight.signals.parameters import T2


def run(arguments: argparse.Namespace) -> int:
    """Map every series found."""
    if arguments.skip_first < 0:
        raise UsageError(f"{arguments.skip_first} echoes left out", remedy="Give 0 or more.")
    fit = RelaxationFit(solver=solver_of(arguments.method), quantity=T2, skip_first=arguments.skip_first)
    return map_decays(arguments, "MESE", fit, _nothing_beside)


def _nothing_beside(_: ParameterMaps) -> list[DerivedImage]:
    return []
