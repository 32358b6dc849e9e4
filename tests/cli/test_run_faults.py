"""A run that is hit while it works: workers, the whole run, or the scheduler are killed."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.cli import poisoned_worker
from tests.cli.processes import workers_of
from tests.cli.test_run import PROGRAM, WORDS, call, steps
from tests.run.trees import content_of, write_study
from unweight.cli.study import run as module
from unweight.run.record import State, records_of

pytestmark = pytest.mark.slow
SUBJECTS, KILLS = 30, 4
PATIENCE = 300.0
DASK = "distributed.cli.dask_"


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("faults") / "bids", SUBJECTS)


@pytest.fixture(scope="module")
def expected(raw: Path) -> Mapping[str, bytes]:
    """What a run makes that nothing disturbs."""
    out = raw.with_name("undisturbed")
    assert call(raw, out, "--quiet") == 0
    return made(out)


def made(out: Path) -> Mapping[str, bytes]:
    """Return what was made, but for locks and what killed processes left, which the next ones remove."""
    return {
        name: content
        for name, content in content_of(out).items()
        if not name.endswith(".unfinished") and "locks" not in name and name != "dataset_description.json"
    }


def start(raw: Path, out: Path, *more: str) -> "subprocess.Popen[str]":
    """Start a run in a session of its own, so that all its processes can be ended together."""
    words = [*PROGRAM, str(raw), str(out), "participant", *WORDS, *more]
    return subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def complete(out: Path) -> int:
    return sum(one.state is State.COMPLETE for one in records_of(out))


def wait_until(reached: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    since = time.monotonic()
    while not reached():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() - since < PATIENCE
        time.sleep(0.05)


def test_workers_that_are_killed_are_replaced(
    raw: Path, expected: Mapping[str, bytes], tmp_path: Path
) -> None:
    run = start(raw, tmp_path, "--workers", "2")
    for kill in range(KILLS):
        wait_until(lambda least=5 * kill + 1: complete(tmp_path) >= least, run)  # type: ignore[misc]
        workers = workers_of(run.pid)
        assert workers
        os.kill(workers[kill % len(workers)], signal.SIGKILL)
    said, _ = run.communicate(timeout=PATIENCE)
    assert run.returncode == 0, said
    # What was complete when its worker died, and was not told yet, is found so by the next one.
    count = re.search(r"(\d+) steps done, (\d+) were complete before, 0 failed", said)
    assert count is not None and int(count[1]) + int(count[2]) == SUBJECTS and int(count[2]) <= KILLS, said
    assert made(tmp_path) == expected


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_subject_that_kills_its_worker_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], workers: str
) -> None:
    monkeypatch.setattr(module, "work", poisoned_worker.work)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    raw, out = write_study(tmp_path / "bids", 4), tmp_path / "maps"
    assert call(raw, out, "--workers", workers) == 1
    shown = capsys.readouterr()
    assert "3 steps done, 0 were complete before, 1 failed" in shown.out
    assert "sub-02_t1: its process ended 3 times" in shown.err
    assert steps(out) == {f"sub-0{n}_t1": State.FAILED if n == 2 else State.COMPLETE for n in range(1, 5)}
    monkeypatch.undo()
    assert call(raw, out, "--quiet") == 0  # with a worker that does not die


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_run_that_was_killed_goes_on_where_it_was(
    raw: Path, expected: Mapping[str, bytes], tmp_path: Path, workers: str
) -> None:
    run = start(raw, tmp_path, "--workers", workers)
    wait_until(lambda: complete(tmp_path) >= 4, run)
    os.killpg(run.pid, signal.SIGKILL)
    run.communicate(timeout=PATIENCE)
    before = complete(tmp_path)
    assert 4 <= before < SUBJECTS
    again = start(raw, tmp_path, "--workers", workers)
    said, _ = again.communicate(timeout=PATIENCE)
    assert again.returncode == 0, said
    assert f"{SUBJECTS - before} steps done, {before} were complete before, 0 failed" in said
    assert made(tmp_path) == expected


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Give words by which the programs of Dask take a certificate, and name it in the settings of Dask."""
    module = pytest.importorskip("unweight.run.cluster")
    with module.certificates(tmp_path) as made:
        files = (made.tls_ca_file, made.tls_client_cert, made.tls_client_key)
        for name, file in zip(("CA_FILE", "CLIENT__CERT", "CLIENT__KEY"), files, strict=True):
            monkeypatch.setenv(f"DASK_DISTRIBUTED__COMM__TLS__{name}", file)
        options = ("--tls-ca-file", "--tls-cert", "--tls-key")
        yield [word for pair in zip(options, files, strict=True) for word in pair]


@pytest.fixture
def cluster(tmp_path: Path, certificate: list[str]) -> Iterator["tuple[str, Callable[[], ExitStack]]"]:
    """Give an address on this machine, and what starts a scheduler and two workers there."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"tls://127.0.0.1:{port}"
    running = []

    def begin() -> ExitStack:
        here = ("--host", "127.0.0.1", "--protocol", "tls", *certificate)
        scheduler = ("scheduler", *here, "--port", str(port), "--dashboard-address", "127.0.0.1:0")
        worker = ("worker", address, *here, "--nthreads", "1", "--no-dashboard", "--no-nanny")
        stack = ExitStack()
        for kind, *words in (scheduler, worker, worker):
            process = subprocess.Popen(
                [sys.executable, "-m", f"{DASK}{kind}", *words],
                cwd=tmp_path,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
        running.append(stack)
        return stack

    yield address, begin
    for stack in running:
        stack.close()


def test_a_scheduler_that_goes_away_and_comes_back(
    raw: Path,
    expected: Mapping[str, bytes],
    tmp_path: Path,
    cluster: "tuple[str, Callable[[], ExitStack]]",
) -> None:
    address, begin = cluster
    out = tmp_path / "maps"
    first = begin()
    run = start(raw, out, "--scheduler", address)
    wait_until(lambda: complete(out) >= 3, run)
    first.close()
    assert complete(out) < SUBJECTS
    assert run.poll() is None
    begin()
    said, _ = run.communicate(timeout=PATIENCE)
    assert run.returncode == 0, said
    assert made(out) == expected
