"""How much time and memory a step takes, about.

Both grow with voxels times images, measured on heads of 1 mm on one core (`benchmarks/run_cost.py`);
another machine takes another time, and a larger brain shifts both by some tens of per cent.

What a series of given shape takes beside its images, from reading to writing, was measured on cubes of 64
to 128 voxels (`benchmarks/computing_memory.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import final

from unweight.run.plan import Step, Task

BASE_BYTES, BASE_SECONDS = 0.5 * 2**30, 0.3  # Python with torch; files, records, the page
START_SECONDS = 4.0  # of a worker


@final
@dataclass(frozen=True, kw_only=True)
class Rate:
    """What one voxel of one image costs.

    Attributes:
        nanoseconds: Of one core.
        bytes: At the most at a time.
    """

    nanoseconds: float
    bytes: float


RATES: Mapping[str, Rate] = MappingProxyType(
    {
        "t1": Rate(nanoseconds=2000.0, bytes=199.0),
        "maps": Rate(nanoseconds=1370.0, bytes=82.0),
        "r2star": Rate(nanoseconds=173.0, bytes=18.0),
        "qsm": Rate(nanoseconds=400.0, bytes=30.0),
        "mprage": Rate(nanoseconds=1000.0, bytes=33.0),
        "t2": Rate(nanoseconds=400.0, bytes=18.0),
    }
)


@final
@dataclass(frozen=True, kw_only=True)
class Demand:
    """Memory that a command takes at the most while it computes.

    Attributes:
        voxel: Of each voxel of the grid [byte].
        value: Of each voxel of each image [byte].
        least: Of any series [byte].
    """

    voxel: float
    value: float = 0.0
    least: float = 48 * 2**20

    def bytes(self, voxels: int, volumes: int) -> float:
        """Return it for a grid and a number of images."""
        return self.least + voxels * (self.voxel + self.value * volumes)


# By command, and by command and method where that takes another amount.
DEMANDS: Mapping[str, Demand] = MappingProxyType(
    {
        "t1": Demand(voxel=800.0, value=80.0, least=2**28),
        "t1 ml": Demand(voxel=430.0),
        "maps": Demand(voxel=275.0),
        "r2star": Demand(voxel=110.0),
        "t2": Demand(voxel=110.0),
        "qsm": Demand(voxel=330.0),
        "mprage": Demand(voxel=230.0, value=28.0),
    }
)


def computing_bytes(command: str, voxels: int, volumes: int, method: str = "") -> float:
    """Return about how much memory a command takes beside the images that it has read [byte]."""
    demand = DEMANDS.get(f"{command} {method}", DEMANDS[command])
    return demand.bytes(voxels, volumes)


def seconds_of(step: Step) -> float:
    """Return about how long a step takes on one core [s]."""
    return BASE_SECONDS + 1e-9 * RATES[step.pipeline].nanoseconds * step.voxels * step.volumes


def bytes_of(step: Step) -> float:
    """Return about how much memory a step takes at the most [byte]."""
    return BASE_BYTES + RATES[step.pipeline].bytes * step.voxels * step.volumes


def seconds_of_run(tasks: Sequence[Task], workers: int) -> float:
    """Return about how long all takes [s]."""
    each = [sum(seconds_of(step) for step in task.steps) for task in tasks]
    return START_SECONDS + max(sum(each) / workers, max(each, default=0.0))
