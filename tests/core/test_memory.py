import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from unweight.core import memory
from unweight.core.errors import InputError, TooLargeError
from unweight.core.memory import check_free, free_bytes

GIB = 2**30


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for /proc and /sys of a machine with 8 GiB available."""
    for name in ("MEMINFO", "STATM", "MEMBERSHIP", "GROUPS"):
        monkeypatch.setattr(memory, name, tmp_path / name)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    (tmp_path / "MEMINFO").write_text("MemTotal: 16777216 kB\nMemAvailable: 8388608 kB\n")
    return tmp_path


def group(machine: Path, way: str, **values: str) -> None:
    folder = machine / "GROUPS" / way
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in values.items():
        (folder / name.replace("memory_", "memory.")).write_text(text)


def test_there_is_some_and_not_more_than_the_machine_has() -> None:
    assert 2**20 < free_bytes() <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_what_the_system_has_available(machine: Path) -> None:
    """`man 5 proc`: MemAvailable is in units of 1024 bytes."""
    assert free_bytes() == 8 * GIB


def test_a_group_of_version_2_leaves_its_limit_less_its_use_without_the_page_cache(machine: Path) -> None:
    (machine / "MEMBERSHIP").write_text("0::/job/step\n")
    group(machine, "job/step", memory_max="max\n", memory_current=f"{GIB}\n")
    assert free_bytes() == 8 * GIB
    group(machine, "job", memory_max=f"{4 * GIB}\n", memory_current=f"{3 * GIB}\n")
    assert free_bytes() == GIB
    group(machine, "job", memory_stat=f"anon 1\ninactive_file {GIB}\n")
    assert free_bytes() == 2 * GIB


def test_a_group_of_version_1_and_one_whose_way_is_that_of_the_host(machine: Path) -> None:
    (machine / "MEMBERSHIP").write_text("3:cpu,cpuacct:/x\n2:memory:/slurm/job_1\n0::/\n")
    group(machine, "memory", memory_limit_in_bytes=f"{2**63 - 4096}", memory_usage_in_bytes=f"{GIB}")
    assert free_bytes() == 8 * GIB
    group(machine, "memory/slurm/job_1", memory_limit_in_bytes=f"{3 * GIB}", memory_usage_in_bytes="0")
    assert free_bytes() == 3 * GIB
    group(machine, "memory", memory_limit_in_bytes=f"{2 * GIB}", memory_usage_in_bytes=f"{GIB}")
    assert free_bytes() == GIB


def test_the_root_of_a_container_counts_where_its_own_group_is_not_seen(machine: Path) -> None:
    (machine / "MEMBERSHIP").write_text("0::/../../elsewhere\n")
    group(machine, "", memory_max=f"{2 * GIB}", memory_current=f"{3 * GIB}")
    assert free_bytes() == 0


def test_a_limit_of_the_address_space(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (machine / "STATM").write_text(f"{GIB // os.sysconf('SC_PAGE_SIZE')} 1 1 1 0 1 0\n")
    monkeypatch.setattr(memory, "_unused", lambda: 0)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (3 * GIB, 4 * GIB))
    assert free_bytes() == 2 * GIB
    monkeypatch.setattr(memory, "_unused", lambda: GIB // 2)  # within what the process has
    assert free_bytes() == 2.5 * GIB


def test_a_limit_of_a_real_process() -> None:
    code = "from unweight.core.memory import free_bytes; print(free_bytes())"
    call = f"ulimit -v {2**20}; exec {sys.executable} -c '{code}'"
    said = subprocess.run(["sh", "-c", call], capture_output=True, text=True, check=True).stdout
    assert 0.5 * GIB < int(said) < GIB


def test_where_nothing_tells_it_is_all(machine: Path) -> None:
    (machine / "MEMINFO").unlink()
    assert free_bytes() == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_more_than_is_free_is_refused_with_both_numbers(machine: Path) -> None:
    check_free(8 * GIB, "it")
    with pytest.raises(TooLargeError, match=r"reading it needs 9 GiB of memory, and 8 GiB are free"):
        check_free(9 * GIB, "reading it", Path("a.nii"))
    assert issubclass(TooLargeError, InputError) and TooLargeError.exit_code == 1


HEAP = """
import numpy as np
from pathlib import Path
from unweight.cli.process import keep_memory
from unweight.core.memory import free_bytes, is_free
def resident():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
kept = keep_memory()
free, before = free_bytes(), resident()
array, last = np.ones(2**28, np.uint8), np.ones(2**10, np.uint8)
del array
after = resident()
print(int(kept), free - free_bytes(), after - before, is_free(2**60), resident() - before)
"""


def test_what_a_process_freed_and_kept_counts_as_free() -> None:
    """The C library keeps it (`kept_memory`), so neither the system nor `ulimit -v` sees it as free."""
    call = ["sh", "-c", f'ulimit -v {2**22}; exec "$0" -c "$1"', sys.executable, HEAP]
    said = subprocess.run(call, capture_output=True, text=True, check=True).stdout.split()
    if said[0] != "1":
        pytest.skip("another C library than that of GNU")
    assert abs(int(said[1])) < 2**24  # of the address space
    assert int(said[2]) > 0.9 * 2**28  # still with the process
    assert said[3] == "False" and int(said[4]) < 2**25  # given back before anything is refused
