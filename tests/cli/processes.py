"""What the system says of processes: who started whom, what lives, and which sockets are open where."""

import ipaddress
import struct
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PROC = Path("/proc")
LISTENING, ACCEPTS = "0A", 0x10000  # of include/net/tcp_states.h, and __SO_ACCEPTCON of net/unix.h


@dataclass(frozen=True)
class Listener:
    """An open door: protocol, and address (or path) and port."""

    protocol: str
    address: str
    port: int


def need_proc() -> None:
    if not (PROC / "self" / "stat").exists():
        pytest.skip("this system has no /proc that tells of processes")


def _parents() -> dict[int, int]:
    found = {}
    for folder in PROC.glob("[0-9]*"):
        try:
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
        except (OSError, ValueError):
            continue
        if state != "Z":
            found[int(folder.name)] = int(parent)
    return found


def tree(process: int) -> list[int]:
    """Return a process and all that descend from it."""
    parents, found = _parents(), [process]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found


def words_of(process: int) -> bytes:
    try:
        return (PROC / str(process) / "cmdline").read_bytes()
    except OSError:
        return b""


def workers_of(process: int) -> list[int]:
    """Return the worker processes that a run has started."""
    return [one for one in tree(process)[1:] if b"unweight.run.child_process" in words_of(one)]


def left_after(processes: Collection[int], seconds: float) -> list[int]:
    """Return which of the processes are still there after some time, or none as soon as all have ended."""
    until = time.monotonic() + seconds
    while (left := [one for one in processes if one in _parents()]) and time.monotonic() < until:
        time.sleep(0.02)
    return left


def listeners(processes: Collection[int]) -> set[Listener]:
    """Return where any of the processes listens: TCP and Unix sockets, and UDP sockets that are bound."""
    inodes = {inode for one in processes for inode in _sockets(one)}
    return {listener for inode, listener in _all_listeners() if inode in inodes}


def _sockets(process: int) -> Iterator[str]:
    try:
        for handle in (PROC / str(process) / "fd").iterdir():
            target = str(handle.readlink())
            if target.startswith("socket:["):
                yield target[8:-1]
    except OSError:
        return


def _all_listeners() -> Iterator[tuple[str, Listener]]:
    for protocol in ("tcp", "tcp6", "udp", "udp6"):
        for line in _lines(PROC / "net" / protocol):
            cells = line.split()
            address, port = cells[1].split(":")
            if protocol.startswith("udp") or cells[3] == LISTENING:
                yield cells[9], Listener(protocol, _address(address), int(port, 16))
    for line in _lines(PROC / "net" / "unix"):
        cells = line.split()
        if int(cells[3], 16) & ACCEPTS:
            yield cells[6], Listener("unix", cells[7] if len(cells) > 7 else "", 0)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()[1:]
    except OSError:
        return []


def _address(text: str) -> str:
    """Return an address that the kernel prints as words of the machine's byte order."""
    words = [int(text[at : at + 8], 16) for at in range(0, len(text), 8)]
    return str(ipaddress.ip_address(b"".join(struct.pack("=I", word) for word in words)))
