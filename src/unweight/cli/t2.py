"""`unweight t2`: from a multi-echo spin echo to T2.

Late echoes end on the noise floor of magnitude images, σ·√(π/2), which looks like a long T2. The floor is
measured in the background and is part of the model.
"""

import argparse
import math

from unweight.bids.derivatives import DerivedImage
from unweight.cli.decay import map_decays, simple_solver
from unweight.core.acquisition import Acquisition, SignalKind
from unweight.core.errors import UsageError
from unweight.core.maps import ParameterMaps
from unweight.fit.noise_level import noise_from_background
from unweight.fit.nonlinear_decay import NonlinearDecay
from unweight.fit.relaxation import RelaxationFit
from unweight.signals.parameters import T2

FLOOR = math.sqrt(math.pi / 2)


def run(arguments: argparse.Namespace) -> int:
    """Map every series found."""
    if arguments.skip_first < 0:
        raise UsageError(f"{arguments.skip_first} echoes left out", remedy="Give 0 or more.")
    return map_decays(arguments, "MESE", _fit, _nothing_beside)


def _fit(acquisition: Acquisition, arguments: argparse.Namespace) -> RelaxationFit:
    if arguments.method != "nonlinear":
        solver = simple_solver(arguments.method)
        return RelaxationFit(solver=solver, quantity=T2, skip_first=arguments.skip_first)
    noise = acquisition.noise_sd
    if noise is None and acquisition.kind is SignalKind.MAGNITUDE:
        noise = noise_from_background(acquisition.signal.reshape(-1, acquisition.signal.shape[-1]))
    floor = noise * FLOOR if noise is not None and math.isfinite(noise) else None
    return RelaxationFit(
        solver=NonlinearDecay(noise_floor=floor), quantity=T2, skip_first=arguments.skip_first
    )


def _nothing_beside(_: ParameterMaps) -> list[DerivedImage]:
    return []
