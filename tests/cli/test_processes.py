"""The tests of doors must see a door that is open."""

import os
import socket
from pathlib import Path

from tests.cli.processes import Listener, left_after, listeners, need_proc, tree


def test_doors_that_are_open_are_seen(tmp_path: Path) -> None:
    need_proc()
    with socket.socket() as tcp, socket.socket(socket.AF_UNIX) as unix, socket.socket() as connected:
        tcp.bind(("127.0.0.1", 0))
        unix.bind(str(tmp_path / "door"))
        before = listeners([os.getpid()])
        tcp.listen()
        unix.listen()
        connected.connect(tcp.getsockname())
        new = listeners(tree(os.getpid())) - before
    port = tcp.getsockname()[1] if tcp.fileno() >= 0 else next(one.port for one in new if one.port)
    assert new == {Listener("tcp", "127.0.0.1", port), Listener("unix", str(tmp_path / "door"), 0)}


def test_processes_that_live_are_seen() -> None:
    need_proc()
    assert left_after([os.getpid()], 0) == [os.getpid()]
