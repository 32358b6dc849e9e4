"""`--json`: what a mapping command did, as one JSON object on standard output.

    {"command": "t1", "version": "0.1.0", "out": "maps", "exit_code": 0, "seconds": 12.3,
     "series": [{"label": "sub-01_IRT1", "seconds": 10.1, "notes": [], "incomplete": [],
                 "voxels": {"ok": 32054, "no signal": 6334},
                 "maps": {"T1": {"unit": "s", "median": 1.017, "quartiles": [0.68, 1.49]}},
                 "files": ["maps/sub-01/anat/sub-01_T1map.nii.gz"]}],
     "failed": [{"label": "sub-02_IRT1", "error": "..."}], "pages": ["maps/sub-01.html"]}

Counts are of the whole volume. Median and quartiles are over usable voxels; a map without any has none.
"""

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from unweight import __version__
from unweight.mapping.series import MappedSeries
from unweight.metrics.accuracy import quartiles


@final
@dataclass(kw_only=True)
class Summary:
    """What a mapping command has done so far.

    Attributes:
        command: Its name.
        out: Root of the derivatives.
        began: When it began [s].
        series: What was mapped, in order.
        failed: What was not, and why.
        pages: Pages written.
    """

    command: str
    out: Path
    began: float = field(default_factory=time.perf_counter)
    series: list[dict[str, Any]] = field(default_factory=list)
    failed: list[dict[str, str]] = field(default_factory=list)
    pages: list[str] = field(default_factory=list)

    def add(self, label: str, mapped: MappedSeries, seconds: float, paths: Sequence[Path]) -> None:
        """Add a series that was mapped."""
        counts = mapped.maps.count()
        self.series.append(
            {
                "label": label,
                "seconds": round(seconds, 3),
                "notes": list(mapped.remarks),
                "incomplete": list(mapped.faults),
                "voxels": {status.name.lower().replace("_", " "): int(n) for status, n in counts.items()},
                "maps": {spec.name: _statistics(mapped, spec.name, spec.unit) for spec in mapped.specs},
                "files": [str(path) for path in paths],
            }
        )

    def fail(self, label: str, error: BaseException) -> None:
        """Add what failed; an error of the whole call has an empty label, and may be that of a series."""
        if label or all(item["error"] != str(error) for item in self.failed):
            self.failed.append({"label": label, "error": str(error) or type(error).__name__})

    def text(self, exit_code: int) -> str:
        """Return the object on one line."""
        content = {
            "command": self.command,
            "version": __version__,
            "out": str(self.out),
            "exit_code": exit_code,
            "seconds": round(time.perf_counter() - self.began, 3),
            "series": self.series,
            "failed": self.failed,
            "pages": self.pages,
        }
        return json.dumps(content, allow_nan=False)


def _statistics(mapped: MappedSeries, name: str, unit: str) -> dict[str, Any]:
    if not bool(mapped.usable.any()):
        return {"unit": unit, "median": None, "quartiles": None}
    low, middle, high = quartiles(mapped.value(name)[mapped.usable].double().numpy())
    values = [float(f"{value:.6g}") if math.isfinite(value) else None for value in (low, middle, high)]
    return {"unit": unit, "median": values[1], "quartiles": [values[0], values[2]]}
