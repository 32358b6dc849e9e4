"""How much memory there is for the workers."""

import os
from pathlib import Path

LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def free_bytes() -> int:
    """Return the memory that is free, or that a container or a batch job leaves [byte]."""
    found = [_available(), *(_limit(path) for path in LIMITS)]
    return min([one for one in found if one > 0], default=os.sysconf("SC_PHYS_PAGES") * _page())


def _available() -> int:
    """Return what the system could give without swapping; 0 where it does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), 0)


def _limit(path: Path) -> int:
    try:
        text = path.read_text(encoding="ascii").strip()
    except OSError:
        return 0
    return int(text) if text.isdigit() else 0


def _page() -> int:
    return os.sysconf("SC_PAGE_SIZE")
