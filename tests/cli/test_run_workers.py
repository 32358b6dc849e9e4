"""Workers of one machine: nobody else reaches them, Dask is not loaded, and none outlives its run."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.processes import left_after, listeners, need_proc, tree, workers_of
from tests.cli.test_run import PROGRAM, WORDS
from tests.run.trees import write_study

PATIENCE = 300.0
NOBODY = "65534"
ABSENT = ("dask", "distributed", "dask_jobqueue", "tornado", "cloudpickle")


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("workers") / "bids", 12)


@contextmanager
def working(raw: Path, out: Path, workers: int, path: Path) -> Iterator["subprocess.Popen[str]"]:
    """Give a run whose workers are all at work; a module of `path` comes before those installed."""
    run = subprocess.Popen(
        [*PROGRAM, str(raw), str(out), "participant", *WORDS, "--workers", str(workers)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(path), os.environ.get("PYTHONPATH", "")])},
    )
    try:
        until = time.monotonic() + PATIENCE
        while len(workers_of(run.pid)) < workers or not list(out.glob("logs/steps/*.json")):
            assert run.poll() is None, run.communicate()[0]
            assert time.monotonic() < until
            time.sleep(0.05)
        yield run
    finally:
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
            run.communicate()


def denied_to_others(process: int) -> bool:
    """Whether another account can open the pipes by which a worker is asked."""
    setpriv = shutil.which("setpriv")
    words = [setpriv or "", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "--"]
    if setpriv is None or subprocess.run([*words, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no right to act as another account here (setpriv, as root)")
    for handle in (0, 1):
        tried = subprocess.run(
            [*words, "sh", "-c", f"exec 3<>/proc/{process}/fd/{handle}"],
            capture_output=True,
            text=True,
            check=False,
        )
        if tried.returncode == 0 or "Permission denied" not in tried.stderr:
            return False
    return True


def test_two_workers_listen_nowhere_and_end_when_the_run_is_asked_to(raw: Path, tmp_path: Path) -> None:
    need_proc()
    for name in ABSENT:
        (tmp_path / f"{name}.py").write_text("raise ImportError('not installed')\n")
    with working(raw, tmp_path / "maps", 2, tmp_path) as run:
        processes = tree(run.pid)
        assert len(processes) == 3
        assert listeners(processes) == set()
        run.send_signal(signal.SIGTERM)
        assert left_after(processes[1:], 2.0) == []
        said, _ = run.communicate()
    assert run.returncode == 130, said
    assert "interrupted" in said and "Traceback" not in said


@pytest.mark.slow
def test_another_account_cannot_ask_a_worker(raw: Path, tmp_path: Path) -> None:
    need_proc()
    with working(raw, tmp_path / "maps", 2, tmp_path) as run:
        assert all(denied_to_others(worker) for worker in workers_of(run.pid))


@pytest.mark.slow
@pytest.mark.parametrize("ended_by", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("workers", [1, 2])
def test_no_process_is_left_two_seconds_after_the_run_was_ended(
    raw: Path, tmp_path: Path, workers: int, ended_by: signal.Signals
) -> None:
    need_proc()
    with working(raw, tmp_path / "maps", workers, tmp_path) as run:
        processes = tree(run.pid)
        assert len(processes) == 1 + workers
        run.send_signal(ended_by)
        assert left_after(processes[1:], 2.0) == []
        run.communicate()
    assert run.returncode == (-signal.SIGKILL if ended_by == signal.SIGKILL else 130)


def test_commands_that_need_no_cluster_load_no_dask() -> None:
    program = "import sys, unweight.cli.study.run, unweight.cli.study.worker; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not set(ABSENT) & set(loaded.stdout.split())
