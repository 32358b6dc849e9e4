"""How much memory is free: the least of what the system, a container or job, and `ulimit -v` leave."""

import ctypes
import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from unweight.core.errors import TooLargeError

MEMINFO = Path("/proc/meminfo")
STATM = Path("/proc/self/statm")
MEMBERSHIP = Path("/proc/self/cgroup")
GROUPS = Path("/sys/fs/cgroup")
REMEDY = "Free some memory, raise the limit of the job, or crop or split the image."
# Limit, use, and the line of `memory.stat` for what of it the system would give up, in versions 2 and 1.
VERSION_2 = ("memory.max", "memory.current", "inactive_file")
VERSION_1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def free_bytes() -> int:
    """Return the memory that is free, or that a container, a batch job or a limit leaves [byte]."""
    left = [*_system(), *_groups(), *_address_space()]
    return max(0, min(left, default=os.sysconf("SC_PHYS_PAGES") * _page()))


def check_free(needed: float, what: str, path: Path | None = None, remedy: str = REMEDY) -> None:
    """Refuse what needs more memory than is free.

    Args:
        needed: [byte].
        what: Needs it, for the message.
        path: The file concerned.
        remedy: What the reader can do about it.

    Raises:
        TooLargeError: There is less.
    """
    if is_free(needed):
        return
    free = free_bytes()
    raise TooLargeError(
        f"{what} needs {needed / 2**30:.3g} GiB of memory, and {free / 2**30:.3g} GiB are free",
        remedy=remedy,
        path=path,
    )


def is_free(needed: float) -> bool:
    """Whether so much memory [byte] is free, at the latest when the C library gave back what it kept."""
    if needed <= free_bytes():
        return True
    _return_unused()
    return needed <= free_bytes()


def _return_unused() -> None:
    """Give memory that this process freed and its C library kept back to the system (glibc alone can)."""
    if sys.platform.startswith("linux"):
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def _system() -> Iterator[int]:
    """Give what the system could give without swapping, where it says so."""
    for line in _lines(MEMINFO):
        if line.startswith("MemAvailable:"):
            yield 1024 * int(line.split()[1])


def _groups() -> Iterator[int]:
    """Give what each control group that this process belongs to leaves, up to the root."""
    for line in _lines(MEMBERSHIP):
        _, controllers, way = line.split(":", 2)
        if "memory" in controllers.split(","):
            root, names = GROUPS / "memory", VERSION_1
        elif not controllers:
            root, names = GROUPS, VERSION_2
        else:
            continue
        # Within a container the way is often that on the host, and the files lie at the root.
        own = root / way.lstrip("/")
        for folder in dict.fromkeys(
            (own, *(parent for parent in own.parents if parent.is_relative_to(root)), root)
        ):
            yield from _left_by(folder, *names)


def _left_by(folder: Path, limit: str, usage: str, reclaimable: str) -> Iterator[int]:
    """Give what one group leaves; nothing if it has no limit."""
    most, used = _number(folder / limit), _number(folder / usage)
    if not most:
        return
    for line in _lines(folder / "memory.stat"):
        if line.startswith(f"{reclaimable} "):
            used -= int(line.split()[1])
    yield max(0, most - max(0, used))


def _address_space() -> Iterator[int]:
    """Give what the limit of this process leaves (`ulimit -v`), if it has one."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        used = next((int(line.split()[0]) * _page() for line in _lines(STATM)), 0)
        yield max(0, limit - used + _unused())


class _Heap(ctypes.Structure):
    """`struct mallinfo2` of glibc: ten numbers, of which the ninth is the space that is free."""

    _fields_: ClassVar = [(name, ctypes.c_size_t) for name in (*"abcdefgh", "fordblks", "keepcost")]


def _unused() -> int:
    """Return how much address space of the heap is free, for what the process asks for next [byte]."""
    if not sys.platform.startswith("linux"):
        return 0
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallinfo2"):
        return 0
    library.mallinfo2.restype = _Heap
    return int(library.mallinfo2().fordblks)


def _number(path: Path) -> int:
    """Return the number in a file; 0 if there is none, as in `max`."""
    text = next(iter(_lines(path)), "").strip()
    return int(text) if text.isdigit() else 0


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _page() -> int:
    return os.sysconf("SC_PAGE_SIZE")
