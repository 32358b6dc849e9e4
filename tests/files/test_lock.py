import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from unweight.core.errors import OutputError
from unweight.files import lock
from unweight.files.lock import awaited, locked

HOLDER = """
import sys, time
from pathlib import Path
from unweight.files.lock import locked
with locked(Path(sys.argv[1]), wait=False) as held:
    print(held, flush=True)
    sys.stdin.readline()
"""


def holder(path: Path) -> "subprocess.Popen[bytes]":
    """Start a process that holds a lock until it is told to end."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"True\n"
    return process


def taken(path: Path) -> bool:
    with locked(path, wait=False) as held:
        return held


def test_one_process_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.lock"
    with holder(path) as process:
        assert not taken(path)
        assert taken(tmp_path / "new" / "b.lock")
        process.communicate(b"\n")
    assert taken(path)
    assert path.read_bytes() == b""


def test_a_killed_holder_gives_the_lock_back(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    with holder(path) as process:
        assert not taken(path)
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        assert taken(path)


def test_who_waits_gets_it_when_it_is_free(tmp_path: Path) -> None:
    path, order = tmp_path / "a.lock", []

    def wait() -> None:
        with locked(path, wait=True) as held:
            order.append(("second", held))

    other = threading.Thread(target=wait)
    with locked(path, wait=False) as held:
        assert held
        other.start()
        time.sleep(0.1)
        order.append(("first", held))
    other.join(10)
    assert order == [("first", True), ("second", True)]


def test_the_lock_is_given_back_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked(tmp_path / "a.lock", wait=False):
        raise ZeroDivisionError
    assert taken(tmp_path / "a.lock")


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "a.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match=r"a\.lock: cannot be made"):
        taken(tmp_path / "a.lock")
    assert not (tmp_path / "elsewhere").exists()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="Choose a folder you may write to"):
        taken(tmp_path / "file" / "a.lock")


def test_a_file_system_without_locks_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(OutputError, match="the file system does not support locks") as caught:
        taken(tmp_path / "a.lock")
    assert "one run at a time" in caught.value.remedy


def test_a_lock_on_results_is_gone_with_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "sub-01" / ".lock"
    with awaited(path, "sub-01"):
        assert path.read_bytes() == b""
    assert not path.exists()
    with holder(path) as process:  # which leaves its file
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    assert path.exists()
    with awaited(path, "sub-01"):
        assert not taken(path)
    assert not path.exists()


def test_who_waits_says_so_and_gives_up_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lock, "LONGEST_WAIT", 0.3)
    with awaited(tmp_path / ".lock", "sub-01"):
        with (
            pytest.raises(
                OutputError, match=r"held by another process, which has written sub-01"
            ) as caught,
            awaited(tmp_path / ".lock", "sub-01"),
        ):
            pytest.fail("two hold it")
        assert caught.value.exit_code == 3
        assert caplog.messages == ["sub-01: another process is writing there; waiting"]
        assert not taken(tmp_path / ".lock")


def test_many_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "PAUSE", 0.001)
    inside, most = [0], [0]

    def work() -> None:
        for _ in range(20):
            with awaited(tmp_path / ".lock", "sub-01"):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                time.sleep(0.0005)
                inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert most == [1]
    assert list(tmp_path.iterdir()) == []


def test_results_are_written_where_there_are_no_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with awaited(tmp_path / ".lock", "sub-01"):
        assert "gives no locks" in caplog.text


def test_a_link_where_the_lock_of_results_belongs_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / ".lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match="cannot be made"), awaited(tmp_path / ".lock", "sub-01"):
        pytest.fail("it was followed")
    assert not (tmp_path / "elsewhere").exists()
