"""Memory that a command takes beside the images it has read, as `prepare/computing_memory.py` states it.

    python benchmarks/computing_memory.py t1 images.nii --ti 0.05 0.4 1.1 2.5 --tr 2.55 -o maps

Carries out one command. When it looks whether its memory is free, what the process keeps unused
is given back and the highest mark of memory begins anew (Linux alone). Fits of `Demand` come from two sizes
and two numbers of volumes.
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from unweight.cli.main import main
from unweight.cli.process import keep_memory
from unweight.core import memory
from unweight.prepare import computing_memory

STATUS, MARK = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def status(name: str) -> int:
    """Return a figure of this process [byte]."""
    lines = STATUS.read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def measure(words: list[str]) -> None:
    """Carry out a command and print what it took."""
    held: list[float] = []

    def begin(needed: float, what: str, remedy: str) -> None:
        memory.is_free(float("inf"))  # gives back what is unused
        MARK.write_text("5")
        held[:] = [needed, status("VmRSS")]
        print(f"{what}: {needed / 2**20:.0f} MiB expected, {held[1] / 2**20:.0f} MiB held")

    computing_memory.check_free = begin  # type: ignore[assignment]  # a probe in its place
    keep_memory()
    code = main(words)
    print(f"exit code {code}, {(status('VmHWM') - held[1]) / 2**20:.0f} MiB taken")


if __name__ == "__main__":
    measure(sys.argv[1:])
