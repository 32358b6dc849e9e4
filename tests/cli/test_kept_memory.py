import subprocess
import sys

import pytest

from unweight.cli import process as kept_memory

# In a process of its own: what is set stays set. A block of 64 MiB is made and dropped twenty times.
COUNT = """
import ctypes, resource, sys
from unweight.cli.process import keep_memory
agreed = keep_memory() if sys.argv[1] == "keep" else True
library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    block = library.malloc(ctypes.c_size_t(2**26))
    ctypes.memset(block, 1, 2**26)
    library.free(ctypes.c_void_p(block))
print(agreed, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(wish: str) -> int:
    ended = subprocess.run([sys.executable, "-c", COUNT, wish], capture_output=True, text=True, check=True)
    agreed, count = ended.stdout.split()
    if agreed != "True":
        pytest.skip("this C library has no mallopt")
    return int(count)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="of the GNU C library")
def test_pages_are_cleared_once_and_not_each_time() -> None:
    assert faults("keep") < 0.2 * faults("leave")


def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert kept_memory.keep_memory() is False
