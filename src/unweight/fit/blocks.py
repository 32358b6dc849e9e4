"""Voxels in blocks, each block on one processor.

A fit is a long chain of small tensor operations. Spread over threads one operation at a time, it waits
more than it works, and on a machine that others use too it may become forty times slower. So each
block of voxels runs through the whole chain on one thread, and several blocks run at once.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar, final

import torch

from unweight.core.estimator import Progress

CPU_BLOCK = 16384  # voxels: what the caches of a core hold
GPU_BLOCK = 1 << 20
Result = TypeVar("Result")


@final
@dataclass(frozen=True, kw_only=True)
class ExecutionContext:
    """Where voxels are worked on.

    Attributes:
        device: Of the voxels. Blocks for a GPU run one after the other.
        n_threads: Blocks at a time on a processor.
    """

    device: torch.device
    n_threads: int


@contextmanager
def one_thread_per_operation() -> Iterator[int]:
    """Keep torch from spreading single operations over threads; yields how many threads it had."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield before
    finally:
        torch.set_num_threads(before)


def each_block(
    total: int,
    work: Callable[[slice], Result],
    where: ExecutionContext,
    progress: Progress | None = None,
) -> list[Result]:
    """Return the results of all blocks, in order; they do not depend on the number of threads.

    Args:
        total: Number of voxels.
        work: What to do with a range of voxels; must not change anything shared.
        where: Device and threads.
        progress: Called with the voxels done and the voxels in all.
    """
    on_cpu = where.device.type == "cpu"
    blocks = list(_blocks(total, CPU_BLOCK if on_cpu else GPU_BLOCK))
    n_threads = min(where.n_threads, len(blocks)) if on_cpu else 1
    report = _Report(total, progress)

    def counted(block: slice) -> Result:
        result = work(block)
        report.add(block.stop - block.start)
        return result

    if n_threads <= 1:
        return [counted(block) for block in blocks]
    with ThreadPoolExecutor(n_threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        return list(pool.map(counted, blocks))


class _Report:
    """Counts voxels from several threads."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._total, self._progress, self._done = total, progress, 0
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        with self._lock:
            self._done += count
            if self._progress is not None:
                self._progress(self._done, self._total)


def _blocks(total: int, size: int) -> Iterator[slice]:
    for begin in range(0, total, size):
        yield slice(begin, min(begin + size, total))
