"""Three hosts in network namespaces: a scheduler, and two workers of which one loses its link."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

HOSTS = ("uwa", "uwb", "uwc")
BRIDGE = "uwbr"
ADDRESS = "tcp://10.77.0.1:8786"
FAST = {
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "15s",
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "15s",
    "OMP_NUM_THREADS": "1",
}


def ip(*words: str) -> None:
    subprocess.run(("ip", *words), check=True, capture_output=True)


@contextlib.contextmanager
def hosts() -> Iterator[None]:
    """Make the hosts, or skip where this is not allowed."""
    try:
        ip("link", "add", BRIDGE, "type", "bridge")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("network namespaces need root and iproute2")
    try:
        ip("link", "set", BRIDGE, "up")
        for number, host in enumerate(HOSTS, start=1):
            ip("netns", "add", host)
            ip("link", "add", f"{host}0", "type", "veth", "peer", "name", f"{host}1")
            ip("link", "set", f"{host}1", "netns", host)
            ip("link", "set", f"{host}0", "master", BRIDGE)
            ip("link", "set", f"{host}0", "up")
            ip("-n", host, "addr", "add", f"10.77.0.{number}/24", "dev", f"{host}1")
            ip("-n", host, "link", "set", f"{host}1", "up")
            ip("-n", host, "link", "set", "lo", "up")
        yield
    finally:
        for host in HOSTS:
            subprocess.run(("ip", "netns", "del", host), capture_output=True, check=False)
            subprocess.run(("ip", "link", "del", f"{host}0"), capture_output=True, check=False)
        subprocess.run(("ip", "link", "del", BRIDGE), capture_output=True, check=False)


def on(host: str, *words: str) -> "subprocess.Popen[bytes]":
    """Start a Python module on a host."""
    return subprocess.Popen(
        ("ip", "netns", "exec", host, sys.executable, "-m", *words),
        env={**os.environ, **FAST},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def unplug(host: str) -> None:
    ip("link", "set", f"{host}0", "down")


def wait_for(found: Path, pattern: str, count: int, seconds: float) -> None:
    """Wait until so many files are there."""
    until = time.monotonic() + seconds
    while len(list(found.glob(pattern))) < count:
        assert time.monotonic() < until, f"only {len(list(found.glob(pattern)))} of {count} {pattern}"
        time.sleep(0.5)
