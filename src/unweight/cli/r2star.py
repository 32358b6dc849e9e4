"""`unweight r2star`: from the magnitudes of a multi-echo gradient echo to R2* and T2*."""

import argparse

import torch

from unweight.bids.derivatives.description import DerivedImage
from unweight.cli.decay import map_decays, solver_of
from unweight.core.maps import ParameterMaps
from unweight.fit.relaxation import RelaxationFit
from unweight.signals.parameters import R2STAR, T2STAR


def run(arguments: argparse.Namespace) -> int:
    """Map every series found."""
    fit = RelaxationFit(solver=solver_of(arguments.method), quantity=R2STAR)
    return map_decays(arguments, "MEGRE", fit, _times)


def _times(maps: ParameterMaps) -> list[DerivedImage]:
    """Return T2* = 1/R2* with its standard deviation; NaN where R2* is not above 0."""
    rate, sd = maps.value("R2star"), maps.std[..., 0]
    there = rate > 0
    nothing = torch.full_like(rate, torch.nan)
    time = torch.where(there, 1 / rate, nothing)
    spread = torch.where(there, sd / rate.square(), nothing)
    return [
        DerivedImage(
            key="T2star",
            desc="",
            suffix=T2STAR.suffix,
            values=time,
            description=f"{T2STAR.description}, 1/R2*; no value where R2* is not above 0",
            unit=T2STAR.unit,
        ),
        DerivedImage(
            key="T2star std",
            desc="std",
            suffix=T2STAR.suffix,
            values=spread,
            description="Standard deviation of T2star",
            unit=T2STAR.unit,
        ),
    ]
