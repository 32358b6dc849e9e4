"""Workers of Dask on this machine, and the scripts of those on batch systems."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from distributed import LocalCluster

from tests.run.jobs import job_of
from unweight.core.errors import UsageError
from unweight.run import cluster as module
from unweight.run.cluster import BatchJob, Workers, batch_cluster, local_workers, quiet_dask, run_on
from unweight.run.job import Job, Outcome
from unweight.run.plan import Step, Task

pytest.importorskip("dask_jobqueue")
GIGA = 10**9


def job(subject: str, folder: Path) -> Job:
    step = Step(pipeline="t1", entities={"sub": subject}, inputs={})
    return job_of(subject, out=folder, task=Task(subject=subject, session="", steps=(step,)))


def trivial(text: str) -> str:
    """Note who was asked, and answer; the subject says what happens before."""
    asked = json.loads(text)
    subject, folder = asked["task"]["subject"], Path(asked["settings"]["out"])
    with (folder / f"asked-{subject}").open("a") as file:
        file.write(f"{os.getpid()} {asked['wait']}\n")
    again = len((folder / f"asked-{subject}").read_text().splitlines()) > 1
    if subject == "poison" or (subject == "once" and not again):
        os.kill(os.getpid(), 9)
    state = "busy" if subject == "shared" and not asked["wait"] else "done"
    return json.dumps([{"name": f"sub-{subject}_t1", "pipeline": "t1", "state": state}])


@pytest.fixture(scope="module")
def workers() -> Iterator[LocalCluster]:
    with quiet_dask(), local_workers(2, GIGA) as cluster:
        yield cluster


def carried_out(cluster: LocalCluster, folder: Path, subjects: Sequence[str]) -> dict[str, Outcome]:
    found: dict[str, Outcome] = {}

    def tell(_: Job, outcomes: tuple[Outcome, ...]) -> None:
        assert all(one.name not in found for one in outcomes)
        found.update({one.name: one for one in outcomes})

    with quiet_dask():
        run_on(Workers(scheduler=cluster), [job(one, folder) for one in subjects], trivial, tell)
    return found


def asked(folder: Path, subject: str) -> list[list[str]]:
    return [line.split() for line in (folder / f"asked-{subject}").read_text().splitlines()]


def test_all_is_done_in_other_processes(workers: LocalCluster, tmp_path: Path) -> None:
    subjects = [f"{n:02d}" for n in range(12)]
    found = carried_out(workers, tmp_path, subjects)
    assert {name: one.state for name, one in found.items()} == {f"sub-{one}_t1": "done" for one in subjects}
    processes = {line[0] for one in subjects for line in asked(tmp_path, one)}
    assert str(os.getpid()) not in processes
    assert all(len(asked(tmp_path, one)) == 1 for one in subjects)


def test_what_another_run_is_busy_with_is_asked_again_and_waits(
    workers: LocalCluster, tmp_path: Path
) -> None:
    found = carried_out(workers, tmp_path, ["01", "shared", "02"])
    assert [one.state for one in found.values()] == ["done"] * 3
    assert [line[1] for line in asked(tmp_path, "shared")] == ["False", "True"]


def test_a_worker_killed_over_a_visit_is_replaced(workers: LocalCluster, tmp_path: Path) -> None:
    found = carried_out(workers, tmp_path, ["01", "once", "02", "03"])
    assert [one.state for one in found.values()] == ["done"] * 4
    assert len(asked(tmp_path, "once")) == 2


def test_a_visit_that_always_kills_its_worker_does_not_stop_the_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "DASK", {**module.DASK, "distributed.scheduler.allowed-failures": 1})
    with quiet_dask(), local_workers(1, GIGA) as cluster:
        found = carried_out(cluster, tmp_path, ["01", "poison", "02", "03"])
    states = {name: one.state for name, one in found.items()}
    assert states.pop("sub-poison_t1") == "failed"
    assert states == dict.fromkeys(("sub-01_t1", "sub-02_t1", "sub-03_t1"), "done")
    assert found["sub-poison_t1"].reason == "its worker ended again and again"
    assert len(asked(tmp_path, "poison")) == 2


def test_more_deaths_are_allowed_than_steps_of_a_visit_may_cause() -> None:
    """`carry_out` gives a step up after three; a visit has six commands at most, most of one series."""
    assert module.DASK["distributed.scheduler.allowed-failures"] >= 3 * 6


def test_a_scheduler_that_stays_away_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(module, "DASK", {**module.DASK, "distributed.comm.timeouts.connect": "200ms"})
    with quiet_dask(), pytest.raises(UsageError, match="the scheduler went away") as caught:
        run_on(Workers(scheduler="tcp://127.0.0.1:9"), [job("01", tmp_path)], trivial, lambda *_: None)
    assert "what is complete is kept" in caught.value.remedy


def test_no_jobs_need_no_scheduler(tmp_path: Path) -> None:
    run_on(Workers(scheduler="tcp://127.0.0.1:9"), [], trivial, lambda *_: None)


def test_settings_of_dask_are_as_before_after_the_block() -> None:
    import dask

    with dask.config.set({"distributed.worker.memory.pause": 0.8}):
        with quiet_dask():
            assert dask.config.get("distributed.worker.memory.pause") is False
        assert dask.config.get("distributed.worker.memory.pause") == 0.8


# Batch systems.


def script(**asked_for: object) -> str:
    batch = BatchJob(system="slurm", gigabytes=4, **asked_for)  # type: ignore[arg-type]
    with quiet_dask(), batch_cluster(batch) as cluster:
        text = cluster.job_script()
    assert isinstance(text, str)
    return text


@pytest.fixture(scope="module")
def full_script() -> str:
    return script(
        walltime="02:00:00", queue="long", account="brain", gpu=True, directives=("--constraint=intel",)
    )


def test_slurm_script_asks_for_what_was_said(full_script: str) -> None:
    lines = full_script.splitlines()
    for line in ("-p long", "-A brain", "-t 02:00:00", "--gres=gpu:1", "--constraint=intel"):
        assert f"#SBATCH {line}" in lines
    assert "#SBATCH -n 1" in lines and "#SBATCH --cpus-per-task=1" in lines
    assert any(line.startswith("#SBATCH --mem=4G") for line in lines)
    assert "export OMP_NUM_THREADS=1" in lines
    assert "--nthreads 1" in full_script and "--resources GPU=1" in full_script
    checked = subprocess.run(["bash", "-n"], input=full_script, text=True, capture_output=True, check=False)
    assert checked.returncode == 0, checked.stderr


def lifetime_of(text: str) -> tuple[int, int]:
    words = text.split()
    return tuple(  # type: ignore[return-value]
        int(words[words.index(option) + 1].removesuffix("s"))
        for option in ("--lifetime", "--lifetime-stagger")
    )


def test_a_worker_ends_before_its_job_does(full_script: str) -> None:
    """Dask draws the lifetime from lifetime ± stagger; the batch system ends the job at its walltime."""
    lifetime, stagger = lifetime_of(full_script)
    assert lifetime - stagger >= 0.75 * 7200 and lifetime + stagger < 7200


@pytest.mark.parametrize(
    ("walltime", "seconds"), [("00:10:00", 600), ("100:00:00", 360_000), ("1-12:00:00", 129_600)]
)
def test_lifetime_follows_the_walltime(walltime: str, seconds: int) -> None:
    lifetime, stagger = (int(one.removesuffix("s")) for one in module._lifetime(walltime))
    assert 0.75 * seconds <= lifetime - stagger and lifetime + stagger < seconds


@pytest.mark.parametrize("walltime", ["4h", "30", "", "-1:00:00", "00:00:00", "1:2:3:4"])
def test_a_walltime_that_is_none_is_refused(walltime: str) -> None:
    with pytest.raises(UsageError, match="time") as caught:
        batch_cluster(BatchJob(system="slurm", gigabytes=4, walltime=walltime))
    assert "hours:minutes:seconds" in caught.value.remedy


@pytest.mark.parametrize("system", list(module.BATCH_SYSTEMS))
def test_every_batch_system_has_a_script(system: str) -> None:
    with quiet_dask(), batch_cluster(BatchJob(system=system, gigabytes=2)) as cluster:
        assert "dask" in cluster.job_script()


@pytest.mark.parametrize(
    ("system", "word"), [("pbs", "-A brain"), ("sge", "-P brain"), ("lsf", "-P brain")]
)
def test_every_batch_system_has_its_own_words(system: str, word: str) -> None:
    batch = BatchJob(system=system, gigabytes=2, queue="long", account="brain")
    with quiet_dask(), batch_cluster(batch) as cluster:
        text = cluster.job_script()
    assert word in text.replace('"', "") and "-q long" in text


def test_htcondor_has_no_queue() -> None:
    with pytest.raises(UsageError, match="HTCondor knows no queue"):
        batch_cluster(BatchJob(system="htcondor", gigabytes=2, queue="long"))


def test_pages_of_dask_are_not_shown_to_the_network(workers: LocalCluster) -> None:
    """`distributed.scheduler` listens for its own pages beside its port for workers."""
    sockets = workers.scheduler.http_server._sockets.values()
    assert {one.getsockname()[0] for one in sockets} == {"127.0.0.1"}
    assert workers.scheduler_address.startswith("tcp://127.0.0.1:")


def test_without_jobqueue_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dask_jobqueue", None)
    with pytest.raises(UsageError, match="dask-jobqueue") as caught:
        batch_cluster(BatchJob(system="slurm", gigabytes=2))
    assert "unweight slurm" in caught.value.remedy
