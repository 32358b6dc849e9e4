import errno
import gzip
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from unweight.core.errors import OutputError
from unweight.files import atomic
from unweight.files.atomic import (
    check_room,
    compressed,
    ending_later,
    fingerprint,
    write_bytes_atomic,
    write_together,
)

WRITER = """
import sys
from pathlib import Path
from unweight.files.atomic import write_together
folder = Path(sys.argv[1])
for version in range(1, 10**9):
    content = bytes([version % 250]) * 300_000
    write_together([(folder / f"{index}.bin", content) for index in range(4)])
    print(version, flush=True)
"""
LIMITED = """
import resource, sys
from pathlib import Path
from unweight.files.atomic import write_together
from unweight.core.errors import OutputError
folder = Path(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    write_together([(folder / "small.bin", b"new"), (folder / "large.bin", b"x" * 200_000)])
except OutputError as error:
    print(error)
    sys.exit(error.exit_code)
"""


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*")}


def test_a_set_of_files(tmp_path: Path) -> None:
    write_together([(tmp_path / "new" / "a", b"1"), (tmp_path / "b", b"2")])
    write_bytes_atomic(tmp_path / "b", b"3")
    assert (tmp_path / "new" / "a").read_bytes() == b"1"
    assert (tmp_path / "b").read_bytes() == b"3"
    assert names(tmp_path) == {"new", "a", "b"}


def test_files_get_the_permissions_the_user_asks_for(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        write_bytes_atomic(tmp_path / "a", b"1")
    finally:
        os.umask(old)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_compression_has_no_name_and_no_time() -> None:
    content = compressed(b"abc" * 1000)
    assert gzip.decompress(content) == b"abc" * 1000
    assert content == compressed(b"abc" * 1000)
    assert (
        fingerprint(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )  # FIPS 180-2


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EIO])
def test_a_fault_while_writing_leaves_the_older_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    files = [tmp_path / "a", tmp_path / "b", tmp_path / "c"]
    write_together([(path, b"old") for path in files])
    write_through = atomic._write_through

    def failing(path: Path, content: bytes) -> None:
        if ".c." in path.name:
            path.write_bytes(content[:1])
            raise OSError(code, os.strerror(code))
        write_through(path, content)

    monkeypatch.setattr(atomic, "_write_through", failing)
    with pytest.raises(OutputError, match=os.strerror(code)) as caught:
        write_together([(path, b"new") for path in files])
    assert caught.value.exit_code == 3
    assert caught.value.path == files[2]
    assert [path.read_bytes() for path in files] == [b"old"] * 3
    assert names(tmp_path) == {"a", "b", "c"}


def test_an_interrupt_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(atomic, "_rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_bytes_atomic(tmp_path / "a", b"1")
    assert names(tmp_path) == set()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="could not be written"):
        write_bytes_atomic(tmp_path / "file" / "a", b"1")


def test_what_killed_processes_left_is_removed_after_an_hour(tmp_path: Path) -> None:
    old, young = tmp_path / ".a.1.unfinished", tmp_path / ".a.2.unfinished"
    for path in (old, young):
        path.write_bytes(b"x")
    os.utime(old, (time.time() - 7200,) * 2)
    write_bytes_atomic(tmp_path / "a", b"1")
    assert names(tmp_path) == {"a", ".a.2.unfinished"}


def test_a_process_killed_while_writing_leaves_whole_files(tmp_path: Path) -> None:
    for attempt in range(12):
        folder = tmp_path / str(attempt)
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(0.003 * attempt)
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
        versions = []
        for index in range(4):
            content = (folder / f"{index}.bin").read_bytes()
            assert len(content) == 300_000
            assert len(set(content)) == 1
            versions.append(content[0])
        # the names are given in order, so a set is at most one version apart
        assert versions == sorted(versions, reverse=True)
        assert versions[0] - versions[-1] <= 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 kB, where this process may mount one."""
    mount = shutil.which("mount")
    folder = tmp_path / "disk"
    folder.mkdir()
    call = [mount or "mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if mount is None or subprocess.run(call, capture_output=True, check=False).returncode != 0:
        pytest.skip("no right to mount a small disk here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_leaves_the_older_set(small_disk: Path) -> None:
    files = [small_disk / "a", small_disk / "b", small_disk / "c"]
    write_together([(path, os.urandom(30_000)) for path in files])
    before = [path.read_bytes() for path in files]
    with pytest.raises(OutputError, match="No space left on device") as caught:
        write_together([(path, os.urandom(80_000)) for path in files])
    assert "Free some space" in caught.value.remedy
    assert [path.read_bytes() for path in files] == before
    assert names(small_disk) == {"a", "b", "c"}


def test_a_limit_on_file_size_leaves_the_older_set(tmp_path: Path) -> None:
    write_together([(tmp_path / name, b"old") for name in ("small.bin", "large.bin")])
    done = subprocess.run([sys.executable, "-c", LIMITED, str(tmp_path)], capture_output=True, check=False)
    assert done.returncode == 3, done.stderr
    assert b"File too large" in done.stdout
    assert [(tmp_path / name).read_bytes() for name in ("small.bin", "large.bin")] == [b"old"] * 2
    assert names(tmp_path) == {"small.bin", "large.bin"}


def test_room_is_tried_and_nothing_left(small_disk: Path) -> None:
    check_room(small_disk, small_disk / "sub-01" / "anat", 1000)
    with pytest.raises(OutputError, match="No space left on device"):
        check_room(small_disk, small_disk / "sub-01" / "anat", 300_000)
    with pytest.raises(OutputError, match="No space left on device"):
        check_room(small_disk / "new", small_disk / "new" / "sub-01", 300_000)
    assert names(small_disk) == set()


def test_there_is_no_room_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"")
    with pytest.raises(OutputError, match="could not be written"):
        check_room(tmp_path / "out", tmp_path / "out" / "sub-01", 10)


def test_a_request_to_end_waits_for_the_end_of_the_block() -> None:
    done = []
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # libraries put their own there
    try:
        with pytest.raises(KeyboardInterrupt), ending_later():
            signal.raise_signal(signal.SIGINT)
            done.append(True)
        assert done == [True]
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
