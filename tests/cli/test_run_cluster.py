"""`unweight run --cluster` on a batch system of two scripts: what it opens, and whom it serves."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.processes import listeners, need_proc
from tests.cli.test_run import PROGRAM, WORDS, call, study
from tests.run.trees import write_study

pytest.importorskip("dask_jobqueue")
pytest.importorskip("cryptography")
pytestmark = pytest.mark.slow
PATIENCE = 300.0
SBATCH = """#!/bin/sh
cp "$1" {folder}/job-$$.sh
setsid sh {folder}/job-$$.sh > {folder}/job-$$.log 2>&1 &
echo $! >> {folder}/jobs
echo "Submitted batch job $!"
"""
SCANCEL = """#!/bin/sh
for job in "$@"; do kill -TERM -- "-$job"; done
"""
# What another account may try: Dask as it comes, without the certificate and with one of its own.
ATTACK = """
import sys
from pathlib import Path
from distributed import Client, Security
for security, scheme in ((None, "tcp"), (Security.temporary(), "tls")):
    try:
        client = Client(sys.argv[1].replace("tls", scheme, 1), security=security, timeout=3)
        client.run_on_scheduler(Path(sys.argv[2]).touch)
    except OSError:
        continue
    sys.exit("let in")
print("refused")
"""


@pytest.fixture
def batch_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give the folder of a batch system that starts each job on this machine at once."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    for name, script in (("sbatch", SBATCH.format(folder=folder)), ("scancel", SCANCEL)):
        (folder / name).write_text(script)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    yield folder
    for job in jobs(folder):
        subprocess.run(["kill", "-KILL", "--", f"-{job}"], capture_output=True, check=False)


def jobs(folder: Path) -> list[int]:
    path = folder / "jobs"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def processes_of(folder: Path) -> list[int]:
    """Return the processes of all jobs, which have the sessions of their first ones."""
    sessions = set(jobs(folder))
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if int((path / "stat").read_text().rpartition(")")[2].split()[3]) in sessions:
                found.append(int(path.name))
        except (OSError, ValueError):
            continue
    return found


def other_account() -> list[str]:
    """Return the words that have another account run a command; none where it could not load Dask."""
    words = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--"]
    trial = [*words, sys.executable, "-c", "import distributed"]
    able = (
        shutil.which("setpriv") and not subprocess.run(trial, capture_output=True, check=False).returncode
    )
    return words if able else []


def attack(address: str, note: Path) -> str:
    """Try to have code run by a scheduler, as another account where this one may become it."""
    words = [*other_account(), sys.executable, "-c", ATTACK, address, str(note)]
    done = subprocess.run(words, capture_output=True, text=True, cwd="/", check=False)
    return done.stdout.strip() or done.stderr


def greeting(port: int) -> bytes:
    """Return what a server of pages, or of Dask without encryption, would answer."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as stream:
        stream.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return stream.recv(100)
    return b""


def test_a_batch_system_serves_its_run_alone(tmp_path: Path, batch_system: Path) -> None:
    need_proc()
    raw, out = write_study(tmp_path / "bids", 24), tmp_path / "the maps"
    words = [*PROGRAM, str(raw), str(out), "participant", *WORDS, "--cluster", "slurm", "--workers", "2"]
    run = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        until = time.monotonic() + PATIENCE
        while not list(out.glob("logs/steps/*.json")):
            assert run.poll() is None, run.communicate()[0]
            assert time.monotonic() < until
            time.sleep(0.05)
        run.send_signal(signal.SIGSTOP)  # nothing ends while this looks around
        scheduler, of_jobs = listeners([run.pid]), listeners(processes_of(batch_system))
        assert {greeting(one.port) for one in of_jobs} == {b""}
        run.send_signal(signal.SIGCONT)
        (door,) = scheduler
        address = f"tls://{door.address}:{door.port}"
        note = tmp_path / "code-ran"
        tmp_path.chmod(0o777)
        assert attack(address, note) == "refused" and not note.exists()
        said, _ = run.communicate(timeout=PATIENCE)
    finally:
        if run.poll() is None:
            run.kill()
            run.communicate()
    assert run.returncode == 0, said
    assert "Warning" not in said and not list(out.glob("logs/.tls-*"))
    # Each job has a worker and what restarts it, on one port of their own each.
    assert all(one.protocol in ("tcp", "tcp6") for one in of_jobs)
    assert 2 <= len({one.port for one in of_jobs}) <= 4
    here = tmp_path / "here"
    assert call(raw, here, "--quiet") == 0
    assert study(out) == study(here)
