"""Colours for relaxation maps after the recommendation of Fuderer et al.

Lipari for T1, navia for T2 and T2*, each reversed for rates; a scale that is linear for low values
and logarithmic above; black for voxels without a value and for nothing else (Magn Reson Med 2025,
doi 10.1002/mrm.30290; the maps themselves are Crameri's). For a shown range [lo, hi] the scale turns
logarithmic at a = hi/e; below it takes the share (a − lo)/(2a − lo), which makes the slope continuous:

    position(v) = (v − lo)/(2a − lo)                        lo ≤ v ≤ a
    position(v) = s + (1 − s)·ln(v/m)/ln(hi/m)              m = max(a, lo) < v ≤ hi

with s that share, 0 where lo ≥ a. `colours_for` gives colour map and norm to matplotlib, whose colour bar
is then right by itself; `relaxation_lut` gives a table for programs whose own scale is linear.
"""

import math
from typing import Any, final

import numpy as np
from cmcrameri import cm
from matplotlib.colors import Colormap, ListedColormap, Normalize
from numpy.typing import NDArray

from unweight.core.errors import UsageError
from unweight.core.parameter import ParameterSpec
from unweight.registry import quantity_named, records

DARKEST = {"grayC": 0.1}  # where a map begins that would itself begin black
ENTRIES = 256
UNCERTAINTY = "imola"  # begins dark blue: black says that there is no value


@final
class RelaxationNorm(Normalize):
    """The scale of the recommendation as a matplotlib norm, with its inverse for the colour bar."""

    def __init__(self, lowest: float, highest: float) -> None:
        if not 0 <= lowest < highest:
            raise UsageError(f"cannot show the range {lowest:g} to {highest:g}")
        super().__init__(vmin=lowest, vmax=highest, clip=False)
        turn = highest / math.e
        self._knee = max(turn, lowest)
        self._share = (turn - lowest) / (2 * turn - lowest) if turn > lowest else 0.0

    def __call__(self, value: Any, clip: bool | None = None) -> Any:
        """Carry values to 0…1; below and above are clipped, NaN stays NaN (masked)."""
        # Plain arrays: a colour bar asks for one number at a time, and masked ones take ten times as long.
        data = np.asarray(np.ma.getdata(value), dtype=float)
        mask = np.ma.getmaskarray(value) | ~np.isfinite(data)
        low, high = float(self.vmin or 0.0), float(self.vmax or 1.0)
        inside = np.clip(np.where(mask, low, data), low, high)
        span = self._knee - low
        linear = (inside - low) / span * self._share if span > 0 else np.zeros_like(inside)
        logarithmic = self._share + (1 - self._share) * np.log(
            np.maximum(inside, self._knee) / self._knee
        ) / math.log(high / self._knee)
        scaled = np.where(inside <= self._knee, linear, logarithmic)
        return np.ma.array(np.where(mask, data, scaled), mask=mask)

    def inverse(self, value: Any) -> Any:
        """Carry 0…1 back to values."""
        position = np.asarray(value, dtype=float)
        low, high = float(self.vmin or 0.0), float(self.vmax or 1.0)
        span = self._knee - low
        linear = low + (position / self._share * span if self._share > 0 else 0.0 * position)
        above = (position - self._share) / (1 - self._share)
        logarithmic = self._knee * np.exp(above * math.log(high / self._knee))
        return np.where(position <= self._share, linear, logarithmic)


def colours_for(spec: ParameterSpec, values: NDArray[np.floating[Any]]) -> tuple[Colormap, Normalize]:
    """Return the colour map and the scale for one map; the range is fixed for known parameters.

    A range that a tenth of the voxels exceeds is widened to hold their 99th percentile.
    """
    kind = quantity_named(spec.name)
    finite = values[np.isfinite(values)]
    top = float(np.percentile(finite, 99)) if finite.size else 1.0
    low, high = kind.window or (0.0, top if top > 0 else 1.0)
    if kind.relaxation and finite.size and float(np.percentile(finite, 90)) > high:
        high = float(f"{top:.1g}")
    norm = RelaxationNorm(low, high) if kind.relaxation else Normalize(low, high, clip=True)
    return colour_map(kind.colours), norm


def colour_map(name: str) -> Colormap:
    """Return one of Crameri's maps with black for voxels without a value, and for no others."""
    chosen: Colormap = getattr(cm, name)
    if name in DARKEST:
        chosen = ListedColormap(chosen(np.linspace(DARKEST[name], 1.0, chosen.N)), name=name)
    return chosen.with_extremes(bad="black")


def relaxation_lut(
    quantity: str, lowest: float, highest: float, entries: int = ENTRIES
) -> NDArray[np.float64]:
    """Return the recommended colours as a look-up table for a scale that is linear.

    Entry 0 is black and stands for voxels without a value. Entry i > 0 is the colour of the value
    lowest + i/entries·(highest − lowest), so a viewer shows the recommendation when it scales linearly from
    lowest to highest; values below the range have the colour of entry 1, those above that of the last.

    Args:
        quantity: `T1`, `R1`, `T2`, `R2`, `T2star` or `R2star`.
        lowest: Start of the shown range [unit of the quantity].
        highest: End of it.
        entries: Length of the table.

    Returns:
        Red, green and blue, 0 to 1, one row an entry.

    Raises:
        UsageError: The recommendation does not know the quantity, or the range is impossible.
    """
    kind = quantity_named(quantity)
    if not kind.relaxation:
        known = ", ".join(item.name for item in records().quantities if item.relaxation)
        raise UsageError(f"no recommended colours for {quantity}", remedy=f"Use one of {known}.")
    table = linear_lut(colour_map(kind.colours), RelaxationNorm(lowest, highest), entries)
    table[0] = 0.0
    return table


def linear_lut(colours: Colormap, norm: Normalize, entries: int = ENTRIES) -> NDArray[np.float64]:
    """Return the colours of values spaced evenly over the range of a norm, one row an entry.

    Args:
        colours: The map.
        norm: The scale.
        entries: Length of the table.
    """
    low, high = float(norm.vmin or 0.0), float(norm.vmax if norm.vmax is not None else 1.0)
    values = low + (high - low) * np.arange(entries) / entries
    return np.asarray(colours(norm(values)), dtype=np.float64)[:, :3]


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Return round numbers within a range, few of them."""
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        return [low] if math.isfinite(low) else []
    rough = (high - low) / most
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * part for part in (1, 2, 5, 10) if unit * part >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def place_on(norm: Normalize, value: float) -> float:
    """Return where a value is on a scale, 0 to 1."""
    return float(np.ma.getdata(norm(np.array([value])))[0])


def spaced_ticks(norm: Normalize, gap: float, most: int = 6) -> list[float]:
    """Return round values for the ticks of a colour bar, far enough apart for their labels.

    Args:
        norm: Scale of the bar; it need not be linear.
        gap: Smallest distance between two ticks, as a share of the bar.
        most: About how many there would be on a linear scale.
    """
    low, high = float(norm.vmin or 0.0), float(1.0 if norm.vmax is None else norm.vmax)
    kept: list[float] = []
    for value in (min(tick, high) for tick in ticks(low, high, most)):
        if not kept or place_on(norm, value) - place_on(norm, kept[-1]) >= gap:
            kept.append(value)
    return kept
