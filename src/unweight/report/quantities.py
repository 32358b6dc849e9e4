"""What the page knows of each kind of map: how it is called, and how finely it is told."""

import math
from dataclasses import dataclass
from typing import final

from unweight.core.parameter import ParameterSpec

STEPS = 500  # of a map without a scale of its own, between 0 and its 99th percentile


@final
@dataclass(frozen=True, kw_only=True)
class Quantity:
    """One kind of map.

    Attributes:
        name: As the colours know it.
        symbol: As people write it.
        words: What it is.
        step: In which it is shown [its unit]; 0 if that depends on the values.
        sd_step: The same for its standard deviation.
    """

    name: str
    symbol: str
    words: str
    step: float = 0.0
    sd_step: float = 0.0


QUANTITIES = {
    "T1map": Quantity(
        name="T1", symbol="T1", words="longitudinal relaxation time", step=1e-3, sd_step=1e-3
    ),
    "T2map": Quantity(name="T2", symbol="T2", words="transverse relaxation time", step=1e-4, sd_step=1e-4),
    "T2starmap": Quantity(
        name="T2star", symbol="T2*", words="effective transverse relaxation time", step=1e-4, sd_step=1e-4
    ),
    "R2starmap": Quantity(
        name="R2star", symbol="R2*", words="effective transverse relaxation rate", step=0.1, sd_step=0.1
    ),
    "Chimap": Quantity(name="Chi", symbol="χ", words="magnetic susceptibility", step=1e-3, sd_step=2e-4),
    "PDmap": Quantity(name="PD", symbol="PD", words="proton density"),
    "S0map": Quantity(name="S0", symbol="S0", words="signal at echo time zero"),
    "IEmap": Quantity(
        name="B", symbol="B", words="inversion efficiency, 2 is complete", step=0.01, sd_step=0.01
    ),
    "T1w": Quantity(name="T1w", symbol="T1w", words="image made, not measured", step=0.005, sd_step=0.005),
}


def quantity_of(suffix: str) -> Quantity:
    """Return what is known of maps with this suffix."""
    name = suffix.removesuffix("map") or suffix
    return QUANTITIES.get(suffix, Quantity(name=name, symbol=name, words=""))


def spec_of(suffix: str, unit: str) -> ParameterSpec:
    """Return a map as the colours want to know it."""
    return ParameterSpec(
        name=quantity_of(suffix).name, unit=unit, lower=-math.inf, upper=math.inf, suffix=suffix
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
