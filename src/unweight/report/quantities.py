"""How kinds of maps are shown: as the colours know them, in which unit and how finely."""

import math

from unweight.core.parameter import ParameterSpec
from unweight.registry import quantity

STEPS = 500  # of a map without a scale of its own, between 0 and its 99th percentile


def spec_of(suffix: str, unit: str) -> ParameterSpec:
    """Return a map as the colours want to know it."""
    return ParameterSpec(
        name=quantity(suffix).name, unit=unit, lower=-math.inf, upper=math.inf, suffix=suffix
    )


def unit_shown(unit: str) -> str:
    """Return a unit as people read it; nothing for a ratio."""
    return {"1": "", "arbitrary": "a.u.", "1/s": "s⁻¹"}.get(unit, unit)


def step_for(top: float) -> float:
    """Return a round step that divides 0 … top into about 500."""
    if not (math.isfinite(top) and top > 0):
        return 1e-3
    return float(10.0 ** math.floor(math.log10(top / STEPS) + 0.5))


def digits_of(step: float) -> int:
    """Return how many digits behind the point tell a step."""
    return max(0, math.ceil(-math.log10(step) - 1e-9))
