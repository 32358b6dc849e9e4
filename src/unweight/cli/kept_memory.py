"""Memory that is asked for again and again is kept, not given back to the system each time.

Whole-head arrays are made and dropped hundreds of times in one command. The GNU C library hands blocks of
their size back at once, and the system clears every page anew when the next one is asked for: a sixth to a
half of the time of `unweight qsm`. With a heap that grows instead, pages stay. Where there is another C
library nothing changes.
"""

import ctypes
import sys

# Of mallopt(3): give memory at the end of the heap back, and blocks that are mapped one by one.
TRIM_THRESHOLD, MMAP_MAX = -1, -4
NEVER = 2**31 - 1


def keep_memory() -> bool:
    """Ask the C library to keep memory for this process; return whether it agreed."""
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallopt"):
        return False
    return all(library.mallopt(*one) == 1 for one in ((TRIM_THRESHOLD, NEVER), (MMAP_MAX, 0)))
