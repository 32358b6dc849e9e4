import os
from pathlib import Path

import pytest

from unweight.run import memory
from unweight.run.memory import free_bytes


@pytest.fixture
def limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that tells the limit of a container."""
    path = tmp_path / "memory.max"
    monkeypatch.setattr(memory, "LIMITS", (path, tmp_path / "none"))
    monkeypatch.setattr(memory, "_available", lambda: 8 * 2**30)
    return path


def test_there_is_some_and_not_more_than_the_machine_has() -> None:
    assert 2**20 < free_bytes() <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_a_container_leaves_less(limit: Path) -> None:
    assert free_bytes() == 8 * 2**30
    limit.write_text(f"{2**30}\n")
    assert free_bytes() == 2**30
    limit.write_text(f"{2**40}\n")
    assert free_bytes() == 8 * 2**30


@pytest.mark.parametrize("text", ["max\n", "", "-1", "0"])
def test_no_limit_is_none(limit: Path, text: str) -> None:
    limit.write_text(text)
    assert free_bytes() == 8 * 2**30


def test_where_nothing_tells_it_is_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "LIMITS", ())
    monkeypatch.setattr(memory, "_available", lambda: 0)
    assert free_bytes() == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_what_linux_calls_available() -> None:
    """`man 5 proc`: MemAvailable is at most MemTotal, in units of 1024 bytes."""
    path = Path("/proc/meminfo")
    if not path.exists():
        pytest.skip("this system has no /proc/meminfo")
    total = next(
        int(line.split()[1]) for line in path.read_text().splitlines() if line.startswith("MemTotal")
    )
    assert 0 < memory._available() <= 1024 * total
