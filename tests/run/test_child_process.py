"""A worker that is at work ends when the process that started it is killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.processes import left_after, need_proc
from unweight.run import child_process

BUSY = """
import os, pathlib, time
pathlib.Path({note!r}).write_text(str(os.getpid()))
while True:
    sum(range(1000))
"""
PARENT = """
import os, subprocess, sys, time
subprocess.Popen([sys.executable, "-m", {module!r}, str(os.getpid()), "busy_worker"], stdin=subprocess.PIPE)
time.sleep(60)
"""
ELSEWHERE = """
import sys
from unweight.run import child_process
child_process._ended_by_the_system = lambda: False
child_process.end_with(int(sys.argv[1]))
import busy_worker
"""


@pytest.mark.parametrize("system", ["linux", "elsewhere"])
def test_a_busy_process_ends_with_its_killed_parent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: str
) -> None:
    need_proc()
    note = tmp_path / "note"
    (tmp_path / "busy_worker.py").write_text(BUSY.format(note=str(note)))
    (tmp_path / "elsewhere.py").write_text(ELSEWHERE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    module = child_process.__name__ if system == "linux" else "elsewhere"
    parent = subprocess.Popen([sys.executable, "-c", PARENT.format(module=module)])
    until = time.monotonic() + 30
    while not note.exists() or not note.read_text():
        assert time.monotonic() < until
        time.sleep(0.02)
    child = int(note.read_text())
    assert left_after([child], 0.2) == [child]
    parent.kill()
    parent.wait()
    assert left_after([child], 2.0) == []


@pytest.mark.parametrize("by_the_system", [True, False])
def test_a_process_whose_parent_has_gone_before_ends_at_once(by_the_system: bool) -> None:
    program = (
        "from unweight.run import child_process as module\n"
        f"module._ended_by_the_system = lambda: {by_the_system}\n"
        f"module.end_with({2**31 - 1})\n"
        "import time; time.sleep(30)"
    )
    ended = subprocess.run([sys.executable, "-c", program], timeout=20, check=False)
    assert ended.returncode == -signal.SIGKILL


def test_an_interrupt_is_for_the_parent_to_act_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C reaches every process of a terminal; a worker would take it for a step that failed."""
    (tmp_path / "interrupted.py").write_text("import os; os.kill(os.getpid(), 2); print('went on')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    words = [sys.executable, "-m", child_process.__name__, str(os.getpid()), "interrupted"]
    ended = subprocess.run(words, capture_output=True, text=True, check=True)
    assert ended.stdout == "went on\n"
