"""How much time and memory a step takes, about.

Both grow with voxels times images, measured on heads of 1 mm on one core (`benchmarks/run_cost.py`);
another machine takes another time, and a larger brain shifts both by some tens of per cent. A step that
takes a map from an earlier one is spared the time of computing it.
"""

from collections.abc import Sequence

from unweight.registry import pipeline
from unweight.run.planned import PlannedStep, PlannedTask

BASE_BYTES, BASE_SECONDS = 0.5 * 2**30, 0.3  # Python with torch; files, records, the page
START_SECONDS = 4.0  # of a worker


def seconds_of(step: PlannedStep) -> float:
    """Return about how long a step takes on one core [s]."""
    record = pipeline(step.pipeline)
    saved = sum(reuse.nanoseconds for reuse in record.reuses if reuse.option in step.reused)
    return BASE_SECONDS + 1e-9 * (record.nanoseconds - saved) * step.voxels * step.volumes


def bytes_of(step: PlannedStep) -> float:
    """Return about how much memory a step takes at the most [byte]."""
    return BASE_BYTES + pipeline(step.pipeline).bytes * step.voxels * step.volumes


def seconds_of_run(tasks: Sequence[PlannedTask], workers: int) -> float:
    """Return about how long all takes [s]."""
    each = [sum(seconds_of(step) for step in task.steps) for task in tasks]
    return START_SECONDS + max(sum(each) / workers, max(each, default=0.0))
