"""Tables that lie beside the maps: spheres of the phantom, and regions."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import final

from unweight.bids.derivatives.stored import read_table
from unweight.bids.names import parse_stem
from unweight.report.charts import number

SPHERES = {
    "sphere": "sphere",
    "t1_nominal_s": "nominal T1 [s]",
    "t1_mean_s": "T1 [s]",
    "t1_sd_s": "SD in the sphere [s]",
    "error_percent": "error [%]",
    "status": "status",
    "t1_region_s": "T1 of the mean signal [s]",
    "error_region_percent": "its error [%]",
    "n_used": "voxels",
}
REGIONS = ("map", "region", "voxels", "missing", "mean", "sd", "median", "unit")
NEEDED = {"phantom": {"sphere", "t1_mean_s"}, "regions": {"region", "mean"}}


@final
@dataclass(frozen=True, kw_only=True)
class Measured:
    """One table beside the maps.

    Attributes:
        kind: `phantom` or `regions`.
        path: The file.
        entities: Of its name.
        columns: Titles.
        rows: Cells as text; those that are numbers have a digit or a sign first.
    """

    kind: str
    path: Path
    entities: dict[str, str]
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def measured_in(path: Path) -> Measured | None:
    """Return the table in a file, or None if it is about something else."""
    rows = read_table(path)
    name = parse_stem(path.stem)
    if not rows:
        return None
    kind = next((kind for kind, needed in NEEDED.items() if needed <= rows[0].keys()), None)
    if kind is None:
        return None
    titles = SPHERES if kind == "phantom" else {region: region for region in REGIONS}
    keys = [key for key in titles if key in rows[0]]
    return Measured(
        kind=kind,
        path=path,
        entities={} if name is None else dict(name.entities),
        columns=tuple(titles[key] for key in keys),
        rows=tuple(tuple(_cell(row[key]) for key in keys) for row in rows),
    )


def _cell(text: str) -> str:
    try:
        value = float(text)
    except ValueError:
        return "–" if text == "n/a" else text
    return text if text.isdigit() else number(value) if math.isfinite(value) else "–"
